# SPDX-License-Identifier: Apache-2.0
"""Spike codes: T steps of firing are one floor and one clip, and only for complete codes."""

from __future__ import annotations

import numpy as np
import pytest

from snn_detector_ros.errors import ConfigurationError
from snn_detector_ros.network import SpikeCode

CODES = [
    SpikeCode.linear(4, 12), SpikeCode.linear(4, 25), SpikeCode.linear(4), SpikeCode.linear(1, 255),
    SpikeCode.linear(6, 3), SpikeCode.binary(4), SpikeCode.binary(3, 5), SpikeCode.constant(8),
    SpikeCode.constant(5, 4), SpikeCode((16, 4, 1), 3),
]


@pytest.mark.parametrize('code', CODES, ids=str)
@pytest.mark.parametrize('theta', [1, 7, 31])
def test_firing_equals_floor_and_clip(code: SpikeCode, theta: int) -> None:
    membrane = np.arange(-3 * theta, (code.max_level + 4) * theta)
    levels = code.levels(code.fire(membrane, np.int64(theta)))
    np.testing.assert_array_equal(levels, np.clip(membrane // theta, 0, code.max_level))


@pytest.mark.parametrize('code', CODES, ids=str)
def test_digits_and_levels_are_inverse(code: SpikeCode) -> None:
    levels = np.arange(code.max_level + 1)
    digits = code.digits(levels)
    assert digits.max() <= code.burst
    np.testing.assert_array_equal(code.levels(digits), levels)
    np.testing.assert_array_equal(code.spike_table, digits.sum(axis=0))


def test_an_incomplete_code_leaves_gaps() -> None:
    code = SpikeCode((5, 1), 1)
    assert not code.is_complete
    membrane = np.arange(7)
    levels = code.levels(code.fire(membrane, np.int64(1)))
    assert levels[3] == 1
    assert (levels != np.clip(membrane, 0, code.max_level)).any()


def test_completeness_is_exactly_what_equality_needs() -> None:
    """Every code of three weights up to 9 and bursts up to 3, against its definition."""
    for burst in (1, 2, 3):
        for tau in np.ndindex(9, 9, 9):
            code = SpikeCode(tuple(int(weight) + 1 for weight in tau), burst)
            levels = np.arange(code.max_level + 1)
            exact = bool((code.levels(code.fire(levels, np.int64(1))) == levels).all())
            assert exact == code.is_complete, code


GOLDEN = {0: '0000', 1: '0001', 2: '0010', 3: '0100', 4: '1000', 5: '1001', 6: '1010', 7: '1100',
          8: '1101', 9: '1110', 10: '1111'}


@pytest.mark.parametrize(('level', 'digits'), GOLDEN.items())
def test_golden_stdi_digits(level: int, digits: str) -> None:
    train = SpikeCode.linear(4).digits(np.array(level))
    assert ''.join(str(spikes) for spikes in train) == digits


def test_bursts_of_the_default_code() -> None:
    code = SpikeCode.linear(4, 12)
    assert code.max_level == 120
    assert code.spike_table.max() == code.spike_table[120] == 48
    np.testing.assert_array_equal(SpikeCode.linear(4, 3).digits(np.array([12, 14])).T,
                                  [[3, 0, 0, 0], [3, 0, 1, 0]])


def test_binary_spike_count_is_the_popcount() -> None:
    counts = [bin(level).count('1') for level in range(16)]
    np.testing.assert_array_equal(SpikeCode.binary(4).spike_table, counts)


@pytest.mark.parametrize(('tau', 'burst'), [((), 1), ((2, 0), 1), ((1,), 0), ((1,) * 4097, 1)])
def test_impossible_codes_are_refused(tau: tuple[int, ...], burst: int) -> None:
    with pytest.raises(ConfigurationError, match='spike code'):
        SpikeCode(tau, burst)


def test_concurrent_firing_is_not_a_level_map() -> None:
    """Firing while inputs still arrive cannot take a spike back (why time separation exists)."""
    inputs, theta = [1, 1, -1, -1], 1
    membrane, spikes = 0, 0
    for current in inputs:
        membrane += current
        fired = int(membrane >= theta)
        membrane -= fired * theta
        spikes += fired
    code = SpikeCode.constant(4)
    separated = code.levels(code.fire(np.array([sum(inputs)]), np.int64(theta)))
    assert spikes == 2
    assert separated[0] == 0
