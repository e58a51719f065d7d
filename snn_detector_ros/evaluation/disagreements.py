# SPDX-License-Identifier: Apache-2.0
"""
How far two detectors disagree about a picture.

Boxes of the two are paired by class and overlap, and each pair, or box without a partner, adds the
difference of its scores, where a missing box has the score 0. Pairs in which both scores are below
what would be shown do not count. So a box that is lost, made up or moved to another class costs its
score, and one that is merely less certain costs what it lost, whichever side of the threshold it
falls on.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from snn_detector_ros.detection.types import Detections
from snn_detector_ros.evaluation.coco import LEAST_OVERLAP
from snn_detector_ros.evaluation.overlap import overlaps, pair

#: Least score of a box that would be shown: the default of the detector.
SHOWN_SCORE = 0.25


@dataclass(frozen=True, eq=False)
class Agreement:
    """
    Which boxes of two detectors belong together.

    :param partners: for each detection of the first, the index in the second, -1 for none.
    :param counterparts: for each detection of the second, the index in the first, -1 for none.
    :param disagreement: the sum described above, 0 for none.
    """

    partners: NDArray[np.intp]
    counterparts: NDArray[np.intp]
    disagreement: float


def agreement(
    one: Detections, other: Detections, shown_score: float = SHOWN_SCORE,
) -> Agreement:
    """
    Pair the detections of two detectors, and say how far they disagree.

    :param one: detections, best first, with scores down to almost 0.
    :param other: the same of the other detector, with equal class numbers.
    :param shown_score: pairs in which both scores are below do not count.
    """
    overlap = overlaps(one.boxes, other.boxes)
    overlap[one.classes[:, None] != other.classes[None, :]] = 0
    partners = pair(overlap, LEAST_OVERLAP)
    counterparts = np.full(len(other), -1, np.intp)
    paired = np.flatnonzero(partners >= 0)
    counterparts[partners[paired]] = paired
    scores = np.concatenate([one.scores, other.scores[counterparts < 0]]).astype(np.float64)
    partner_scores = np.zeros_like(scores)
    partner_scores[paired] = other.scores[partners[paired]]
    counted = np.maximum(scores, partner_scores) >= shown_score
    return Agreement(
        partners, counterparts, float(np.abs(scores - partner_scores)[counted].sum()))


def disagreements(
    one: Sequence[Detections], other: Sequence[Detections],
) -> NDArray[np.float64]:
    """Return the disagreement of two detectors in each picture, float64 [N]."""
    return np.array([agreement(first, second).disagreement
                     for first, second in zip(one, other, strict=True)])


def worst(values: NDArray[np.float64], count: int) -> list[int]:
    """Return the indices of the largest values above 0, the largest first."""
    order = np.argsort(-values, kind='stable')[:count]
    return [int(index) for index in order if values[index] > 0]
