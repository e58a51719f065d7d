# SPDX-License-Identifier: Apache-2.0
"""Compile the kernels in CUDA C++ ahead of time with nvcc, on a machine that may have no GPU."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

from snn_detector_ros.engines.gpu.kernel_file import CompiledKernel
from snn_detector_ros.engines.gpu.plan import KernelSpec
from snn_detector_ros.errors import EngineError

SOURCE = Path(__file__).with_name('kernels.cu')
WARP_SIZE = 32
#: Where the toolkit lies if neither the search path nor CUDA_HOME says so, as on a Jetson.
TOOLKIT = '/usr/local/cuda'
#: Compute capability from which shared memory is filled while its other half is used.
ASYNCHRONOUS = 80
#: Static shared memory that every GPU gives a block.
SHARED_BYTES = 48 << 10
#: Side of the smallest part of a tile that a warp multiplies.
MATRIX = 16
#: Multiplications and additions are rounded one by one, as on a CPU.
OPTIONS = ('-cubin', '-std=c++17', '-O3', '--fmad=false')
_DTYPES = {'uint8_t': 'u8', 'int8_t': 'i8', 'int32_t': 'i32', 'int': 'i32', 'float': 'fp32'}


def compile_spec(spec: KernelSpec, arch: int) -> CompiledKernel:
    """
    Compile one kernel of a plan.

    :param arch: compute capability without the dot, e.g. 87 for Orin.
    :raises EngineError: if nvcc is not installed, or cannot compile the kernel for this GPU.
    """
    defined, nvcc = definitions(spec, arch), find_nvcc()
    if nvcc is None:
        raise EngineError('engine `cuda` needs `nvcc`, which is neither on PATH nor in CUDA_HOME: '
                          'install the CUDA toolkit, set CUDA_HOME, or use the engine `triton`')
    with tempfile.TemporaryDirectory() as folder:
        cubin = Path(folder, 'kernel.cubin')
        result = subprocess.run(
            [nvcc, *OPTIONS, f'-arch=sm_{arch}', *flags(spec.kernel, defined),
             str(SOURCE), '-o', str(cubin)], capture_output=True, text=True)
        if result.returncode:
            raise EngineError(f'{spec.name} cannot be compiled for compute capability '
                              f'{arch / 10}: {(result.stderr or result.stdout).strip()}')
        return CompiledKernel(spec.kernel, cubin.read_bytes(), tuple(parameters(spec.kernel)),
                              defined['THREADS'])


def find_nvcc() -> str | None:
    """Return the path of NVIDIA's compiler; None if it is not installed."""
    home = os.environ.get('CUDA_HOME', TOOLKIT)
    return shutil.which('nvcc') or shutil.which('nvcc', path=str(Path(home, 'bin')))


def definitions(spec: KernelSpec, arch: int) -> dict[str, int]:
    """
    Return the constants with which a kernel is compiled.

    Warps and stages are those of the plan, but no more than the tile has work and room for.

    :raises EngineError: if the tile cannot be used at all.
    """
    constants = {name: int(value) for name, value in spec.constants}
    if constants.get('TAIL'):
        raise EngineError(f'{spec.name}: the CUDA kernels let no convolution follow another in one '
                          'launch: make the plan without tails, or use the engine `triton`')
    warps, stages = spec.warps, spec.stages
    if spec.kernel == 'convolution':
        pixels, channels, depth = (constants[f'BLOCK_{letter}'] for letter in 'MNK')
        while warps > 1 and not _is_divisible(pixels, channels, warps):
            warps //= 2
        stage_bytes = (pixels + channels) * (depth + 16)
        # The last: where membranes are handed over, and sums of spikes.
        room = SHARED_BYTES - 4 * channels
        stages = min(max(stages, 2), room // stage_bytes) if arch >= ASYNCHRONOUS else 2
        if (not _is_divisible(pixels, channels, warps) or stages * stage_bytes > room or stages < 2
                or 4 * pixels * (channels + 8) > room):
            raise EngineError(f'{spec.name}: tiles of {pixels}x{channels}x{depth} are not for the '
                              f'CUDA kernels, which take multiples of {MATRIX} that fit '
                              f'{SHARED_BYTES} bytes of shared memory: use the engine `triton`')
    return constants | {'THREADS': warps * WARP_SIZE, 'STAGES': stages}


def parameters(kernel: str) -> dict[str, str]:
    """Return the names of what a kernel is given, in order, and their types: ``*i8``, ``i32``..."""
    entry = re.search(rf'^KERNEL {kernel}\(([^)]*)\)', SOURCE.read_text(), re.MULTILINE)
    assert entry is not None, kernel
    found = re.findall(r'(?:const )?(\w+) (\*?)(\w+)(?:,|$)', entry.group(1))
    return {name: pointer + _DTYPES[dtype] for dtype, pointer, name in found}


def flags(kernel: str, defined: dict[str, int]) -> list[str]:
    """Return how definitions are given to a compiler, and which kernel it is to compile."""
    return [f'-D{kernel.upper()}', *(f'-D{name}={value}' for name, value in defined.items())]


def _is_divisible(pixels: int, channels: int, warps: int) -> bool:
    """Whether each warp of a convolution gets whole matrices; see WARP_M in the kernels."""
    beside = 2 if warps >= 4 and channels >= 2 * MATRIX else 1
    return pixels * beside % (warps * MATRIX) == 0 and channels % (beside * MATRIX) == 0
