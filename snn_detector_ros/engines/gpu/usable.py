# SPDX-License-Identifier: Apache-2.0
"""Whether this machine's GPU can run a network, and if not, why."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

from snn_detector_ros.engines.gpu import driver
from snn_detector_ros.engines.gpu.kernel_store import Kernels, has_compiler, kernel_path
from snn_detector_ros.errors import SnnDetectorError
from snn_detector_ros.network import SpikingNetwork
from snn_detector_ros.network.validation import MAX_SIGNED_LEVEL

#: Least compute capability whose tensor cores each compiler can use for int8.
MIN_ARCH = {'triton': 80, 'cuda': 75}


def why_unusable(
    network: SpikingNetwork, kernels: Kernels, model: Path | None = None,
) -> str | None:
    """
    Return why the GPU engine cannot run a network here; None if it can.

    :param model: the model file, beside which compiled kernels may lie.
    """
    if not driver.is_installed():
        return 'no NVIDIA driver is installed'
    try:
        arch = _arch()
    except SnnDetectorError as error:
        return str(error)
    if arch < MIN_ARCH[kernels]:
        return (f'the GPU has compute capability {arch / 10}, but the {kernels} kernels need '
                f'{MIN_ARCH[kernels] / 10}')
    has_file = model is not None and kernel_path(model, kernels, arch).exists()
    if not has_file and not has_compiler(kernels):
        return (f'there are no compiled kernels for compute capability {arch / 10} beside the '
                'model, and no compiler for them')
    return why_unfit(network)


def why_unfit(network: SpikingNetwork) -> str | None:
    """Return why the kernels cannot run a network on any GPU; None if they can."""
    if network.code.max_level > MAX_SIGNED_LEVEL:
        return (f'{network.code} has levels up to {network.code.max_level}, but tensor cores take '
                'int8: convert with fewer levels, such as --steps 4 --burst 12 (Q = 120)')
    if network.image_channels != 3:
        return f'{network.image_channels} channels of the picture are not blue, green and red'
    return None


@lru_cache(maxsize=1)
def _arch() -> int:
    return driver.Driver().arch
