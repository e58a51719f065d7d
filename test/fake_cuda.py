# SPDX-License-Identifier: Apache-2.0
# ruff: noqa: N802, N815 - the names are those of the driver
"""
A driver without a GPU, in place of ``cuda.bindings.driver``.

Memory is the processor's, kernels run in Triton's interpreter, and what a stream captures runs when
its graph is launched. Every call is noted, and misuse is an error as it would be on a GPU.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from enum import IntEnum
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch

from snn_detector_ros.engines.gpu.kernel_file import CompiledKernel
from snn_detector_ros.engines.gpu.parameters import DTYPES, type_of
from snn_detector_ros.engines.gpu.plan import KernelSpec
from snn_detector_ros.engines.triton.kernels import KERNELS


class Status(IntEnum):
    CUDA_SUCCESS = 0
    CUDA_ERROR = 999


def uncompiled(spec: KernelSpec) -> CompiledKernel:
    """Return a kernel whose machine code is only its name."""
    constants = dict(spec.constants)
    parameters = tuple(n for n in KERNELS[spec.kernel].arg_names if n not in constants)
    return CompiledKernel(spec.name, spec.name.encode(), parameters, spec.warps * 32,
                          shared_bytes=60_000, scratch_pointers=2)


class FakeCuda:
    """
    The functions that the engine calls.

    :param specs: filled by the test: kernels by their symbols.
    """

    CUresult = Status
    CUdevice_attribute = SimpleNamespace(
        CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR='major',
        CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR='minor')
    CUfunction_attribute = SimpleNamespace(
        CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES='shared',
        CU_FUNC_ATTRIBUTE_NUM_REGS='registers')
    CUstream_flags = SimpleNamespace(CU_STREAM_NON_BLOCKING=SimpleNamespace(value=1))
    CUstreamCaptureMode = SimpleNamespace(CU_STREAM_CAPTURE_MODE_THREAD_LOCAL='local')

    def __init__(self, *, devices: int = 1, arch: tuple[int, int] = (8, 7)) -> None:
        self.calls: list[str] = []
        self.specs: dict[str, KernelSpec] = {}
        self.failing: str | None = None
        self.allocated: dict[int, Any] = {}
        self.loaded: set[KernelSpec] = set()
        self._devices, self._arch = devices, arch
        self._captured: list[Callable[[], None]] | None = None
        self._pending = False

    def __getattribute__(self, name: str) -> Any:
        value = super().__getattribute__(name)
        if not name.startswith('cu'):
            return value

        def called(*arguments: Any) -> tuple[Any, ...]:
            self.calls.append(name)
            if name == self.failing:
                return (Status.CUDA_ERROR, None)
            result = value(*arguments)
            return (Status.CUDA_SUCCESS,) if result is None else (Status.CUDA_SUCCESS, result)
        return called

    def cuInit(self, flags: int) -> None: ...

    def cuDeviceGetCount(self) -> int:
        return self._devices

    def cuDeviceGet(self, index: int) -> str:
        return f'device {index}'

    def cuDeviceGetName(self, length: int, device: str) -> bytes:
        return b'Fake GPU\0' + b'?' * (length - 9)

    def cuDeviceGetAttribute(self, attribute: str, device: str) -> int:
        return self._arch[attribute == 'minor']

    def cuDevicePrimaryCtxRetain(self, device: str) -> str:
        return 'context'

    def cuCtxSetCurrent(self, context: str) -> None:
        assert context == 'context'

    def cuCtxSynchronize(self) -> None:
        assert self._captured is None, 'a host may not wait for what is only recorded'

    def cuGetErrorString(self, status: Status) -> bytes:
        return b'out of luck'

    def cuMemAlloc(self, size: int) -> int:
        return self._allocate(size)

    cuMemAllocHost = cuMemAlloc

    def cuMemFree(self, address: int) -> None:
        assert not self._pending
        del self.allocated[address]

    cuMemFreeHost = cuMemFree

    def cuMemcpyHtoD(self, target: int, source: int, size: int) -> None:
        ctypes.memmove(target, source, size)

    def cuModuleLoadData(self, address: int) -> int:
        return address

    def cuModuleGetFunction(self, module: int, symbol: bytes) -> KernelSpec:
        return self.specs[symbol.decode()]

    def cuFuncGetAttribute(self, attribute: str, kernel: KernelSpec) -> int:
        assert attribute == 'registers'
        self.loaded.add(kernel)
        return 100

    def cuFuncSetAttribute(self, kernel: KernelSpec, attribute: str, value: int) -> None:
        assert (attribute, value) == ('shared', 60_000)

    def cuStreamCreate(self, flags: int) -> str:
        return 'stream'

    def cuStreamDestroy(self, stream: str) -> None:
        self._captured = None

    def cuStreamBeginCapture(self, stream: str, mode: str) -> None:
        assert self._captured is None
        self._captured = []

    def cuStreamEndCapture(self, stream: str) -> list[Callable[[], None]]:
        work, self._captured = self._captured, None
        assert work is not None
        return work

    def cuGraphInstantiate(self, graph: list[Any], flags: int) -> list[Any]:
        return list(graph)

    def cuGraphDestroy(self, graph: list[Any]) -> None: ...

    def cuGraphExecDestroy(self, graph: list[Any]) -> None: ...

    def cuGraphLaunch(self, graph: list[Callable[[], None]], stream: str) -> None:
        for work in graph:
            work()
        self._pending = True

    def cuStreamSynchronize(self, stream: str) -> None:
        assert self._captured is None, 'a host may not wait for what is only recorded'
        self._pending = False

    def cuMemcpyHtoDAsync(self, target: int, source: int, size: int, stream: str) -> None:
        self._record(lambda: ctypes.memmove(target, source, size))

    cuMemcpyDtoHAsync = cuMemcpyHtoDAsync

    def cuMemsetD8Async(self, target: int, value: int, size: int, stream: str) -> None:
        self._record(lambda: ctypes.memset(target, value, size))

    def cuLaunchKernel(
        self, spec: KernelSpec, x: int, y: int, z: int, threads: int, ty: int, tz: int,
        shared: int, stream: str, parameters: int, extra: int,
    ) -> None:
        """Read the arguments through their addresses, as a driver does."""
        assert spec in self.loaded, 'a kernel may not be loaded while its launch is recorded'
        assert (z, ty, tz, threads, shared) == (1, 1, 1, spec.warps * 32, 60_000)
        function, constants = KERNELS[spec.kernel], dict(spec.constants)
        names = [name for name in function.arg_names if name not in constants]
        pointers = (ctypes.c_void_p * (len(names) + 2)).from_address(parameters)
        given = {name: self._read(name, pointer or 0)
                 for name, pointer in zip(names, pointers, strict=False)}
        assert all(ctypes.c_void_p.from_address(pointer or 0).value is None
                   for pointer in pointers[len(names):])
        arguments = [constants.get(name, given.get(name)) for name in function.arg_names]
        self._record(lambda: function[(x, y)](*arguments))

    def _record(self, work: Callable[[], Any]) -> None:
        assert self._captured is not None, 'everything of a frame belongs into its graph'
        self._captured.append(work)

    def _allocate(self, size: int) -> int:
        memory = np.random.default_rng(size).integers(-128, 128, size, dtype=np.int8)
        self.allocated[memory.ctypes.data] = memory
        return int(memory.ctypes.data)

    def _read(self, name: str, pointer: int) -> Any:
        kind = type_of(name)
        if not kind.startswith('*'):
            scalar = ctypes.c_float if kind == 'fp32' else ctypes.c_int32
            return scalar.from_address(pointer).value
        address = ctypes.c_void_p.from_address(pointer).value or 0
        start, memory = next((start, memory) for start, memory in self.allocated.items()
                             if start <= address < start + memory.nbytes)
        tail = memory[address - start:]
        dtype = DTYPES[kind[1:]]
        whole = tail[:tail.nbytes // np.dtype(dtype).itemsize * np.dtype(dtype).itemsize]
        return torch.from_numpy(whole.view(dtype))
