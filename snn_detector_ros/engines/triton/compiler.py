# SPDX-License-Identifier: Apache-2.0
"""
Compile a Triton kernel ahead of time, for any NVIDIA GPU, on a machine that may have none.

Triton is a compiler only: what it makes is loaded by the engine like any other compiled kernel, so
that a robot needs neither Triton nor torch. Where kernels are interpreted (``TRITON_INTERPRET``),
nothing can be compiled in the same process.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import Any

from snn_detector_ros.engines.gpu.kernel_file import CompiledKernel
from snn_detector_ros.errors import EngineError, MissingDependencyError

#: Bytes that pointers and strides are multiples of where they are said to be aligned.
ALIGNMENT = 16
WARP_SIZE = 32


def compile_kernel(
    function: Any,
    *,
    types: Mapping[str, str],
    constants: Mapping[str, Any],
    aligned: Collection[str] = (),
    arch: int,
    warps: int = 4,
    stages: int = 3,
) -> CompiledKernel:
    """
    Compile a kernel.

    :param function: decorated with ``triton.jit``.
    :param types: of the parameters that are given at launch: ``*i8``, ``*i32``, ``i32``, ``fp32``.
    :param constants: the others; both together name each parameter once.
    :param aligned: parameters whose values are multiples of :data:`ALIGNMENT`.
    :param arch: compute capability without the dot, e.g. 87 for Orin.
    :param warps: of a block.
    :param stages: of the software pipeline.
    :raises MissingDependencyError: if Triton is not installed.
    :raises EngineError: if Triton cannot compile the kernel for this GPU.
    """
    try:
        import triton
        from triton.backends.compiler import GPUTarget
        from triton.compiler import ASTSource
    except ImportError as error:
        raise MissingDependencyError('triton', 'gpu') from error
    if not isinstance(function, triton.JITFunction):
        raise EngineError('kernels are interpreted in this process: unset TRITON_INTERPRET to '
                          'compile them')
    names = function.arg_names
    source = ASTSource(
        fn=function,
        signature={name: types.get(name, 'constexpr') for name in names},
        constexprs={(names.index(name),): value for name, value in constants.items()},
        attrs={(names.index(name),): [['tt.divisibility', ALIGNMENT]] for name in aligned})
    options = {'num_warps': warps, 'num_stages': stages, 'enable_fp_fusion': False}
    try:
        with triton.knobs.compilation.scope():
            # Or the paths of this machine would stand in the machine code.
            triton.knobs.compilation.disable_line_info = True
            kernel = triton.compile(
                source, target=GPUTarget('cuda', arch, WARP_SIZE), options=options)
    except Exception as error:  # Triton and its assembler raise all kinds
        raise EngineError(f'{function.__name__} cannot be compiled for compute capability '
                          f'{arch / 10}: {error}') from error
    return CompiledKernel(
        kernel.metadata.name, kernel.asm['cubin'],
        tuple(name for name in names if name in types), warps * WARP_SIZE,
        kernel.metadata.shared, _parameters(kernel.asm['ptx']) - len(types))


def _parameters(ptx: str) -> int:
    """Return how many parameters the entry of a program takes."""
    entry = re.search(r'\.entry\s+\w+\s*\((.*?)\)', ptx, re.DOTALL)
    assert entry is not None
    return entry.group(1).count('.param')
