# SPDX-License-Identifier: Apache-2.0
"""
Spike codes: how the spikes of T time steps add up to one integer level.

A spike at step ``t`` weighs ``tau[t]``; up to ``burst`` spikes may be sent in one step. The neuron
fires greedily, so a membrane of ``q`` thresholds is sent as the digits of ``q`` in the mixed radix
that ``tau`` and ``burst`` define. Where the code is *greedy-complete*, every level from 0 to ``Q``
has digits of its own, and T steps of firing equal one ``clip(floor(V / theta), 0, Q)``. That
equality is what lets the fast engines skip the time loop.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from snn_detector_ros.errors import ConfigurationError

#: Rate codes of Spiking-YOLO take thousands; the compiled counting of spikes holds so many.
MAX_STEPS = 4096


@dataclass(frozen=True)
class SpikeCode:
    """
    Weights of the time steps and the largest burst.

    :param tau: positive integer weight of a spike at each step, first step first.
    :param burst: most spikes that a neuron sends in one step (``f_c`` of SUHD).
    :raises ConfigurationError: if a weight or the cap is not a positive integer.
    """

    tau: tuple[int, ...]
    burst: int

    def __post_init__(self) -> None:
        if not 1 <= len(self.tau) <= MAX_STEPS or min(self.tau) < 1 or self.burst < 1:
            raise ConfigurationError(
                f'spike code of {len(self.tau)} steps with weights {self.tau[:8]} and burst '
                f'{self.burst}: needs 1 to {MAX_STEPS} steps, weights >= 1 and a burst cap >= 1')

    @classmethod
    def linear(cls, steps: int, burst: int = 1) -> SpikeCode:
        """Return STDI, the code of SUHD: ``tau(t) = T - t + 1``."""
        return cls(tuple(range(steps, 0, -1)), burst)

    @classmethod
    def binary(cls, steps: int, burst: int = 1) -> SpikeCode:
        """Return the code with halving weights: ``tau(t) = 2^(T - t)``."""
        return cls(tuple(1 << bit for bit in range(steps - 1, -1, -1)), burst)

    @classmethod
    def constant(cls, steps: int, burst: int = 1) -> SpikeCode:
        """Return the rate code: every spike weighs 1."""
        return cls((1,) * steps, burst)

    @property
    def steps(self) -> int:
        """Number of time steps T."""
        return len(self.tau)

    @property
    def max_level(self) -> int:
        """Largest level Q that T steps can carry."""
        return self.burst * sum(self.tau)

    @property
    def is_complete(self) -> bool:
        """Whether greedy firing reaches every level from 0 to Q (condition of exactness)."""
        tail = 0
        for weight in reversed(self.tau):
            if weight > 1 + self.burst * tail:
                return False
            tail += weight
        return True

    def fire(self, membrane: NDArray[np.int64], threshold: NDArray[np.int64]) -> NDArray[np.int64]:
        """
        Run the firing phase step by step (SUHD algorithm 1, bursts as in eq. 12).

        :param membrane: accumulated membrane, int64 [..., C]; is not changed.
        :param threshold: threshold of each channel, int64 [C] or scalar.
        :returns: spikes of each step, int64 [T, ..., C].
        """
        residue = np.array(membrane, dtype=np.int64)
        train = np.empty((self.steps, *residue.shape), dtype=np.int64)
        for step, weight in enumerate(self.tau):
            train[step] = np.clip(residue // (weight * threshold), 0, self.burst)
            residue -= train[step] * (weight * threshold)
        return train

    @cached_property
    def digit_table(self) -> NDArray[np.uint8]:
        """Spikes of each step for each level, uint8 [T, Q + 1]."""
        if self.burst > 255:
            raise ConfigurationError(f'burst cap {self.burst}: at most 255 spikes fit in one step')
        levels = np.arange(self.max_level + 1, dtype=np.int64)
        return self.fire(levels, np.int64(1)).astype(np.uint8)

    @cached_property
    def spike_table(self) -> NDArray[np.int64]:
        """Spikes in all steps together for each level, int64 [Q + 1]."""
        return self.digit_table.sum(axis=0, dtype=np.int64)

    def digits(self, levels: NDArray[np.integer]) -> NDArray[np.uint8]:
        """
        Return the spike train of each level; that of a signed level is its magnitude's.

        :param levels: integers in [0, Q], any shape.
        :returns: spikes of each step, uint8 [T, *shape].
        """
        return self.digit_table[:, levels]

    def levels(self, train: NDArray[np.integer]) -> NDArray[np.int64]:
        """
        Return the level that a spike train carries: ``sum_t tau(t) s(t)`` (SUHD eq. 20).

        :param train: spikes of each step, [T, ...].
        :returns: levels, int64 [...].
        """
        return np.tensordot(np.asarray(self.tau, dtype=np.int64), train.astype(np.int64), axes=1)

    def __str__(self) -> str:
        """Return the name a user would type, for example ``linear T=4 burst=12``."""
        for name in ('linear', 'binary', 'constant'):
            if self == getattr(SpikeCode, name)(self.steps, self.burst):
                return f'{name} T={self.steps} burst={self.burst}'
        return f'tau={self.tau} burst={self.burst}'
