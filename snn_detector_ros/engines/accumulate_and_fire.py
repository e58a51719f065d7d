# SPDX-License-Identifier: Apache-2.0
"""
Neurons that fire in the same step in which they receive (Spiking-YOLO, AAAI 2020).

Currents and spikes of some consecutive steps are handled together, as arrays ``[t, C, h, w]``; only
the membranes go from step to step. Everything is a whole number: spikes are -1, 0 or 1.
"""

from __future__ import annotations

from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from snn_detector_ros.network import MaxPool, Shape

#: Slopes are taken as the nearest fraction up to this denominator: 0.1 and 0.125 exactly.
MAX_DENOMINATOR = 1000


def slope_fraction(slope: float) -> Fraction:
    """Return the slope of a signed neuron as a fraction, so that thresholds stay whole numbers."""
    return Fraction(slope).limit_denominator(MAX_DENOMINATOR)


class Population:
    """
    A map of neurons, each of which fires at most once a step.

    ``V >= theta``: spike, ``V -= theta``. A signed neuron also: ``V <= -opposite``: spike of -1,
    ``V += opposite``, where ``opposite = theta / slope`` is the imbalanced threshold.

    A reset never takes a membrane across zero, so that it is bounded by its start and the
    magnitudes of all that it receives; ``dtype`` must hold that sum.

    :param shape: (height, width, channels) of the map.
    :param threshold: theta, int64 [C] or [1].
    :param opposite: int64 [C] or [1]; None for ordinary neurons, which only fire above zero.
    :param start: membrane before the first step, int64 [C] or [1].
    :param dtype: integer type of the membranes.
    """

    def __init__(
        self,
        shape: Shape,
        threshold: NDArray[np.int64],
        opposite: NDArray[np.int64] | None = None,
        *,
        start: NDArray[np.int64],
        dtype: type[np.signedinteger] = np.int32,
    ) -> None:
        height, width, channels = shape
        self._threshold = threshold
        self._opposite = opposite
        self._start = start.astype(dtype)[:, None, None]
        self._membrane = np.empty((channels, height, width), dtype=dtype)
        self._scratch = np.empty_like(self._membrane)
        self._fired = np.empty(self._membrane.shape, dtype=bool)

    def reset(self) -> None:
        """Start a new picture."""
        self._membrane[:] = self._start

    def fire(
        self, currents: NDArray[np.float32] | NDArray[np.int64],
        offset: NDArray[np.int64] | None = None, divisor: int = 1,
    ) -> NDArray[np.float32]:
        """
        Receive and fire, step by step.

        :param currents: whole numbers [t, C, h, w].
        :param offset: int64 [t, C]; ``offset / divisor`` is added to the membrane of each step for
            the comparison, on top of ``currents``. Comparing whole membranes with
            ``ceil(theta - offset / divisor)`` is exact although the sum is a fraction.
        :returns: spikes, float32 [t, C, h, w].
        """
        least, most = self._bounds(offset, divisor)
        spikes = np.empty(currents.shape, dtype=np.float32)
        for step, out in enumerate(spikes):
            np.copyto(self._scratch, currents[step], casting='unsafe')
            self._membrane += self._scratch
            np.greater_equal(self._membrane, least[step % len(least)], out=self._fired)
            np.copyto(out, self._fired)
            self._reset_fired(self._threshold)
            if self._opposite is not None:
                # What has just fired is not below zero, so it cannot fire again.
                np.less_equal(self._membrane, most[step % len(most)], out=self._fired)
                out -= self._fired
                self._reset_fired(-self._opposite)
        return spikes

    def _reset_fired(self, quantum: NDArray[np.int64]) -> None:
        """Take a quantum, [C] or [1], from the membrane of each neuron that fired."""
        np.copyto(self._scratch, self._fired)
        self._scratch *= quantum.astype(self._scratch.dtype)[:, None, None]
        self._membrane -= self._scratch

    def _bounds(
        self, offset: NDArray[np.int64] | None, divisor: int,
    ) -> tuple[NDArray[np.signedinteger], NDArray[np.signedinteger]]:
        """Return the least and the most that fires in each step, [t or 1, C or 1, 1, 1]."""
        shift = np.zeros((1, 1), dtype=np.int64) if offset is None else offset
        opposite = self._threshold if self._opposite is None else self._opposite
        least = -((shift - self._threshold * divisor) // divisor)
        most = (-opposite * divisor - shift) // divisor
        dtype = self._membrane.dtype
        return least.astype(dtype)[..., None, None], most.astype(dtype)[..., None, None]


class CountingMaxPool:
    """
    Fires so often as the input of its window that has fired most.

    A spike passes if it raises the largest of the counts so far, and a spike of -1 if it lowers it.
    Passing all spikes of whichever input leads (Rueckauer et al., 2017) is the same while one does.
    But where two keep level and take turns, each spike then comes from the leader of the moment, so
    that the pool fires at the sum of their rates, or never, depending on which of them is first.

    :param pool: the layer.
    :param shape: (height, width, channels) of the input.
    """

    def __init__(self, pool: MaxPool, shape: Shape) -> None:
        height, width, channels = shape
        self._pool = pool
        #: Spikes of each input so far; 16 bit hold any number of steps.
        self._counts = np.zeros((channels, height, width), dtype=np.int16)

    def reset(self) -> None:
        """Start a new picture."""
        self._counts[:] = 0

    def relay(self, spikes: NDArray[np.float32]) -> NDArray[np.float32]:
        """
        Return the spikes of the pool.

        :param spikes: float32 [t, C, H, W].
        :returns: float32 [t, C, h, w].
        """
        counts = np.concatenate([self._counts[None], spikes.astype(np.int16)])
        np.cumsum(counts, axis=0, dtype=np.int16, out=counts)
        self._counts[:] = counts[-1]
        return np.diff(_max_pool(counts, self._pool), axis=0).astype(np.float32)


def _max_pool(values: NDArray[np.int16], pool: MaxPool) -> NDArray[np.int16]:
    """Return the largest value of each window of [..., H, W], rows first; padding never wins."""
    top, left, bottom, right = pool.padding
    lowest = np.iinfo(np.int16).min
    padding = ((0, 0), (0, 0), (top, bottom), (left, right))
    values = np.pad(values, padding, constant_values=lowest) if any(pool.padding) else values
    for axis in (2, 3):
        lines = values.swapaxes(0, axis)
        taps, stride = pool.kernel[axis - 2], pool.stride[axis - 2]
        stop = len(lines) - taps + 1
        best = lines[:stop:stride]
        for tap in range(1, taps):
            best = np.maximum(best, lines[tap:tap + stop:stride])
        values = best.swapaxes(0, axis)
    return values
