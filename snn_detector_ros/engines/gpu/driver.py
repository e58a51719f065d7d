# SPDX-License-Identifier: Apache-2.0
"""NVIDIA's driver, as far as the engine needs it: memory, modules, one stream, one graph."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from snn_detector_ros.errors import EngineError, MissingDependencyError

#: Dynamic shared memory that a block gets without asking.
FREE_SHARED_BYTES = 48 << 10


def is_installed() -> bool:
    """Whether this machine has NVIDIA's driver; needs no bindings of it."""
    try:
        ctypes.CDLL('libcuda.so.1')
    except OSError:
        return False
    return True


def driver_module() -> Any:
    """
    Return the bindings of the driver.

    :raises MissingDependencyError: if they are not installed.
    """
    try:
        from cuda.bindings import driver
    except ImportError as error:
        raise MissingDependencyError('cuda-bindings', 'gpu') from error
    return driver


class Driver:
    """
    The first GPU of this machine, and the context that all programs of this process share there.

    Functions of the driver are called by their names; a result other than success is an error.

    :raises MissingDependencyError: if the bindings are not installed.
    :raises EngineError: if there is no driver, or no GPU.
    """

    def __init__(self) -> None:
        self._driver = driver_module()
        try:
            self.call('cuInit', 0)
        except (RuntimeError, OSError) as error:  # the driver's library cannot be found
            raise EngineError('no NVIDIA driver is installed') from error
        if self.call('cuDeviceGetCount') == 0:
            raise EngineError('this machine has no NVIDIA GPU')
        self._device = self.call('cuDeviceGet', 0)
        self._context = self.call('cuDevicePrimaryCtxRetain', self._device)

    @property
    def arch(self) -> int:
        """Compute capability without the dot, e.g. 87."""
        major, minor = (
            self.call('cuDeviceGetAttribute', getattr(
                self._driver.CUdevice_attribute,
                f'CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_{part}'), self._device)
            for part in ('MAJOR', 'MINOR'))
        return int(major * 10 + minor)

    @property
    def device_name(self) -> str:
        """What the GPU is called."""
        name: bytes = self.call('cuDeviceGetName', 128, self._device)
        return name.split(b'\0')[0].decode(errors='replace')

    def call(self, name: str, *arguments: Any) -> Any:
        """
        Call a function of the driver.

        :returns: its result, a tuple if there are several.
        :raises EngineError: naming the function and the driver's own words.
        """
        status, *results = getattr(self._driver, name)(*arguments)
        if status != self._driver.CUresult.CUDA_SUCCESS:
            raise EngineError(f'{name}: {self._words(status)}')
        return results[0] if len(results) == 1 else tuple(results)

    def bind(self) -> None:
        """Let the calling thread use the context."""
        self.call('cuCtxSetCurrent', self._context)

    def load(self, cubin: bytes, symbol: str, shared_bytes: int) -> Any:
        """Load machine code, and return its kernel."""
        image = np.frombuffer(cubin, dtype=np.uint8)
        module = self.call('cuModuleLoadData', image.ctypes.data)
        kernel = self.call('cuModuleGetFunction', module, symbol.encode())
        # Drivers load a kernel when it is first used. Asking for its registers is such a use; a
        # launch that is being recorded would come too late.
        self.call('cuFuncGetAttribute',
                  self._driver.CUfunction_attribute.CU_FUNC_ATTRIBUTE_NUM_REGS, kernel)
        if shared_bytes > FREE_SHARED_BYTES:
            self.call('cuFuncSetAttribute', kernel, self._driver.CUfunction_attribute
                      .CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES, shared_bytes)
        return kernel

    def pinned(self, size: int) -> tuple[NDArray[np.int8], Any]:
        """Return memory that the GPU can read and write, int8 [size], and its address."""
        address = self.call('cuMemAllocHost', max(size, 1))
        memory = (ctypes.c_int8 * size).from_address(int(address))
        return np.ctypeslib.as_array(memory), address

    def upload(self, address: int, values: NDArray[Any]) -> None:
        """Copy an array to the GPU; it may be changed when this returns."""
        self.call('cuMemcpyHtoD', address, values.ctypes.data, values.nbytes)

    def launch(
        self, stream: Any, kernel: Any, grid: Sequence[int], threads: int, shared_bytes: int,
        arguments: Sequence[ctypes._SimpleCData[Any]],
    ) -> None:
        """
        Launch a kernel.

        :param grid: blocks in two directions.
        :param arguments: in the order of its parameters.
        """
        pointers = (ctypes.c_void_p * len(arguments))(*map(ctypes.addressof, arguments))
        self.call('cuLaunchKernel', kernel, *grid, 1, threads, 1, 1, shared_bytes, stream,
                  ctypes.addressof(pointers), 0)

    def stream(self) -> Any:
        """Return a new stream, which waits for no other."""
        return self.call('cuStreamCreate',
                         self._driver.CUstream_flags.CU_STREAM_NON_BLOCKING.value)

    def begin_capture(self, stream: Any) -> None:
        """Record the work of a stream from now on, instead of doing it."""
        self.call('cuStreamBeginCapture', stream,
                  self._driver.CUstreamCaptureMode.CU_STREAM_CAPTURE_MODE_THREAD_LOCAL)

    def end_capture(self, stream: Any) -> Any:
        """Return the work of a stream, ready to be launched as one."""
        graph = self.call('cuStreamEndCapture', stream)
        ready = self.call('cuGraphInstantiate', graph, 0)
        self.call('cuGraphDestroy', graph)
        return ready

    def elapsed(self, stream: Any, work: Callable[[], object]) -> float:
        """
        Time work on the GPU, and wait for it.

        :param work: puts it on the stream.
        :returns: ms between an event before it and one behind it.
        """
        start, end = (self.call('cuEventCreate', 0) for _ in range(2))
        self.call('cuEventRecord', start, stream)
        work()
        self.call('cuEventRecord', end, stream)
        self.call('cuStreamSynchronize', stream)
        elapsed = float(self.call('cuEventElapsedTime', start, end))
        for event in (start, end):
            self.call('cuEventDestroy', event)
        return elapsed

    def _words(self, status: Any) -> str:
        _, words = self._driver.cuGetErrorString(status)
        return words.decode() if words else str(status)
