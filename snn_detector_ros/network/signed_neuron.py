# SPDX-License-Identifier: Apache-2.0
"""
The signed neuron with an imbalanced threshold (Spiking-YOLO, Kim et al., AAAI 2020, section 4.2).

Its spikes carry a sign. Above zero it fires like any other neuron; below zero the thresholds lie
``1 / slope`` times as far apart, so that it computes a leaky ReLU. With time separation it, too, is
a map of levels: the nearest multiple ``m`` of the threshold, cut off at ``-Q`` and ``Q``, and for
negative ``m`` the level ``-floor(slope * -m + 1/2)``. This module holds that map as a table, the
neuron that fires it out step by step, and the one number with which float32 computes it exactly.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from snn_detector_ros.network.codes import SpikeCode

#: Multiples of the threshold that no membrane reaches.
_NEVER = 1 << 31


@lru_cache(maxsize=64)
def negative_levels(slope: float, max_level: int) -> NDArray[np.int64]:
    """
    Return the magnitude of the level below zero for each magnitude ``-m``.

    Exact for the slope as it is stored: products rounded to float64 would take ``0.35 * 70`` up to
    a tie and ``0.35 * 90`` not, and no one slope would give that table.

    :param slope: of the activation below zero, 0 to 1.
    :returns: ``floor(slope * n + 1/2)`` for ``n`` from 0 to Q, int64 [Q + 1], not writable.
    """
    above, below = slope.as_integer_ratio()
    magnitudes = np.array(
        [(2 * above * n + below) // (2 * below) for n in range(max_level + 1)], np.int64)
    magnitudes.flags.writeable = False
    return magnitudes


def rounding_slope(slope: float, max_level: int) -> np.float32:
    """
    Return the slope with which rounding to the nearest integer gives :func:`negative_levels`.

    With the slope itself, products can be ties, ``0.1 * 5`` for one, where runtimes round to even.
    All slopes of an interval give the same table; its middle is as far from ties as can be, more
    than ``1 / (8 Q)`` in the product, which float32 keeps apart easily.
    """
    magnitudes = np.arange(1, max_level + 1)
    levels = negative_levels(slope, max_level)[1:]
    low = max(0.0, float(((levels - 0.5) / magnitudes).max()))
    high = float(((levels + 0.5) / magnitudes).min())
    return np.float32((low + high) / 2)


def rectify(levels: NDArray[np.integer], slope: float, max_level: int) -> NDArray[np.int64]:
    """
    Apply the activation of a signed neuron to signed levels.

    :param levels: integers in [-Q, Q], any shape.
    :returns: int64 of that shape.
    """
    negative = negative_levels(slope, max_level)[np.maximum(-levels.astype(np.int64), 0)]
    return np.where(levels < 0, -negative, levels).astype(np.int64)


def fire_signed(
    code: SpikeCode, membrane: NDArray[np.int64], threshold: NDArray[np.int64], slope: float,
) -> NDArray[np.int64]:
    """
    Run the firing phase of signed neurons step by step.

    After the levels ``e`` that a neuron has sent so far, another spike of step ``t`` needs a
    membrane of at least ``(n(e + tau(t)) - 1/2) * threshold``. Above zero ``n(k) = k``; below, it
    is the first multiple that the activation maps to ``k``, about ``k / slope``.

    :param membrane: accumulated membrane, int64 [..., C].
    :param threshold: odd threshold of each channel, int64 [C] or scalar.
    :param slope: of the activation below zero, 0 to 1.
    :returns: spikes of each step, negative ones below zero, int64 [T, ..., C].
    """
    below = membrane < 0
    reach = 2 * np.abs(membrane) + threshold  # at least 2 n threshold where level n is due
    levels = np.arange(code.max_level + 1, dtype=np.int64)
    # By the level to be reached: the multiple it needs, above zero and below.
    needed = np.stack([levels, np.searchsorted(negative_levels(slope, code.max_level), levels)])
    needed[needed > code.max_level] = _NEVER
    sent = np.zeros(membrane.shape, dtype=np.int64)
    train = np.zeros((code.steps, *membrane.shape), dtype=np.int64)
    for step, weight in enumerate(code.tau):
        for _ in range(code.burst):
            goal = sent + weight
            possible = goal <= code.max_level
            multiple = needed[below.astype(np.intp), np.where(possible, goal, 0)]
            fired = possible & (reach >= 2 * multiple * threshold)
            if not fired.any():
                break
            train[step] += fired
            sent += weight * fired
    return np.where(below, -train, train)
