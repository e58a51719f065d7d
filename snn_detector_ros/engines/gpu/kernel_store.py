# SPDX-License-Identifier: Apache-2.0
"""Where compiled kernels come from: a file beside the model, or a compiler on this machine."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

from snn_detector_ros.engines.gpu.kernel_file import CompiledKernel, load_kernels
from snn_detector_ros.engines.gpu.plan import KernelSpec
from snn_detector_ros.errors import EngineError, MissingDependencyError

#: Which of the two equal sets of kernels: Triton's, or those in CUDA C++.
Kernels = Literal['triton', 'cuda']
#: What their machine code is made of, beside the types of their parameters.
_SOURCES = {'triton': 'triton/*.py', 'cuda': 'cuda/*.[cp][uy]'}

#: What has the function ``compile_spec``.
_COMPILERS = {'triton': 'snn_detector_ros.engines.triton.kernels',
              'cuda': 'snn_detector_ros.engines.cuda.compiler'}


def source_hash(kernels: Kernels) -> str:
    """Return a hash of the source code of a set of kernels."""
    folder = Path(__file__).parents[1]
    sources = [*sorted(folder.glob(_SOURCES[kernels])), folder / 'gpu' / 'parameters.py']
    text = b''.join(path.read_bytes() for path in sources)
    return hashlib.sha256(text).hexdigest()[:16]


def kernel_path(model: Path, kernels: Kernels, arch: int) -> Path:
    """Return where the kernels of a model lie, e.g. ``model.triton-sm87.kernels``."""
    return model.with_suffix(f'.{kernels}-sm{arch}.kernels')


def has_compiler(kernels: Kernels) -> bool:
    """Whether this machine can compile the kernels."""
    if kernels == 'triton':
        return find_spec('triton') is not None
    from snn_detector_ros.engines.cuda.compiler import find_nvcc

    return find_nvcc() is not None


def compile_kernels(
    specs: Iterable[KernelSpec], kernels: Kernels, arch: int,
) -> dict[str, CompiledKernel]:
    """
    Compile kernels.

    :param arch: compute capability without the dot.
    :raises MissingDependencyError: if Triton is not installed.
    :raises EngineError: if a kernel cannot be compiled.
    """
    try:
        compiler = import_module(_COMPILERS[kernels])
    except ImportError as error:
        raise MissingDependencyError('triton', 'gpu') from error
    return {spec.name: compiler.compile_spec(spec, arch) for spec in specs}


def find_kernels(
    specs: Iterable[KernelSpec], kernels: Kernels, arch: int, model: Path | None,
) -> Mapping[str, CompiledKernel]:
    """
    Return compiled kernels by the names of their specs.

    Those in the file beside the model are taken if they are of this release, and for this GPU; what
    is missing is compiled.

    :param model: the model file, if there is one.
    :raises ModelFileError: if the file is damaged.
    :raises EngineError: if a kernel is missing and cannot be compiled.
    """
    found: Mapping[str, CompiledKernel] = {}
    path = None if model is None else kernel_path(model, kernels, arch)
    if path is not None and path.exists():
        file = load_kernels(path)
        if (file.compiler, file.arch, file.source) == (kernels, arch, source_hash(kernels)):
            found = file.kernels
    missing = [spec for spec in specs if spec.name not in found]
    if missing and not has_compiler(kernels):
        raise EngineError(
            f'{len(missing)} kernels for compute capability {arch / 10} are not in '
            f'{path or "a file beside the model"}, and there is no compiler for them: run '
            f'`snn-detector build {model or "MODEL"} --arch {arch} --kernels {kernels}` where '
            'there is one')
    return {**found, **compile_kernels(missing, kernels, arch)}
