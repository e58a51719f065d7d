# SPDX-License-Identifier: Apache-2.0
"""What every engine offers: the same network, the same picture, the same levels."""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from snn_detector_ros.engines.statistics import FiringStatistics
from snn_detector_ros.errors import ImageError
from snn_detector_ros.network import SpikingNetwork


class Engine(Protocol):
    """
    Runs one spiking network at one input size.

    Results of :meth:`levels` and :meth:`firing` belong to the last picture and are valid until the
    next :meth:`run`; call them from the thread that runs the engine.
    """

    name: str
    network: SpikingNetwork
    input_size: tuple[int, int]

    def run(self, pixels: NDArray[np.uint8]) -> dict[str, NDArray[np.int32]]:
        """
        Run one picture through the network.

        :param pixels: uint8 [H, W, C] blue-green-red, of the engine's input size.
        :returns: for each readout its accumulated input without bias, int32 [h, w, Cout]; the
            arrays may be reused by the next call.
        :raises ImageError: if the picture has another size or type.
        """
        ...

    def levels(self) -> dict[str, NDArray[np.uint8]]:
        """Return the levels of every firing layer for the last picture, uint8 [h, w, C]."""
        ...

    def firing(self) -> FiringStatistics:
        """Count the spikes of the last picture."""
        ...


def check_pixels(pixels: NDArray[np.uint8], shape: tuple[int, int, int]) -> None:
    """
    Check a picture against an engine's input.

    :raises ImageError: naming the expected and the given array.
    """
    if pixels.dtype != np.uint8 or pixels.shape != shape:
        raise ImageError(f'picture is {pixels.dtype} of {pixels.shape}: '
                         f'this engine needs uint8 of {shape}; letterbox it first')
