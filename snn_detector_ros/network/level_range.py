# SPDX-License-Identifier: Apache-2.0
"""
How levels are written as numbers in ONNX graphs.

As bytes that count from a zero point: 0, or Q where the network has signed levels, so that 0 is the
level -Q. A byte serves better than int8, for which ONNX Runtime has no fast convolutions on x86:
they took 15 times as long. Rate codes of thousands of steps do not fit a byte; they are floats.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from snn_detector_ros.network.codes import SpikeCode
from snn_detector_ros.network.spiking_network import Dynamics, SpikingNetwork


@dataclass(frozen=True)
class LevelRange:
    """
    The numbers that levels may be.

    :param max_level: largest level Q.
    :param signed: whether levels may be negative.
    :param dtype: type of the numbers, uint8 or float32.
    """

    max_level: int
    signed: bool
    dtype: np.dtype

    @classmethod
    def of_code(cls, code: SpikeCode, *, signed: bool, dynamics: Dynamics) -> LevelRange:
        """Return the numbers for a spike code; only `separated` networks are sure to fit bytes."""
        return cls(code.max_level, signed,
                   np.dtype(np.uint8 if dynamics == 'separated' else np.float32))

    @classmethod
    def of_network(cls, network: SpikingNetwork) -> LevelRange:
        """Return the numbers for all levels of a network, signed or not."""
        return cls.of_code(
            network.code, signed=bool(network.signed_tensors), dynamics=network.dynamics)

    @property
    def is_bytes(self) -> bool:
        return self.dtype == np.uint8

    @cached_property
    def zero(self) -> np.generic:
        """The number that stands for level 0."""
        return self.dtype.type(self.max_level if self.signed and self.is_bytes else 0)

    @cached_property
    def bottom(self) -> np.generic:
        """The number that stands for the lowest level."""
        return self.dtype.type(int(self.zero) - (self.max_level if self.signed else 0))

    @cached_property
    def top(self) -> np.generic:
        """The number that stands for level Q."""
        return self.dtype.type(int(self.zero) + self.max_level)
