# SPDX-License-Identifier: Apache-2.0
"""
Runs a plan on the GPU: the whole frame is one CUDA graph, recorded once.

Upload, launches and download follow each other on one stream, between pinned memory; the processor
waits once, for the results. Nothing is allocated in a frame.
"""

from __future__ import annotations

import ctypes
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from snn_detector_ros.engines.gpu.driver import Driver
from snn_detector_ros.engines.gpu.kernel_file import CompiledKernel
from snn_detector_ros.engines.gpu.kernel_store import Kernels, find_kernels
from snn_detector_ros.engines.gpu.parameters import type_of
from snn_detector_ros.engines.gpu.plan import (
    COUNTS,
    NOTHING,
    SLACK,
    SOURCE,
    Argument,
    Launch,
    Plan,
    Pointer,
)

#: Bytes that buffers begin at multiples of.
ALIGNMENT = 256
_C_TYPES: Mapping[str, type[ctypes._SimpleCData[Any]]] = {
    'i32': ctypes.c_int32, 'fp32': ctypes.c_float}


class GpuSessions:
    """
    Opens sessions on one GPU, and keeps the kernels that they share.

    :param kernels: which set of them.
    :param model: the model file, beside which compiled kernels may lie.
    :param driver: None takes NVIDIA's.
    :raises MissingDependencyError: if the driver's bindings are not installed.
    :raises EngineError: if there is no driver, or no GPU.
    """

    def __init__(
        self, kernels: Kernels, model: Path | None, driver: Driver | None = None,
    ) -> None:
        self.driver = driver or Driver()
        self._kernels = kernels
        self._model = model
        self._compiled: dict[str, CompiledKernel] = {}
        self._loaded: dict[str, Any] = {}

    def open(self, plan: Plan, downloads: Sequence[str]) -> GpuSession:
        """
        Prepare a plan.

        :param downloads: buffers whose contents a frame brings back.
        :raises EngineError: if a kernel is missing, or memory is.
        """
        self.driver.bind()
        missing = [spec for spec in plan.specs if spec.name not in self._compiled]
        self._compiled |= find_kernels(missing, self._kernels, self.driver.arch, self._model)
        for spec in missing:
            kernel = self._compiled[spec.name]
            self._loaded[spec.name] = self.driver.load(
                kernel.cubin, kernel.symbol, kernel.shared_bytes)
        return GpuSession(self.driver, plan, downloads, self._compiled, self._loaded)


class GpuSession:
    """
    A plan with addresses; see :class:`~snn_detector_ros.engines.gpu.engine.Session`.

    :param compiled: kernels by the names of their specs; ``loaded`` alike.
    """

    def __init__(
        self, driver: Driver, plan: Plan, downloads: Sequence[str],
        compiled: Mapping[str, CompiledKernel], loaded: Mapping[str, Any],
    ) -> None:
        self._driver = driver
        self._compiled, self._loaded = compiled, loaded
        with ExitStack() as owned:
            self._addresses = self._allocate(plan, owned)
            source, host = self._pinned(plan.buffers[SOURCE], owned)
            self.source: NDArray[np.uint8] = source.view(np.uint8)
            self.results: dict[str, NDArray[np.int8]] = {}
            hosts = {}
            for name in downloads:
                self.results[name], hosts[name] = self._pinned(plan.buffers[name], owned)
            self._stream = driver.stream()
            owned.callback(driver.call, 'cuStreamDestroy', self._stream)
            driver.begin_capture(self._stream)
            self._record(plan, host, hosts)
            self._graph = driver.end_capture(self._stream)
            owned.callback(driver.call, 'cuGraphExecDestroy', self._graph)
            # Up to here, an error gives everything back.
            self._owned = owned.pop_all()

    def run(self) -> None:
        self._driver.bind()
        self._driver.call('cuGraphLaunch', self._graph, self._stream)
        self._driver.call('cuStreamSynchronize', self._stream)

    def timed_run(self) -> float:
        """
        Run a frame, and wait for its results.

        :returns: ms from before the picture's upload until after the results' download.
        """
        self._driver.bind()
        return self._driver.elapsed(
            self._stream, lambda: self._driver.call('cuGraphLaunch', self._graph, self._stream))

    def close(self) -> None:
        self._driver.bind()
        self.results.clear()
        self._owned.close()

    def _allocate(self, plan: Plan, owned: ExitStack) -> dict[str, int]:
        """Return the address of each buffer, all in one piece of memory; constants are there."""
        sizes = {name: -(-(size + SLACK) // ALIGNMENT) * ALIGNMENT
                 for name, size in plan.buffers.items()}
        starts = np.cumsum([0, *sizes.values()]).tolist()
        memory = self._driver.call('cuMemAlloc', starts[-1])
        owned.callback(self._driver.call, 'cuMemFree', memory)
        addresses = {name: int(memory) + start for name, start in zip(sizes, starts, strict=False)}
        for name, values in plan.constants.items():
            self._driver.upload(addresses[name], values)
        # Such copies may be under way when they return, and the stream waits for no other.
        self._driver.call('cuCtxSynchronize')
        return addresses

    def _pinned(self, size: int, owned: ExitStack) -> tuple[NDArray[np.int8], Any]:
        memory, address = self._driver.pinned(size)
        owned.callback(self._driver.call, 'cuMemFreeHost', address)
        return memory, address

    def _record(self, plan: Plan, source: Any, hosts: Mapping[str, Any]) -> None:
        call, stream = self._driver.call, self._stream
        call('cuMemcpyHtoDAsync', self._addresses[SOURCE], source, plan.buffers[SOURCE], stream)
        if plan.buffers[COUNTS]:
            call('cuMemsetD8Async', self._addresses[COUNTS], 0, plan.buffers[COUNTS], stream)
        for launch in plan.launches:
            self._launch(launch)
        for name, host in hosts.items():
            call('cuMemcpyDtoHAsync', host, self._addresses[name], plan.buffers[name], stream)

    def _launch(self, launch: Launch) -> None:
        kernel = self._compiled[launch.spec.name]
        arguments = [self._argument(name, launch.arguments) for name in kernel.parameters]
        arguments += [ctypes.c_void_p()] * kernel.scratch_pointers
        self._driver.launch(self._stream, self._loaded[launch.spec.name], launch.grid,
                            kernel.threads, kernel.shared_bytes, arguments)

    def _argument(
        self, name: str, arguments: Mapping[str, Argument],
    ) -> ctypes._SimpleCData[Any]:
        """Return an argument as the kernel takes it; what a launch does not give is nothing."""
        kind = type_of(name)
        if not kind.startswith('*'):
            return _C_TYPES[kind](arguments.get(name, 0))
        pointer = arguments.get(name, Pointer(NOTHING))
        assert isinstance(pointer, Pointer)
        return ctypes.c_void_p(self._addresses[pointer.buffer] + pointer.offset)
