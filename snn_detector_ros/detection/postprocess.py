# SPDX-License-Identifier: Apache-2.0
"""The last step of every detector, spiking or float: candidates become detections."""

from __future__ import annotations

from snn_detector_ros.detection.heads import Candidates
from snn_detector_ros.detection.letterbox import Geometry
from snn_detector_ros.detection.nms import suppress
from snn_detector_ros.detection.types import Detections


def to_detections(
    candidates: Candidates,
    geometry: Geometry,
    names: tuple[str, ...],
    *,
    iou_threshold: float,
    max_detections: int,
) -> Detections:
    """
    Keep the best box of each object, and map it to source pixels.

    A box that lies outside of the picture, in the grey around it, is dropped.

    :param geometry: how the picture lies in the network's input.
    :param names: names of the classes.
    :param iou_threshold: see :func:`~snn_detector_ros.detection.nms.suppress`.
    :param max_detections: see :func:`~snn_detector_ros.detection.nms.suppress`.
    """
    kept = suppress(
        candidates.boxes, candidates.scores, candidates.classes,
        iou_threshold=iou_threshold, max_detections=max_detections)
    boxes = geometry.to_source(candidates.boxes[kept])
    inside = (boxes[:, 2:] > boxes[:, :2]).all(axis=1)
    kept = kept[inside]
    return Detections(boxes[inside], candidates.scores[kept], candidates.classes[kept], names)
