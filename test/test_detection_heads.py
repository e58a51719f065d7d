# SPDX-License-Identifier: Apache-2.0
"""Head decoding: integers and decoded rows give what the plain formulas give."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from snn_detector_ros.detection.candidates import logit, sigmoid
from snn_detector_ros.detection.heads import MembraneDecoder, decode_rows
from snn_detector_ros.errors import ConfigurationError
from snn_detector_ros.network import (
    IMAGE,
    Convolution,
    HeadLevel,
    SpikeCode,
    SpikingNetwork,
    YoloV5Head,
)

repeatable = settings(deadline=None, derandomize=True)

CLASSES = 3
LEVELS = (
    HeadLevel('fine', 8, ((10, 13), (16, 30))),
    HeadLevel('coarse', 16, ((30, 61), (62, 45))),
)
SHAPES = {'fine': (4, 6), 'coarse': (2, 3)}
CHANNELS = 2 * (5 + CLASSES)


def _network(bias: np.ndarray, step: np.ndarray) -> SpikingNetwork:
    readouts = tuple(
        Convolution(level.readout, IMAGE, np.zeros((CHANNELS, 3, 1, 1), np.int8),
                    bias.astype(np.int32), None, step.astype(np.float32))
        for level in LEVELS)
    return SpikingNetwork(
        'twig', SpikeCode.linear(4, 12), 'zero', (32, 48), readouts,
        tuple(SHAPES), YoloV5Head(LEVELS), ('a', 'b', 'c'))


def _random_case(seed: int) -> tuple[SpikingNetwork, dict[str, np.ndarray]]:
    random = np.random.default_rng(seed)
    network = _network(
        random.integers(-100, 100, CHANNELS), random.uniform(5e-4, 2e-3, CHANNELS))
    sums = {}
    for name, shape in SHAPES.items():
        part = random.integers(-6000, 6000, (*shape, 2, 5 + CLASSES), dtype=np.int32)
        # Classes far apart: which of two equal ones is best would be up to the last bit.
        part[..., 5:] //= 12
        part[..., 5:] += random.permuted(
            np.broadcast_to([-6000, 0, 6000], part[..., 5:].shape), axis=-1).astype(np.int32)
        sums[name] = part.reshape(*shape, CHANNELS)
    return network, sums


def _logits(network: SpikingNetwork, sums: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {conv.name: (sums[conv.name] + conv.bias).astype(np.float32) * conv.step
            for conv in network.convolutions}


def _naive(maps: dict[str, np.ndarray], threshold: float) -> list[tuple[list[float], float, int]]:
    """Decode one cell after the other in double precision, with the formulas of YOLOv5."""
    least = logit(threshold)
    boxes = []
    for level in LEVELS:
        rows = maps[level.readout].reshape(*SHAPES[level.readout], 2, 5 + CLASSES)
        for row, column, anchor in np.ndindex(rows.shape[:3]):
            if rows[row, column, anchor, 4] < least:
                continue
            p = [1 / (1 + math.exp(-value)) for value in rows[row, column, anchor].tolist()]
            best = int(np.argmax(p[5:]))
            score = p[4] * p[5 + best]
            if score < threshold:
                continue
            x = (2 * p[0] - 0.5 + column) * level.stride
            y = (2 * p[1] - 0.5 + row) * level.stride
            half_width = (2 * p[2]) ** 2 * level.anchors[anchor][0] / 2
            half_height = (2 * p[3]) ** 2 * level.anchors[anchor][1] / 2
            boxes.append(([x - half_width, y - half_height, x + half_width, y + half_height],
                          score, best))
    return boxes


def _assert_same(candidates, expected):
    # float32 against double: relative errors of a few 2^-24, on boxes of up to 250 px.
    assert candidates.classes.tolist() == [box[2] for box in expected]
    np.testing.assert_allclose(candidates.scores, [box[1] for box in expected], rtol=1e-5)
    np.testing.assert_allclose(
        candidates.boxes, np.reshape([box[0] for box in expected], (-1, 4)), atol=1e-3)


@repeatable
@given(st.integers(0, 2**32 - 1), st.sampled_from([0.001, 0.05, 0.25, 0.5, 0.9]))
def test_membranes_decode_like_the_naive_formulas(seed, threshold):
    network, sums = _random_case(seed)
    _assert_same(MembraneDecoder(network)(sums, threshold),
                 _naive(_logits(network, sums), threshold))


@repeatable
@given(
    st.integers(-2**30, 2**30),
    st.floats(2.0**-30, 8, width=32),
    st.floats(1e-6, 1 - 1e-6),
    st.integers(-40, 40))
def test_integer_gate_equals_the_float_comparison(bias, step, threshold, distance):
    """Near the gate, sum by sum, an integer comparison decides as float32 arithmetic does."""
    biases, steps = np.zeros(CHANNELS), np.full(CHANNELS, 1e-3)
    biases[4::5 + CLASSES], steps[4::5 + CLASSES] = bias, step
    membrane = round(float(logit(threshold)) / step) + distance
    total = int(np.clip(membrane - bias, -2**31, 2**31 - 1))
    sums = {name: np.full((*shape, CHANNELS), total, dtype=np.int32)
            for name, shape in SHAPES.items()}
    for conv_sums in sums.values():
        conv_sums.reshape(-1, 5 + CLASSES)[:, 5:] = 80_000  # a class probability of 1
    found = MembraneDecoder(_network(biases, steps))(sums, threshold)

    objectness = np.float32(total + bias) * np.float32(step)
    passes = objectness >= logit(threshold)
    # The score threshold follows the gate; at the edge its sigmoid may round below the threshold.
    passes &= sigmoid(np.float32([objectness]))[0] >= np.float32(threshold)
    assert len(found.scores) == (60 if passes else 0)


@repeatable
@given(st.integers(0, 2**32 - 1), st.sampled_from([0.001, 0.25, 0.6]))
def test_decoded_rows_agree_with_raw_maps(seed, threshold):
    network, sums = _random_case(seed)
    maps = _logits(network, sums)
    rows = []
    for level in LEVELS:
        p = sigmoid(maps[level.readout].reshape(*SHAPES[level.readout], 2, 5 + CLASSES))
        row, column, anchor = (axis.ravel() for axis in np.indices(p.shape[:3]))
        p = p.reshape(-1, 5 + CLASSES)
        p[:, :2] = (2 * p[:, :2] - 0.5 + np.stack([column, row], axis=1)) * level.stride
        p[:, 2:4] = (2 * p[:, 2:4]) ** 2 * np.float32(level.anchors)[anchor]
        rows.append(p)
    _assert_same(decode_rows(np.concatenate(rows), threshold), _naive(maps, threshold))


@pytest.mark.parametrize(('threshold', 'count'), [(0.0, 60), (1.0, 0)])
def test_extreme_thresholds_keep_all_or_nothing(threshold, count):
    network, sums = _random_case(0)
    assert len(MembraneDecoder(network)(sums, threshold).scores) == count


def test_threshold_can_change_between_frames():
    network, sums = _random_case(1)
    decoder = MembraneDecoder(network)
    counts = [len(decoder(sums, threshold).scores) for threshold in (0.2, 0.8, 0.2)]
    assert counts[0] == counts[2] > counts[1]


def test_sigmoid_is_finite_for_every_float():
    values = np.array([-np.inf, -1e38, -89, 0, 89, 1e38, np.inf], dtype=np.float32)
    result = sigmoid(values)
    assert result.dtype == np.float32
    # exp(-80) is the smallest answer; it stands for 0.
    np.testing.assert_allclose(result, [0, 0, 0, 0.5, 1, 1, 1], atol=1e-30)


@pytest.mark.parametrize('threshold', [-0.1, 1.1, math.nan])
def test_threshold_outside_0_to_1_is_refused(threshold):
    with pytest.raises(ConfigurationError, match='score threshold'):
        logit(threshold)


def test_network_without_a_head_is_refused():
    code = SpikeCode.linear(4, 12)
    with pytest.raises(ConfigurationError, match="'headless' has no detection head"):
        MembraneDecoder(SpikingNetwork('headless', code, 'zero', (32, 32), (), ()))
