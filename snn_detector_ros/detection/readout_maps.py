# SPDX-License-Identifier: Apache-2.0
"""
The values of the readouts of one picture, whether they are spikes or floats.

A spiking network ends in readouts, whose membranes are integers that never fire. Almost all cells
hold nothing, so a cell is dropped by comparing integers, and only what is left is turned into real
numbers: ``float32(membrane) * step``. The integer comparison equals that of the real numbers, to
the last bit.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from snn_detector_ros.network import Convolution, SpikingNetwork

#: row, column and box of each cell that was found.
Found: TypeAlias = tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.intp]]


class ReadoutMaps(Protocol):
    """The readouts of one picture."""

    def values(self, readout: str) -> NDArray[np.float32]:
        """Return all values of a readout, float32 [h, w, C]."""
        ...

    def cells(
        self, readout: str, boxes: int, channel: int, least: np.float32,
    ) -> tuple[Found, NDArray[np.float32]]:
        """
        Return the cells in which one channel reaches a value.

        :param boxes: boxes a cell; the channels of a box follow one another.
        :param channel: the channel of a box that counts.
        :param least: value that it must reach.
        :returns: where they are, and all their channels, float32 [M, C / boxes].
        """
        ...


class FloatMaps:
    """
    The readouts of a float network.

    :param values: float32 [h, w, C] of each readout.
    """

    def __init__(self, values: Mapping[str, NDArray[np.float32]]) -> None:
        self._values = values

    def values(self, readout: str) -> NDArray[np.float32]:
        """See :class:`ReadoutMaps`."""
        return self._values[readout]

    def cells(
        self, readout: str, boxes: int, channel: int, least: np.float32,
    ) -> tuple[Found, NDArray[np.float32]]:
        """See :class:`ReadoutMaps`."""
        values = self._values[readout]
        by_box = values.reshape(*values.shape[:2], boxes, -1)
        row, column, box = np.nonzero(by_box[..., channel] >= least)
        return (row, column, box), by_box[row, column, box]


class MembraneMaps:
    """
    The readouts of a spiking network.

    :param network: the network; :attr:`sums` is set for each picture: for each readout its membrane
        without the bias, for each output that fires its levels, int32 [h, w, C].
    """

    def __init__(self, network: SpikingNetwork) -> None:
        self.sums: Mapping[str, NDArray[np.int32]] = {}
        self._bias: dict[str, NDArray[np.int64]] = {}
        self._step: dict[str, NDArray[np.float32]] = {}
        self._gates: dict[tuple[str, int, int], tuple[float, NDArray[np.int64]]] = {}
        for name in network.outputs:
            layer = network[name]
            assert isinstance(layer, Convolution)
            bias = layer.bias.astype(np.int64)
            self._bias[name] = bias if layer.is_readout else np.zeros_like(bias)
            self._step[name] = layer.step.astype(np.float32)

    def of(self, sums: Mapping[str, NDArray[np.int32]]) -> MembraneMaps:
        """Return the readouts of a picture, which are these with its :attr:`sums`."""
        self.sums = sums
        return self

    def values(self, readout: str) -> NDArray[np.float32]:
        """See :class:`ReadoutMaps`."""
        membrane = self.sums[readout] + self._bias[readout]
        return membrane.astype(np.float32) * self._step[readout]

    def cells(
        self, readout: str, boxes: int, channel: int, least: np.float32,
    ) -> tuple[Found, NDArray[np.float32]]:
        """See :class:`ReadoutMaps`."""
        sums = self.sums[readout]
        bias = self._bias[readout].reshape(boxes, -1)
        step = self._step[readout].reshape(boxes, -1)
        gate = self._gate(readout, boxes, channel, least)
        by_box = sums.reshape(*sums.shape[:2], *bias.shape)  # a view
        limits = np.iinfo(np.int32)
        # Compared as int32: sums need no copy of twice the size.
        possible = np.clip(gate, limits.min, limits.max).astype(np.int32)
        row, column, box = np.nonzero((by_box[..., channel] >= possible) & (gate <= limits.max))
        membrane = by_box[row, column, box] + bias[box]
        return (row, column, box), membrane.astype(np.float32) * step[box]

    def _gate(
        self, readout: str, boxes: int, channel: int, least: np.float32,
    ) -> NDArray[np.int64]:
        """
        Return the smallest sum of each box whose value reaches ``least``.

        The value never falls when the sum grows, so bisection finds the sum that the float
        comparison would, rounding included.
        """
        key = readout, boxes, channel
        known = self._gates.get(key)
        if known is not None and known[0] == least:
            return known[1]
        bias = self._bias[readout].reshape(boxes, -1)[:, channel]
        step = self._step[readout].reshape(boxes, -1)[:, channel]
        low = np.full(boxes, -2**32, dtype=np.int64)
        high = -low
        while (high - low > 1).any():
            middle = (low + high) // 2
            reached = middle.astype(np.float32) * step >= least
            low, high = np.where(reached, low, middle), np.where(reached, middle, high)
        self._gates[key] = float(least), high - bias
        return high - bias
