# SPDX-License-Identifier: Apache-2.0
"""
From the last layer to candidate boxes.

A cell of an anchor head is kept if its objectness logit ``float32(membrane) * step`` reaches
``log(t / (1 - t))``, with t the score threshold, and then if its score reaches t. The rows that
float exports of YOLOv5 decode themselves go the same way from there.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from snn_detector_ros.detection.candidates import Candidates, choose, corners
from snn_detector_ros.detection.head_decoders import BOX_CHANNELS, DECODERS
from snn_detector_ros.detection.readout_maps import FloatMaps, MembraneMaps, ReadoutMaps
from snn_detector_ros.errors import ConfigurationError
from snn_detector_ros.network import LifNetwork, SpikingNetwork

__all__ = ['BOX_CHANNELS', 'Candidates', 'MembraneDecoder', 'decode_rows']


class MembraneDecoder:
    """
    Reads boxes from the readouts of a spiking network.

    :param network: a network with a head that makes boxes.
    :param input_size: (height, width) of the input in px; the network's own if None.
    :raises ConfigurationError: if the network has no such head.
    """

    def __init__(
        self, network: SpikingNetwork | LifNetwork, input_size: tuple[int, int] | None = None,
    ) -> None:
        decode = DECODERS.get(type(network.head))
        if decode is None:
            raise ConfigurationError(
                f'network {network.name!r} has no detection head: its readouts are not boxes; '
                'convert it with --head, or take its arrays from RawOutputs')
        self._decode = decode
        self._head = network.head
        self._maps: Callable[[Mapping[str, NDArray[Any]]], ReadoutMaps] = (
            FloatMaps if isinstance(network, LifNetwork) else MembraneMaps(network).of)
        self._input_size = input_size or network.input_size

    def __call__(
        self, readouts: Mapping[str, NDArray[Any]], score_threshold: float,
    ) -> Candidates:
        """
        Return the boxes that reach a score.

        :param readouts: what an engine returns: for each readout its membrane without the bias,
            int32 [h, w, C], or its values, float32, if the network was trained with spikes.
        :param score_threshold: least score, 0 to 1.
        """
        return self._decode(
            self._head, self._maps(readouts), self._input_size, score_threshold)


def decode_rows(rows: NDArray[np.float32], score_threshold: float) -> Candidates:
    """
    Return the boxes in the decoded output of a YOLOv5 export.

    :param rows: float32 [N, 5 + classes]; centre x, centre y, width, height in input pixels,
        then probabilities of an object and of each class.
    :param score_threshold: least score, 0 to 1.
    """
    rows = rows[rows[:, 4] >= score_threshold]
    return choose(
        corners(rows[:, :2], rows[:, 2:4]), rows[:, 4:5] * rows[:, 5:], score_threshold)
