# SPDX-License-Identifier: Apache-2.0
"""Runs the plan of a GPU engine with the kernels in CUDA C++, compiled for the processor."""

from __future__ import annotations

import ctypes
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from snn_detector_ros.engines.cuda.compiler import SOURCE as KERNELS
from snn_detector_ros.engines.cuda.compiler import definitions, flags, parameters
from snn_detector_ros.engines.gpu.plan import (
    COUNTS,
    NOTHING,
    SLACK,
    SOURCE,
    KernelSpec,
    Plan,
    Pointer,
)

EMULATION = Path(__file__).with_name('cuda_emulation.cpp')
_FOLDER = tempfile.TemporaryDirectory(prefix='cuda_emulation')
#: Constants that kernels take at run time here, so that few need to be compiled.
SWITCHES = ('PICTURE', 'FIRES', 'SIGNED', 'RESIDUAL', 'COUNTS', 'OTHER', 'CHAIN', 'BLOCKS')
_C_TYPES: dict[str, Any] = {'i32': ctypes.c_int32, 'fp32': ctypes.c_float}


@dataclass(frozen=True)
class Emulation:
    """
    What CUDA leaves open, and what is checked.

    :param arch: compute capability without the dot; decides on the instructions.
    :param backwards: whether the last thread of a block runs first.
    :param late: whether copies to shared memory happen as late as can be, or as early.
    :param sanitizers: of the compiler, e.g. ``undefined``.
    :param kernels: the source code.
    """

    arch: int = 80
    backwards: bool = False
    late: bool = True
    sanitizers: str = ''
    kernels: Path = KERNELS


class EmulatedSession:
    """
    A session of the engine without a GPU.

    Memory that nobody has written holds noise, so that a kernel which reads too much, or writes too
    little, is noticed.
    """

    def __init__(
        self, plan: Plan, downloads: Sequence[str], emulation: Emulation = Emulation(),
    ) -> None:
        self._plan = plan
        self._emulation = emulation
        noise = np.random.default_rng(0)
        self._memory = {name: noise.integers(-128, 128, size + SLACK, dtype=np.int8)
                        for name, size in plan.buffers.items()}
        for name, values in plan.constants.items():
            self._bytes(name)[:] = values.reshape(-1).view(np.int8)
        self.source = self._bytes(SOURCE).view(np.uint8)
        self.results: dict[str, NDArray[np.int8]] = {name: self._bytes(name) for name in downloads}
        self._kernels = dict(zip(plan.specs, _build_all(plan.specs, emulation), strict=True))

    def run(self) -> None:
        self._bytes(COUNTS)[:] = 0
        for launch in self._plan.launches:
            values = [self._argument(name, kind, launch.arguments)
                      for name, kind in parameters(launch.spec.kernel).items()]
            addresses = [ctypes.addressof(value) for value in values]
            constants = dict(launch.spec.constants)
            problem = self._kernels[launch.spec].launch(
                *launch.grid, self._emulation.backwards, self._emulation.late,
                (ctypes.c_int * len(SWITCHES))(*(constants.get(name, 0) for name in SWITCHES)),
                (ctypes.c_void_p * len(values))(*addresses))
            assert problem is None, (launch.spec.name, launch.layers, problem.decode())

    def close(self) -> None:
        self._memory.clear()

    def _bytes(self, name: str) -> NDArray[np.int8]:
        return self._memory[name][:self._plan.buffers[name]]

    def _argument(self, name: str, kind: str, arguments: Mapping[str, Any]) -> Any:
        if not kind.startswith('*'):
            return _C_TYPES[kind](arguments.get(name, 0))
        pointer = arguments.get(name, Pointer(NOTHING))
        return ctypes.c_void_p(self._memory[pointer.buffer].ctypes.data + pointer.offset)


def _build_all(specs: Sequence[KernelSpec], emulation: Emulation) -> list[ctypes.CDLL]:
    """Return the compiled kernels of specs; many share one, since only sizes are compiled in."""
    asked = [(spec.kernel, _sizes(spec, emulation.arch), emulation.arch, emulation.sanitizers,
              emulation.kernels) for spec in specs]
    kinds = list(dict.fromkeys(asked))
    with ThreadPoolExecutor(2) as pool:
        built = dict(zip(kinds, pool.map(lambda kind: _build(*kind), kinds), strict=True))
    return [built[kind] for kind in asked]


def _sizes(spec: KernelSpec, arch: int) -> tuple[tuple[str, int], ...]:
    return tuple((name, value) for name, value in definitions(spec, arch).items()
                 if name not in SWITCHES)


@cache
def _build(
    kernel: str, sizes: tuple[tuple[str, int], ...], arch: int, sanitizers: str, source: Path,
) -> ctypes.CDLL:
    library = Path(tempfile.mkdtemp(dir=_FOLDER.name), f'{kernel}.so')
    checks = [f'-fsanitize={sanitizers}', '-fno-sanitize-recover=all'] if sanitizers else []
    switches = [f'-D{name}=switches[{index}]' for index, name in enumerate(SWITCHES)]
    subprocess.run(
        ['g++', '-shared', '-fPIC', '-std=c++17', '-O1', '-ffp-contract=off',
         '-fno-strict-aliasing', '-Wall', '-Werror', '-Wno-unknown-pragmas', '-Wno-unused-function',
         *checks, *flags(kernel, dict(sizes)), *switches, f'-D__CUDA_ARCH__={arch}0',
         f'-DENTRY={kernel}', f'-DKERNELS="{source}"', str(EMULATION), '-o', str(library)],
        check=True)
    loaded = ctypes.CDLL(str(library))
    loaded.launch.restype = ctypes.c_char_p
    return loaded
