# SPDX-License-Identifier: Apache-2.0
"""
From the last layer to candidate boxes: the YOLOv5 (v6) Detect head.

A spiking network ends in readouts, whose membranes are integers that never fire. Almost all cells
hold nothing, so a cell is dropped by comparing integers, and only what is left is turned into real
numbers. The rows that float exports decode themselves go the same way from there.

A cell is kept if its objectness logit ``float32(membrane) * step`` reaches ``log(t / (1 - t))``,
with t the score threshold, and then if ``sigmoid(objectness) * sigmoid(class)`` reaches t. The
integer comparison is the first of these two, to the last bit.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from snn_detector_ros.errors import ConfigurationError
from snn_detector_ros.network import Convolution, HeadLevel, SpikingNetwork

#: Channels of an anchor before its classes: x, y, width, height and objectness.
BOX_CHANNELS = 5


@dataclass(frozen=True, eq=False)
class Candidates:
    """
    Boxes before non-maximum suppression, in no order.

    :param boxes: float32 [N, 4]; left, top, right, bottom in input pixels.
    :param scores: float32 [N].
    :param classes: int64 [N], the best class of each box.
    """

    boxes: NDArray[np.float32]
    scores: NDArray[np.float32]
    classes: NDArray[np.int64]


class MembraneDecoder:
    """
    Reads boxes from the readout membranes of a spiking network.

    :param network: a network with a head.
    :raises ConfigurationError: if the network has no head.
    """

    def __init__(self, network: SpikingNetwork) -> None:
        if network.head is None:
            raise ConfigurationError(
                f'network {network.name!r} has no detection head: its readouts are not boxes')
        self._levels = tuple(_Readout(network, level) for level in network.head.levels)
        self._score_threshold = math.nan
        self._gates: tuple[NDArray[np.int64], ...] = ()

    def __call__(
        self, sums: Mapping[str, NDArray[np.int32]], score_threshold: float,
    ) -> Candidates:
        """
        Return the boxes that reach a score.

        :param sums: for each readout its membrane without the bias, int32
            [h, w, anchors * (5 + classes)].
        :param score_threshold: least score, 0 to 1.
        """
        if score_threshold != self._score_threshold:
            self._gates = tuple(level.gate(logit(score_threshold)) for level in self._levels)
            self._score_threshold = score_threshold
        cells = [
            level.cells(sums[level.head.readout], gate)
            for level, gate in zip(self._levels, self._gates, strict=True)]
        return _decode(cells, score_threshold)


def decode_rows(rows: NDArray[np.float32], score_threshold: float) -> Candidates:
    """
    Return the boxes in the decoded output of a YOLOv5 export.

    :param rows: float32 [N, 5 + classes]; centre x, centre y, width, height in input pixels,
        then probabilities of an object and of each class.
    :param score_threshold: least score, 0 to 1.
    """
    rows = rows[rows[:, 4] >= score_threshold]
    return _choose(_corners(rows[:, :2], rows[:, 2:4]), rows[:, 4:], score_threshold)


def sigmoid(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return ``1 / (1 + exp(-values))``; exact at both ends without an overflow."""
    return np.reciprocal(1 + np.exp(-np.clip(values, -80, 80)))


def logit(probability: float) -> np.float32:
    """Return the float32 whose sigmoid is ``probability``; infinite for 0 and 1."""
    if not 0 <= probability <= 1:
        raise ConfigurationError(f'score threshold {probability}: choose a value from 0 to 1')
    if probability in (0, 1):
        return np.float32(math.inf if probability else -math.inf)
    return np.float32(math.log(probability / (1 - probability)))


@dataclass(frozen=True, eq=False)
class _Cells:
    """Cells of one scale that passed the objectness gate."""

    level: HeadLevel
    #: row, column and anchor of each cell.
    found: tuple[NDArray[np.intp], ...]
    #: float32 [M, 5 + classes]
    logits: NDArray[np.float32]


class _Readout:
    """The constants of one readout, split by anchor."""

    def __init__(self, network: SpikingNetwork, head: HeadLevel) -> None:
        layer = network[head.readout]
        assert isinstance(layer, Convolution)
        anchors = len(head.anchors)
        self.head = head
        self._bias = layer.bias.astype(np.int64).reshape(anchors, -1)
        self._step = layer.step.astype(np.float32).reshape(anchors, -1)

    def gate(self, least: np.float32) -> NDArray[np.int64]:
        """
        Return the smallest sum, one for each anchor, whose objectness logit reaches ``least``.

        The logit never falls when the sum grows, so bisection finds the sum that the float
        comparison would, rounding included.
        """
        bias, step = self._bias[:, 4], self._step[:, 4]
        low = np.full(len(bias), -2**32, dtype=np.int64)
        high = -low
        while (high - low > 1).any():
            middle = (low + high) // 2
            reached = middle.astype(np.float32) * step >= least
            low, high = np.where(reached, low, middle), np.where(reached, middle, high)
        return high - bias

    def cells(self, sums: NDArray[np.int32], gate: NDArray[np.int64]) -> _Cells:
        """Return the cells whose sums reach the gate, with their logits."""
        values = sums.reshape(*sums.shape[:2], *self._bias.shape)  # a view
        limits = np.iinfo(np.int32)
        # Compared as int32: sums need no copy of twice the size.
        possible = np.clip(gate, limits.min, limits.max).astype(np.int32)
        found = np.nonzero((values[..., 4] >= possible) & (gate <= limits.max))
        anchor = found[2]
        membrane = values[found] + self._bias[anchor]
        return _Cells(self.head, found, membrane.astype(np.float32) * self._step[anchor])


def _decode(cells: list[_Cells], score_threshold: float) -> Candidates:
    """Return the boxes of the cells that passed the gate, all scales together."""
    values = sigmoid(np.concatenate([part.logits for part in cells]))
    corner = np.concatenate([np.stack(part.found[1::-1], axis=1) for part in cells])
    stride = np.repeat([part.level.stride for part in cells], [len(p.logits) for p in cells])
    anchor = np.concatenate([
        np.asarray(part.level.anchors, dtype=np.float32)[part.found[2]] for part in cells])
    centre = (2 * values[:, :2] - np.float32(0.5) + corner.astype(np.float32)) \
        * stride[:, None].astype(np.float32)
    size = np.square(2 * values[:, 2:4]) * anchor
    return _choose(_corners(centre, size), values[:, 4:], score_threshold)


def _corners(
    centre: NDArray[np.float32], size: NDArray[np.float32],
) -> NDArray[np.float32]:
    """Return left, top, right, bottom from centres and sizes, each [N, 2]."""
    half = size * np.float32(0.5)
    return np.concatenate([centre - half, centre + half], axis=1)


def _choose(
    boxes: NDArray[np.float32], probabilities: NDArray[np.float32], score_threshold: float,
) -> Candidates:
    """
    Give each box its best class, and keep those that reach the score threshold.

    :param probabilities: float32 [N, 1 + classes]; of an object, then of each class.
    """
    classes = probabilities[:, 1:].argmax(axis=1)
    scores = probabilities[:, 0] * probabilities[np.arange(len(classes)), classes + 1]
    kept = scores >= np.float32(score_threshold)
    return Candidates(boxes[kept], scores[kept], classes[kept].astype(np.int64))
