# SPDX-License-Identifier: Apache-2.0
"""Boxes before non-maximum suppression, and the arithmetic that all decoders share."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from snn_detector_ros.errors import ConfigurationError


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


def choose(
    boxes: NDArray[np.float32], scores: NDArray[np.float32], score_threshold: float,
) -> Candidates:
    """
    Give each box its best class, and keep those that reach the score threshold.

    :param boxes: float32 [N, 4].
    :param scores: float32 [N, classes].
    """
    classes = scores.argmax(axis=1)
    best = scores[np.arange(len(classes)), classes]
    kept = best >= np.float32(score_threshold)
    return Candidates(boxes[kept].astype(np.float32), best[kept].astype(np.float32),
                      classes[kept].astype(np.int64))


def corners(
    centre: NDArray[np.float32], size: NDArray[np.float32],
) -> NDArray[np.float32]:
    """Return left, top, right, bottom from centres and sizes, each [N, 2]."""
    half = size * np.float32(0.5)
    return np.concatenate([centre - half, centre + half], axis=1)


def sigmoid(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return ``1 / (1 + exp(-values))``; exact at both ends without an overflow."""
    return np.reciprocal(1 + np.exp(-np.clip(values, -80, 80)))


def softmax(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the softmax over the last axis."""
    powers = np.exp(values - values.max(axis=-1, keepdims=True))
    return powers / powers.sum(axis=-1, keepdims=True)


def logit(probability: float) -> np.float32:
    """Return the float32 whose sigmoid is ``probability``; infinite for 0 and 1."""
    if not 0 <= probability <= 1:
        raise ConfigurationError(f'score threshold {probability}: choose a value from 0 to 1')
    if probability in (0, 1):
        return np.float32(math.inf if probability else -math.inf)
    return np.float32(math.log(probability / (1 - probability)))
