# SPDX-License-Identifier: Apache-2.0
"""Pictures of what two detectors found and what was there, side by side."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from snn_detector_ros.datasets.labels import Role
from snn_detector_ros.detection.types import Detections
from snn_detector_ros.evaluation.coco import GroundTruth
from snn_detector_ros.evaluation.disagreements import SHOWN_SCORE, agreement

#: Height of the pictures in a panel, px; small pictures are enlarged, so that labels are readable.
PANEL_HEIGHT = 420
_TITLE_HEIGHT = 26
_GAP = 6
_FONT = cv2.FONT_HERSHEY_SIMPLEX
_FONT_SCALE = 0.42
#: Blue, green, red.
_AGREED, _ALONE, _TRUTH, _IGNORED = (80, 180, 0), (0, 60, 235), (220, 130, 0), (150, 150, 150)
_PAPER, _INK = (255, 255, 255), (30, 30, 30)


@dataclass(frozen=True)
class Label:
    """
    A box to draw.

    :param box: left, top, right, bottom in source pixels.
    :param colour: blue, green, red.
    """

    box: tuple[float, ...]
    text: str
    colour: tuple[int, int, int]


def side_by_side(
    image: NDArray[np.uint8],
    one: Detections,
    other: Detections,
    truth: GroundTruth,
    titles: tuple[str, str],
) -> NDArray[np.uint8]:
    """
    Draw what two detectors found beside what was there.

    A box that both show is green; one that the other detector lacks, or does not show since its
    score is too low, is red. Labels are blue, ignored ones grey.

    :param image: the picture, uint8 [H, W, 3], blue-green-red.
    :param one: detections with scores down to almost 0; those that would be shown are drawn.
    :param titles: the names of the detectors.
    :returns: uint8 [h, w, 3].
    """
    pairs = agreement(one, other)
    panels = [
        (titles[0], _labels(one, other, pairs.partners)),
        (titles[1], _labels(other, one, pairs.counterparts)),
        ('labels', _truth_labels(truth, one.names))]
    drawn = [_panel(image, title, labels) for title, labels in panels]
    gap = np.full((drawn[0].shape[0], _GAP, 3), _PAPER, np.uint8)
    return np.hstack([drawn[0], gap, drawn[1], gap, drawn[2]])


def _labels(
    detections: Detections, others: Detections, partners: NDArray[np.intp],
) -> list[Label]:
    """Return the boxes that would be shown, the best last."""
    labels = []
    for found, partner in zip(detections, partners.tolist(), strict=True):
        if found.score >= SHOWN_SCORE:
            agreed = partner >= 0 and others.scores[partner] >= SHOWN_SCORE
            labels.append(Label(found.box, f'{found.class_name} {found.score:.2f}',
                                _AGREED if agreed else _ALONE))
    return labels[::-1]


def _truth_labels(truth: GroundTruth, names: Sequence[str]) -> list[Label]:
    objects = truth.of_role(Role.OBJECT).tolist()
    return [
        Label(tuple(box), names[number] if counts else f'({names[number]})',
              _TRUTH if counts else _IGNORED)
        for box, number, counts in zip(
            truth.boxes.tolist(), truth.classes.tolist(), objects, strict=True)]


def _panel(
    image: NDArray[np.uint8], title: str, labels: Sequence[Label],
) -> NDArray[np.uint8]:
    """Return a picture of the panels' height with boxes on it and a title above."""
    scale = PANEL_HEIGHT / image.shape[0]
    width = max(1, round(image.shape[1] * scale))
    canvas = np.ascontiguousarray(cv2.resize(
        image, (width, PANEL_HEIGHT),
        interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC), np.uint8)
    for label in labels:
        left, top, right, bottom = (round(edge * scale) for edge in label.box)
        cv2.rectangle(canvas, (left, top), (right - 1, bottom - 1), label.colour, 2)
    for label in labels:  # above all boxes
        _write(canvas, label, scale)
    heading = np.full((_TITLE_HEIGHT, width, 3), _PAPER, np.uint8)
    cv2.putText(heading, title, (4, _TITLE_HEIGHT - 8), _FONT, 0.5, _INK, 1, cv2.LINE_AA)
    return np.vstack([heading, canvas])


def _write(canvas: NDArray[np.uint8], label: Label, scale: float) -> None:
    """Write the text of a label on a strip above its box, or inside of it at the top."""
    (width, height), below = cv2.getTextSize(label.text, _FONT, _FONT_SCALE, 1)
    strip = height + below + 2
    left = max(0, min(round(label.box[0] * scale), canvas.shape[1] - width - 4))
    top = max(0, round(label.box[1] * scale) - strip)
    cv2.rectangle(canvas, (left, top), (left + width + 3, top + strip), label.colour, -1)
    cv2.putText(canvas, label.text, (left + 2, top + height + 1), _FONT, _FONT_SCALE, _PAPER, 1,
                cv2.LINE_AA)
