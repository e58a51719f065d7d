# SPDX-License-Identifier: Apache-2.0
"""Let a network in training look at windows of events, to score it."""

from collections.abc import Iterable, Iterator

import numpy as np
import torch
from numpy.typing import NDArray

from snn_detector_ros.detection.heads import decode_rows
from snn_detector_ros.detection.letterbox import Geometry
from snn_detector_ros.detection.postprocess import to_detections
from snn_detector_ros.detection.types import Detections
from snn_detector_ros.training.head import AnchorDetector, BoxDecoder


@torch.no_grad()
def find_objects(
        model: AnchorDetector, windows: Iterable[NDArray[np.uint8]], names: tuple[str, ...], *,
        score_threshold: float, iou_threshold: float, max_detections: int,
        sensor: tuple[int, int] | None = None) -> Iterator[Detections]:
    """
    Detect objects in each window with the float weights of training, else as ``Detector`` does.

    :param model: reads [1, T, H, W]; is set to inference.
    :param windows: uint8 [T, H, W] frames of one size.
    :param names: class names.
    :param score_threshold: least score; this and the others as of ``Detector``.
    :param sensor: height and width in px of what the frames show; their own size if None.
    :returns: detections in px of the sensor.
    """
    model.eval()
    decoder: BoxDecoder | None = None
    for frames in windows:
        size = frames.shape[1], frames.shape[2]
        if decoder is None:
            decoder = BoxDecoder(model.head.anchors, size)
        rows = decoder(model(torch.from_numpy(frames)[None].float().div_(255)))[0].numpy()
        yield to_detections(
            decode_rows(rows, score_threshold), Geometry.fit(sensor or size, size), names,
            iou_threshold=iou_threshold, max_detections=max_detections)
