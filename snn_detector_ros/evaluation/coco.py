# SPDX-License-Identifier: Apache-2.0
"""Average precision as COCO defines it, computed by faster-coco-eval."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from snn_detector_ros.detection.types import Detections
from snn_detector_ros.errors import MissingDependencyError

#: Most detections of one class in one picture that count.
MAX_DETECTIONS = 300


@dataclass(frozen=True, eq=False)
class GroundTruth:
    """
    The labelled objects of one picture.

    :param boxes: float32 [N, 4]; left, top, right, bottom in px.
    :param classes: int64 [N].
    """

    boxes: NDArray[np.float32]
    classes: NDArray[np.int64]


@dataclass(frozen=True)
class AveragePrecision:
    """
    Area under the curve of precision over recall (101 points), 0 to 1.

    :param ap50: at an intersection over union of 0.5.
    :param ap: mean over 0.5, 0.55, ..., 0.95.
    """

    ap50: float
    ap: float


def average_precision(
    truths: Sequence[GroundTruth], found: Sequence[Detections], class_ids: Sequence[int],
) -> Mapping[int, AveragePrecision]:
    """
    Return the average precision of each class that has labelled objects.

    :param truths: the labels of each picture.
    :param found: the detections of each picture, with scores down to almost 0.
    :param class_ids: classes to look at; all others are ignored, labels and detections.
    :raises MissingDependencyError: if faster-coco-eval is not installed.
    """
    try:
        from faster_coco_eval import COCO, COCOeval_faster
    except ImportError as error:
        raise MissingDependencyError('faster-coco-eval', 'eval') from error
    present = {class_id for truth in truths for class_id in truth.classes.tolist()}
    labelled = sorted(present & set(class_ids))
    if not labelled:
        return {}
    labels = COCO({
        'images': [{'id': number} for number in range(1, len(truths) + 1)],
        'categories': [{'id': class_id, 'name': str(class_id)} for class_id in labelled],
        'annotations': _annotations(truths, labelled)})
    evaluation = COCOeval_faster(labels, labels.loadRes(_annotations(found, labelled)), 'bbox')
    evaluation.params.maxDets = [MAX_DETECTIONS]
    evaluation.params.areaRng = [[0, 1e10]]
    evaluation.params.areaRngLbl = ['all']
    evaluation.evaluate()
    evaluation.accumulate()
    precision = evaluation.eval['precision'][..., 0, 0]  # [IoU thresholds, recalls, classes]
    return {
        class_id: AveragePrecision(float(curve[0].mean()), float(curve.mean()))
        for class_id, curve in zip(labelled, np.moveaxis(precision, 2, 0), strict=True)}


def _annotations(
    pictures: Sequence[GroundTruth | Detections], class_ids: Sequence[int],
) -> list[dict[str, Any]]:
    """Return boxes as COCO writes them; pictures and boxes are numbered from 1."""
    annotations: list[dict[str, Any]] = []
    for number, picture in enumerate(pictures, start=1):
        scores = picture.scores.tolist() if isinstance(picture, Detections) else None
        for index, (box, class_id) in enumerate(
                zip(picture.boxes.tolist(), picture.classes.tolist(), strict=True)):
            if class_id not in class_ids:
                continue
            left, top, right, bottom = box
            annotation = {
                'id': len(annotations) + 1, 'image_id': number, 'category_id': class_id,
                'bbox': [left, top, right - left, bottom - top],
                'area': (right - left) * (bottom - top), 'iscrowd': 0}
            if scores is not None:
                annotation['score'] = scores[index]
            annotations.append(annotation)
    return annotations
