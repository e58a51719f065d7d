# SPDX-License-Identifier: Apache-2.0
"""Each head decodes as its definition says, from spikes as from floats."""

from __future__ import annotations

import math

import numpy as np
import pytest
from network_builder import NetworkBuilder

from snn_detector_ros.detection.head_decoders import DECODERS
from snn_detector_ros.detection.readout_maps import FloatMaps, MembraneMaps
from snn_detector_ros.network import (
    IMAGE,
    FastestDetHead,
    HeadLevel,
    PriorLevel,
    SpikeCode,
    SsdHead,
    YoloV3Head,
    YoloV5Head,
)

SIZE = (32, 64)


def _sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))


def _decode(head: object, values: dict[str, np.ndarray], threshold: float = 0.1):
    maps = FloatMaps({name: value.astype(np.float32) for name, value in values.items()})
    return DECODERS[type(head)](head, maps, SIZE, threshold)


def _one_cell(channels: int, values: list[float]) -> np.ndarray:
    """Return a map 4 x 8 that is silent but for the cell in row 1, column 2."""
    array = np.full((4, 8, channels), -20.0)
    array[1, 2, :len(values)] = values
    return array


@pytest.mark.parametrize('scale_xy', [1.0, 1.2])
def test_yolov3(scale_xy: float) -> None:
    head = YoloV3Head((HeadLevel('out', 8, ((10.0, 14.0),)),), scale_xy)
    found = _decode(head, {'out': _one_cell(7, [0.3, -0.4, 0.2, -0.1, 2.0, -1.0, 1.5])})
    x = (scale_xy * _sigmoid(0.3) - (scale_xy - 1) / 2 + 2) * 8
    y = (scale_xy * _sigmoid(-0.4) - (scale_xy - 1) / 2 + 1) * 8
    w, h = 10 * math.exp(0.2), 14 * math.exp(-0.1)
    np.testing.assert_allclose(
        found.boxes, [[x - w / 2, y - h / 2, x + w / 2, y + h / 2]], rtol=1e-5)
    np.testing.assert_allclose(found.scores, [_sigmoid(2) * _sigmoid(1.5)], rtol=1e-5)
    assert found.classes.tolist() == [1]


def test_yolov2_classes_exclude_each_other() -> None:
    head = YoloV3Head((HeadLevel('out', 8, ((10.0, 14.0),)),), softmax=True)
    found = _decode(head, {'out': _one_cell(7, [0, 0, 0, 0, 2.0, 1.0, 1.5])})
    share = math.exp(1.5) / (math.exp(1) + math.exp(1.5))
    np.testing.assert_allclose(found.scores, [_sigmoid(2) * share], rtol=1e-5)


def test_fastestdet() -> None:
    head = FastestDetHead('object', 'box', 'classes', 8)
    found = _decode(head, {
        'object': _one_cell(1, [1.0]), 'box': _one_cell(4, [0.5, -0.5, -1.0, 0.0]),
        'classes': _one_cell(2, [3.0, 1.0])})
    x, y = (2 + math.tanh(0.5)) * 8, (1 + math.tanh(-0.5)) * 8
    w, h = 64 * _sigmoid(-1), 32 * 0.5
    np.testing.assert_allclose(
        found.boxes, [[x - w / 2, y - h / 2, x + w / 2, y + h / 2]], rtol=1e-5)
    share = math.exp(3) / (math.exp(3) + math.exp(1))
    np.testing.assert_allclose(found.scores, [_sigmoid(1)**0.6 * share**0.4], rtol=1e-5)


def test_ssd() -> None:
    head = SsdHead((PriorLevel('scores', 'boxes', 8, ((10.0, 10.0), (24.0, 24.0))),))
    scores = np.tile([5.0, -5.0], (4, 8, 2))
    scores[1, 2] = [5.0, -5.0, 0.0, 1.0]  # the second prior sees something
    boxes = np.zeros((4, 8, 8))
    boxes[1, 2, 4:] = [1.0, -1.0, 0.5, -0.5]
    found = _decode(head, {'scores': scores, 'boxes': boxes})
    x, y = 2.5 * 8 + 0.1 * 24, 1.5 * 8 - 0.1 * 24
    w, h = 24 * math.exp(0.1), 24 * math.exp(-0.1)
    np.testing.assert_allclose(
        found.boxes, [[x - w / 2, y - h / 2, x + w / 2, y + h / 2]], rtol=1e-5)
    np.testing.assert_allclose(found.scores, [_sigmoid(1)], rtol=1e-5)


def test_spikes_decode_like_their_values() -> None:
    net = NetworkBuilder(3, SpikeCode.linear(4, 12))
    stem = net.conv(IMAGE, 8)
    name = net.conv(stem, 14, readout=True)
    network = net.build()
    head = YoloV5Head((HeadLevel(name, 8, ((8.0, 9.0), (20.0, 12.0))),))
    maps = MembraneMaps(network)
    maps.sums = {name: np.random.default_rng(0).integers(-900, 900, (4, 8, 14)).astype(np.int32)}
    spikes = DECODERS[YoloV5Head](head, maps, SIZE, 0.3)
    floats = _decode(head, {name: maps.values(name)}, 0.3)
    assert len(floats.scores) > 5
    np.testing.assert_array_equal(spikes.boxes, floats.boxes)
    np.testing.assert_array_equal(spikes.scores, floats.scores)
