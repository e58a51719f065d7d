# SPDX-License-Identifier: Apache-2.0
"""The table of Triton kernels, and how a plan's kernels are compiled from it."""

from __future__ import annotations

from snn_detector_ros.engines.gpu.kernel_file import CompiledKernel
from snn_detector_ros.engines.gpu.parameters import is_aligned, type_of
from snn_detector_ros.engines.gpu.plan import KernelSpec
from snn_detector_ros.engines.triton.compiler import compile_kernel
from snn_detector_ros.engines.triton.convolution import convolution
from snn_detector_ros.engines.triton.letterbox import letterbox
from snn_detector_ros.engines.triton.pooling import pooling
from snn_detector_ros.engines.triton.relay import relay

KERNELS = {'convolution': convolution, 'letterbox': letterbox, 'pooling': pooling, 'relay': relay}


def compile_spec(spec: KernelSpec, arch: int) -> CompiledKernel:
    """
    Compile one kernel of a plan.

    :param arch: compute capability without the dot.
    :raises EngineError: if it cannot be compiled for this GPU.
    """
    function, constants = KERNELS[spec.kernel], dict(spec.constants)
    names = [name for name in function.arg_names if name not in constants]
    return compile_kernel(
        function, types={name: type_of(name) for name in names}, constants=constants,
        aligned=[name for name in names if is_aligned(spec.kernel, name)], arch=arch,
        warps=spec.warps, stages=spec.stages)
