# SPDX-License-Identifier: Apache-2.0
"""What every engine offers: the same network, the same picture, the same levels."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from snn_detector_ros.engines.picture import Fit
from snn_detector_ros.engines.statistics import FiringStatistics
from snn_detector_ros.errors import ImageError
from snn_detector_ros.network import LifNetwork, SpikingNetwork


class Engine(Protocol):
    """
    Runs one spiking network at one input size.

    Results of :meth:`levels` and :meth:`firing` belong to the last picture and are valid until the
    next :meth:`run`; call them from the thread that runs the engine.
    """

    name: str
    input_size: tuple[int, int]

    @property
    def network(self) -> SpikingNetwork | LifNetwork:
        """The network that runs."""
        ...

    def run(self, pixels: NDArray[np.uint8]) -> Mapping[str, NDArray[Any]]:
        """
        Run one picture, or one window of event pictures, through the network.

        :param pixels: uint8 [H, W, C] blue-green-red, of the engine's input size; of a network
            that reads bins of events [T, H, W, C].
        :returns: for each readout its accumulated input without bias, for each output that fires
            its levels, int32 [h, w, Cout]; of a directly trained network the values of its
            readouts, float32 [h, w, Cout]. The arrays may be reused by the next call.
        :raises ImageError: if the picture has another size or type.
        """
        ...

    def levels(self) -> Mapping[str, NDArray[np.integer[Any]]]:
        """
        Return the levels of every firing layer for the last picture, [h, w, C].

        They are uint8, or int8 in the network's ``signed_tensors``; int16 where T is large. Those
        of a directly trained network are its spike counts.
        """
        ...

    def firing(self) -> FiringStatistics:
        """Count the spikes of the last picture."""
        ...


@runtime_checkable
class StatefulEngine(Engine, Protocol):
    """An engine that can carry membranes from one picture, or window, to the next."""

    def reset(self) -> None:
        """Forget what was carried: start from empty membranes."""
        ...


@runtime_checkable
class FittingEngine(Engine, Protocol):
    """An engine that fits pictures of any size into its input by itself, as OpenCV does."""

    def run_picture(self, image: NDArray[np.uint8], fit: Fit) -> Mapping[str, NDArray[Any]]:
        """
        Run a picture through the network; returns as :meth:`run`.

        :param image: uint8 [H, W, 3], or [H, W] if mono, of the size that ``fit`` names.
        :param fit: where it lies in the network's input.
        """
        ...


def check_pixels(pixels: NDArray[np.uint8], shape: tuple[int, ...]) -> None:
    """
    Check a picture against an engine's input.

    :raises ImageError: naming the expected and the given array.
    """
    if pixels.dtype != np.uint8 or pixels.shape != shape:
        raise ImageError(f'picture is {pixels.dtype} of {pixels.shape}: '
                         f'this engine needs uint8 of {shape}; letterbox it first')
