# SPDX-License-Identifier: Apache-2.0
"""The rules that a detection head must keep to fit the readouts of its network."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from snn_detector_ros.errors import NetworkError
from snn_detector_ros.network.head import FastestDetHead, Head, RawHead, SsdHead, YoloV3Head
from snn_detector_ros.network.layered_network import LayeredNetwork
from snn_detector_ros.network.layers import Shape


def check_head(
    head: Head, network: LayeredNetwork[Any], shapes: Mapping[str, Shape],
) -> None:
    """
    Check that a head fits a network.

    :param shapes: (height, width, channels) of every tensor.
    :raises NetworkError: naming the readout at fault.
    """
    if not head.readouts or not (network.class_names or isinstance(head, RawHead)):
        raise NetworkError('head', 'a detection head needs readouts and the names of the classes')
    for name in head.readouts:
        if name not in network.outputs:
            raise NetworkError('head', f'`{name}` is no output of the network')
    for name, expected in head.channels(len(network.class_names)).items():
        if shapes[name][2] != expected:
            raise NetworkError(name, f'has {shapes[name][2]} channels, but the head '
                               f'{head.kind} with {len(network.class_names)} classes needs '
                               f'{expected}')
    if isinstance(head, RawHead) and (not head.tail or not 1 <= head.batch <= 1024):
        raise NetworkError('head', f'the tail of the network has {len(head.tail)} bytes for '
                           f'{head.batch} pictures: convert the float network again')
    for name, number in _numbers(head):
        if not np.isfinite(number) or not 0 < number < 1e5:
            raise NetworkError(name, f'stride, anchors and priors must be positive, not {number}')


def _numbers(head: Head) -> Iterator[tuple[str, float]]:
    """Yield each number of a head and the readout that it belongs to."""
    match head:
        case RawHead():
            return
        case FastestDetHead():
            yield head.box, head.stride
        case SsdHead():
            for prior_level in head.levels:
                yield prior_level.boxes, prior_level.stride
                for box in prior_level.priors:
                    yield from ((prior_level.boxes, side) for side in box)
            yield 'head', head.centre_variance
            yield 'head', head.size_variance
        case _:
            for level in head.levels:
                yield level.readout, level.stride
                for box in level.anchors:
                    yield from ((level.readout, side) for side in box)
            if isinstance(head, YoloV3Head):
                yield 'head', head.scale_xy
