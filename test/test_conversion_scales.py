# SPDX-License-Identifier: Apache-2.0
"""Calibration and the sharing of scales."""

from __future__ import annotations

import numpy as np
import pytest
from float_onnx_builder import pictures

from snn_detector_ros.conversion import FloatConvolution, FloatNetwork
from snn_detector_ros.conversion.calibration import BINS, calibrate
from snn_detector_ros.conversion.scales import choose_steps
from snn_detector_ros.errors import ConversionError
from snn_detector_ros.network import IMAGE, Add, Concat, MaxPool, Slice, Upsample


def _conv(name: str, source: str, inputs: int, outputs: int, relu: bool = True) -> FloatConvolution:
    weight = np.random.default_rng(len(name)).normal(0, 1, (outputs, inputs, 1, 1))
    return FloatConvolution(name, source, weight.astype(np.float32),
                            np.zeros(outputs, np.float32), 0.0 if relu else 1.0)


def _identity(bias: tuple[float, ...] = (0, 0, 0)) -> FloatNetwork:
    """Return a network whose first layer is the picture, red first, plus a bias."""
    stem = FloatConvolution('stem', IMAGE, np.eye(3, dtype=np.float32)[:, :, None, None],
                            np.array(bias, np.float32), 0.0)
    return FloatNetwork('id', (4, 4), (stem, _conv('out', 'stem', 3, 2, False)), ('out',))


#: Two residual adds in a chain, a pool, a concatenation, and a layer apart.
CHAIN = FloatNetwork('chain', (8, 8), (
    _conv('a', IMAGE, 3, 2), _conv('b', 'a', 2, 2), Add('ab', ('a', 'b')), _conv('c', 'ab', 2, 2),
    Add('abc', ('ab', 'c')), MaxPool('pool', 'abc', (2, 2), (2, 2)), Upsample('up', 'pool'),
    _conv('d', 'abc', 2, 3), Concat('joined', ('up', 'd')), Slice('cut', 'joined', 1, 4),
    _conv('out', 'cut', 3, 1, False)), ('out',))
MAXIMA: dict[str, list[float]] = {
    'a': [1, 3], 'b': [2, 1], 'ab': [2.5, 4], 'c': [1, 1], 'abc': [3, 4.5], 'd': [8, 0, 2]}


def _steps(normalisation: str = 'channel', /, **changes: list[float]) -> dict[str, list[float]]:
    maxima = {name: np.array(values, np.float64) for name, values in (MAXIMA | changes).items()}
    steps = choose_steps(CHAIN, maxima, 1, normalisation)  # type: ignore[arg-type]
    return {name: values.tolist() for name, values in steps.items()}


def test_residual_chain_shares_the_largest_maximum_sums_included() -> None:
    steps = _steps()
    for name in ('a', 'b', 'ab', 'c', 'abc', 'pool', 'up'):
        assert steps[name] == [3, 4.5]


def test_concatenation_and_slice_keep_the_scales_of_each_part() -> None:
    steps = _steps()
    assert steps['joined'] == [3, 4.5, 8, 2, 2]
    assert steps['cut'] == [4.5, 8, 2]


def test_silent_channel_gets_the_smallest_scale_of_its_chain() -> None:
    assert _steps()['d'] == _steps(d=[8, 1e-40, 2])['d'] == [8, 2, 2]
    silent = {name: [0, MAXIMA[name][1]] for name in ('a', 'b', 'ab', 'c', 'abc')}
    assert _steps(**silent)['a'] == [4.5, 4.5]


def test_silent_chain_gets_scale_one() -> None:
    assert _steps(d=[0, 0, 0])['d'] == [1, 1, 1]


def test_layer_normalisation_has_one_scale_a_chain() -> None:
    steps = _steps('layer')
    assert steps['a'] == steps['abc'] == [4.5, 4.5]
    assert steps['d'] == [8, 8, 8]


def test_maximum_meets_the_largest_level() -> None:
    maxima = {name: np.array(values, np.float64) for name, values in MAXIMA.items()}
    steps = choose_steps(CHAIN, maxima, 120)
    np.testing.assert_allclose(steps['d'] * 120, [8, 2, 2], rtol=1e-6)


def test_maxima_are_those_of_all_pictures() -> None:
    images = pictures(3, (4, 4))
    maxima = calibrate(_identity(), images)
    expected = np.stack(images).max(axis=(0, 1, 2))[::-1] / 255  # the network sees red first
    np.testing.assert_allclose(maxima['stem'], expected, rtol=1e-6)


def test_percentile_ignores_zeros() -> None:
    # Red falls below zero nearly everywhere: its percentile counts only where it fires.
    image = np.full((4, 4, 3), 100, np.uint8)
    image[0, 0, 2] = 200
    maxima = calibrate(_identity((-0.5, 0, 0)), [image], percentile=90)
    assert maxima['stem'][0] == pytest.approx(200 / 255 - 0.5, rel=1e-5)


def test_percentile_cuts_off_the_tail() -> None:
    image = np.arange(48, dtype=np.uint8).reshape(4, 4, 3) + 1  # red: 3, 6, ..., 48
    maxima = calibrate(_identity(), [image, image], percentile=75)
    # 12 of 16 values are at most 36; the result is the upper edge of the bin of 36.
    bins = maxima['stem'][0] / (48 / 255) * BINS - 36 / 48 * BINS
    assert -1e-3 < bins < 1 + 1e-3


@pytest.mark.parametrize('percentile', [0.0, -1.0, 100.5])
def test_percentile_out_of_range_is_refused(percentile: float) -> None:
    with pytest.raises(ConversionError, match='percentile'):
        calibrate(_identity(), pictures(1, (4, 4)), percentile=percentile)


def test_no_picture_is_refused() -> None:
    with pytest.raises(ConversionError, match='no picture'):
        calibrate(_identity(), [])


def test_network_that_never_fires_is_refused() -> None:
    network = FloatNetwork('one', (4, 4), (_conv('out', IMAGE, 3, 2, False),), ('out',))
    with pytest.raises(ConversionError, match='one: no layer would fire'):
        calibrate(network, pictures(1, (4, 4)))


@pytest.mark.parametrize('image', [np.zeros((4, 5, 3), np.uint8), np.zeros((4, 4, 3), np.float32)])
def test_picture_of_another_size_or_type_is_refused(image: np.ndarray) -> None:
    with pytest.raises(ConversionError, match=r'needs uint8 of \(4, 4, 3\)'):
        calibrate(_identity(), [image])


def test_activation_that_is_not_finite_is_refused() -> None:
    with pytest.raises(ConversionError, match='layer `stem`'):
        calibrate(_identity((np.inf, 0, 0)), pictures(1, (4, 4)))
