# SPDX-License-Identifier: Apache-2.0
"""From readouts to candidate boxes: one decoder for each kind of head."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from snn_detector_ros.detection.candidates import (
    Candidates,
    choose,
    corners,
    logit,
    sigmoid,
    softmax,
)
from snn_detector_ros.detection.readout_maps import Found, ReadoutMaps
from snn_detector_ros.network import FastestDetHead, HeadLevel, SsdHead, YoloV3Head, YoloV5Head

#: Channels of an anchor before its classes: x, y, width, height and objectness.
BOX_CHANNELS = 5

#: No box is larger than this power of e times its anchor: float32 would overflow.
_MAX_EXPONENT = 20


def decode_yolov5(
    head: YoloV5Head, maps: ReadoutMaps, input_size: tuple[int, int], score_threshold: float,
) -> Candidates:
    """Return the boxes of a :class:`YoloV5Head`; a decoder, see :data:`DECODERS`."""
    logits, cell, stride, anchor = _anchor_cells(head.levels, maps, score_threshold)
    values = sigmoid(logits)
    centre = (2 * values[:, :2] - np.float32(0.5) + cell) * stride
    size = np.square(2 * values[:, 2:4]) * anchor
    return choose(corners(centre, size), values[:, 4:5] * values[:, 5:], score_threshold)


def decode_yolov3(
    head: YoloV3Head, maps: ReadoutMaps, input_size: tuple[int, int], score_threshold: float,
) -> Candidates:
    """Return the boxes of a :class:`YoloV3Head`; a decoder, see :data:`DECODERS`."""
    logits, cell, stride, anchor = _anchor_cells(head.levels, maps, score_threshold)
    scale = np.float32(head.scale_xy)
    centre = (scale * sigmoid(logits[:, :2]) - (scale - 1) / 2 + cell) * stride
    size = np.exp(np.minimum(logits[:, 2:4], _MAX_EXPONENT)) * anchor
    classes = (softmax if head.softmax else sigmoid)(logits[:, BOX_CHANNELS:])
    return choose(corners(centre, size), sigmoid(logits[:, 4:5]) * classes, score_threshold)


def decode_fastestdet(
    head: FastestDetHead, maps: ReadoutMaps, input_size: tuple[int, int], score_threshold: float,
) -> Candidates:
    """Return the boxes of a :class:`FastestDetHead`; a decoder, see :data:`DECODERS`."""
    # The score is at most objectness^0.6.
    (row, column, _), objectness = maps.cells(
        head.objectness, 1, 0, logit(score_threshold ** (1 / 0.6)))
    box = maps.values(head.box)[row, column]
    classes = softmax(maps.values(head.classes)[row, column])
    cell = np.stack([column, row], axis=1).astype(np.float32)
    centre = (np.tanh(box[:, :2]) + cell) * np.float32(head.stride)
    size = sigmoid(box[:, 2:]) * np.array(input_size[::-1], np.float32)
    scores = sigmoid(objectness) ** np.float32(0.6) * classes ** np.float32(0.4)
    return choose(corners(centre, size), scores, score_threshold)


def decode_ssd(
    head: SsdHead, maps: ReadoutMaps, input_size: tuple[int, int], score_threshold: float,
) -> Candidates:
    """Return the boxes of an :class:`SsdHead`; a decoder, see :data:`DECODERS`."""
    limit = np.array(input_size[::-1], np.float32)
    boxes, scores = [], []
    for level in head.levels:
        count = len(level.priors)
        logits, offsets = maps.values(level.scores), maps.values(level.boxes)
        height, width = logits.shape[:2]
        probabilities = softmax(logits.reshape(height, width, count, -1))[..., 1:]
        row, column, prior = np.nonzero((probabilities >= np.float32(score_threshold)).any(-1))
        offset = offsets.reshape(height, width, count, 4)[row, column, prior]
        side = np.minimum(np.asarray(level.priors, np.float32)[prior], limit)
        middle = np.stack([column + 0.5, row + 0.5], axis=1) * limit / (width, height)
        # Priors do not reach beyond the picture.
        centre = np.minimum(middle, limit).astype(np.float32) \
            + np.float32(head.centre_variance) * offset[:, :2] * side
        size = side * np.exp(np.minimum(
            np.float32(head.size_variance) * offset[:, 2:], _MAX_EXPONENT))
        boxes.append(corners(centre, size))
        scores.append(probabilities[row, column, prior])
    return choose(np.concatenate(boxes), np.concatenate(scores), score_threshold)


def _anchor_cells(
    levels: tuple[HeadLevel, ...], maps: ReadoutMaps, score_threshold: float,
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
    """
    Return what is needed of the boxes whose objectness reaches the score threshold.

    :returns: logits [M, 5 + classes], cell (column, row) [M, 2], stride [M, 1] and anchor [M, 2].
    """
    found: list[tuple[HeadLevel, Found, NDArray[np.float32]]] = [
        (level, *maps.cells(level.readout, len(level.anchors), 4, logit(score_threshold)))
        for level in levels]
    logits = np.concatenate([values for _, _, values in found])
    cell = np.concatenate([np.stack(where[1::-1], axis=1) for _, where, _ in found])
    stride = np.repeat([level.stride for level in levels], [len(part) for *_, part in found])
    anchor = np.concatenate([
        np.asarray(level.anchors, dtype=np.float32)[where[2]] for level, where, _ in found])
    return logits, cell.astype(np.float32), stride[:, None].astype(np.float32), anchor


#: A decoder takes the head, the readouts of a picture, the (height, width) of the input in px and
#: the least score. It returns boxes in input pixels.
DECODERS: dict[type, Callable[[Any, ReadoutMaps, tuple[int, int], float], Candidates]] = {
    YoloV5Head: decode_yolov5,
    YoloV3Head: decode_yolov3,
    FastestDetHead: decode_fastestdet,
    SsdHead: decode_ssd,
}
