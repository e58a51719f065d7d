# SPDX-License-Identifier: Apache-2.0
"""Signed neurons: T steps against an imbalanced threshold are one rounding and one table."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from random_graphs import SIGNED_CODES

from snn_detector_ros.network import SpikeCode
from snn_detector_ros.network.signed_neuron import fire_signed, negative_levels, rounding_slope


def closed_map(membrane: int, theta: int, slope: float, max_level: int) -> int:
    """Return the level of a signed neuron by its definition, in exact integers and one product."""
    multiple = min((2 * abs(membrane) + theta) // (2 * theta), max_level)
    return multiple if membrane >= 0 else -math.floor(slope * multiple + 0.5)


@pytest.mark.parametrize('code', SIGNED_CODES, ids=str)
@pytest.mark.parametrize('slope', [0.0, 0.01, 0.1, 0.25, 1 / 3, 0.5, 0.999, 1.0])
@pytest.mark.parametrize('theta', [1, 7])
def test_firing_equals_the_closed_map(code: SpikeCode, slope: float, theta: int) -> None:
    membrane = np.arange(-(code.max_level + 3) * theta, (code.max_level + 3) * theta)
    train = fire_signed(code, membrane, np.int64(theta), slope)
    levels = code.levels(train)
    np.testing.assert_array_equal(
        levels, [closed_map(int(v), theta, slope, code.max_level) for v in membrane])
    np.testing.assert_array_equal(train, np.sign(levels) * code.digits(np.abs(levels)))


def test_channels_have_thresholds_of_their_own() -> None:
    code = SpikeCode.linear(4, 12)
    membrane = np.array([[-900, -900], [31, 31]])
    levels = code.levels(fire_signed(code, membrane, np.array([9, 21]), 0.1))
    np.testing.assert_array_equal(levels, [[-10, -4], [3, 1]])


def test_an_incomplete_code_leaves_gaps_on_both_sides() -> None:
    code = SpikeCode((5, 1), 1)
    levels = code.levels(fire_signed(code, np.array([-3, 3]), np.int64(1), 1.0))
    np.testing.assert_array_equal(levels, [-1, 1])


@example(slope=0.35, max_level=90)
@given(slope=st.floats(0, 1), max_level=st.integers(1, 127))
def test_rounding_with_the_slope_in_between_gives_the_table(slope: float, max_level: int) -> None:
    products = rounding_slope(slope, max_level) * np.arange(max_level + 1, dtype=np.float32)
    assert products.dtype == np.float32
    np.testing.assert_array_equal(np.rint(products), negative_levels(slope, max_level))
    if max_level > 1:
        # No runtime rounds as far off as this.
        assert np.abs(products - np.floor(products) - 0.5).min() > 1e-4


def test_rounding_with_the_slope_itself_would_not() -> None:
    products = np.float32(0.1) * np.arange(121, dtype=np.float32)
    assert (np.rint(products) != negative_levels(0.1, 120)).any()
