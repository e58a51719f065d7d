# SPDX-License-Identifier: Apache-2.0
"""Let a network in training look at windows of events, to score it."""

from collections.abc import Iterable, Iterator

import numpy as np
import torch
from numpy.typing import NDArray

from snn_detector_ros.detection.nms import suppress
from snn_detector_ros.detection.types import Detections
from snn_detector_ros.training.head import AnchorDetector, BoxDecoder

#: As for pictures: scores down to almost 0, so that the whole curve of precision is seen.
SCORE_THRESHOLD = 0.001
IOU_THRESHOLD = 0.6
MAX_DETECTIONS = 300


@torch.no_grad()
def find_objects(
        model: AnchorDetector, windows: Iterable[NDArray[np.uint8]],
        names: tuple[str, ...]) -> Iterator[Detections]:
    """
    Detect objects in each window, with the float weights of training.

    :param model: reads [1, T, H, W]; is set to inference.
    :param windows: uint8 [T, H, W] frames of one size.
    :param names: class names.
    :returns: detections in px of the frames.
    """
    model.eval()
    decoder: BoxDecoder | None = None
    for frames in windows:
        height, width = frames.shape[1:]
        if decoder is None:
            decoder = BoxDecoder(model.head.anchors, (height, width))
        rows = decoder(model(torch.from_numpy(frames)[None].float().div_(255)))[0].numpy()
        scores = rows[:, 5:].max(1) * rows[:, 4]
        rows, scores = rows[scores > SCORE_THRESHOLD], scores[scores > SCORE_THRESHOLD]
        half = rows[:, 2:4] / 2
        corners = np.concatenate((rows[:, :2] - half, rows[:, :2] + half), 1)
        boxes = corners.clip(0, (width, height, width, height)).astype(np.float32)
        classes = rows[:, 5:].argmax(1).astype(np.int64)
        kept = suppress(
            boxes, scores, classes, iou_threshold=IOU_THRESHOLD, max_detections=MAX_DETECTIONS)
        yield Detections(boxes[kept], scores[kept], classes[kept], names)
