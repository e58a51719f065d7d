# SPDX-License-Identifier: Apache-2.0
"""Average precision as COCO defines it, computed by faster-coco-eval."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from snn_detector_ros.datasets.labels import Role
from snn_detector_ros.detection.types import Detections
from snn_detector_ros.errors import MissingDependencyError
from snn_detector_ros.evaluation.overlap import overlaps

#: Most detections of one class in one picture that count.
MAX_DETECTIONS = 300
#: The least overlap at which a detection is compared with an object at all.
LEAST_OVERLAP = 0.5
#: The recalls that a curve of precision is given at: 0, 0.01, ..., 1.
RECALLS = np.linspace(0, 1, 101)
#: Objects of another area are ignored by the evaluator; see :func:`_ignored`.
_AREAS = [0, 1e10]
_IGNORED_AREA = -1.0


@dataclass(frozen=True, eq=False)
class GroundTruth:
    """
    The labelled boxes of one picture.

    :param boxes: float32 [N, 4]; left, top, right, bottom in px.
    :param classes: int64 [N].
    :param roles: uint8 [N], values of :class:`~snn_detector_ros.datasets.labels.Role`; all boxes
        are objects if None.
    """

    boxes: NDArray[np.float32]
    classes: NDArray[np.int64]
    roles: NDArray[np.uint8] | None = None

    def of_role(self, role: Role) -> NDArray[np.bool_]:
        """Return which boxes have a role, bool [N]."""
        if self.roles is None:
            return np.full(len(self.classes), role == Role.OBJECT)
        return self.roles == role


@dataclass(frozen=True)
class AveragePrecision:
    """
    Area under the curve of precision over recall (101 points), 0 to 1.

    :param ap50: at an intersection over union of 0.5.
    :param ap: mean over 0.5, 0.55, ..., 0.95.
    :param precisions: the curve at 0.5: best precision at or beyond each of :data:`RECALLS`; 0
        where that recall is never reached.
    """

    ap50: float
    ap: float
    precisions: tuple[float, ...] = field(default=(), repr=False)


def average_precision(
    truths: Sequence[GroundTruth], found: Sequence[Detections], class_ids: Sequence[int],
) -> Mapping[int, AveragePrecision]:
    """
    Return the average precision of each class that has labelled objects.

    :param truths: the labels of each picture.
    :param found: the detections of each picture, with scores down to almost 0.
    :param class_ids: classes to look at; all others are left out, labels and detections.
    :raises MissingDependencyError: if faster-coco-eval is not installed.
    """
    try:
        from faster_coco_eval import COCO, COCOeval_faster
    except ImportError as error:
        raise MissingDependencyError('faster-coco-eval', 'eval') from error
    present = {class_id for truth in truths
               for class_id in truth.classes[truth.of_role(Role.OBJECT)].tolist()}
    labelled = sorted(present & set(class_ids))
    if not labelled:
        return {}
    labels = COCO({
        'images': [{'id': number} for number in range(1, len(truths) + 1)],
        'categories': [{'id': class_id, 'name': str(class_id)} for class_id in labelled],
        'annotations': _annotations(truths, found, labelled)})
    evaluation = COCOeval_faster(labels, labels.loadRes(_results(found, labelled)), 'bbox')
    evaluation.params.maxDets = [MAX_DETECTIONS]
    evaluation.params.areaRng = [_AREAS]
    evaluation.params.areaRngLbl = ['all']
    evaluation.evaluate()
    evaluation.accumulate()
    precision = evaluation.eval['precision'][..., 0, 0]  # [IoU thresholds, recalls, classes]
    return {
        class_id: AveragePrecision(
            float(curve[0].mean()), float(curve.mean()), tuple(curve[0].tolist()))
        for class_id, curve in zip(labelled, np.moveaxis(precision, 2, 0), strict=True)}


def _annotations(
    truths: Sequence[GroundTruth], found: Sequence[Detections], class_ids: Sequence[int],
) -> list[dict[str, Any]]:
    """Return labels as COCO writes them; pictures and boxes are numbered from 1."""
    annotations: list[dict[str, Any]] = []
    for number, (truth, detections) in enumerate(zip(truths, found, strict=True), start=1):
        crowd = truth.of_role(Role.CROWD)
        ignored = truth.of_role(Role.IGNORED)
        for index, (box, class_id) in enumerate(
                zip(truth.boxes, truth.classes.tolist(), strict=True)):
            if class_id not in class_ids:
                continue
            entry = {'image_id': number, 'category_id': class_id, 'iscrowd': int(crowd[index]),
                     **_extent(box.tolist())}
            annotations.extend(
                _ignored(entry, box, detections) if ignored[index] else [entry])
    return [{**entry, 'id': identity} for identity, entry in enumerate(annotations, start=1)]


def _ignored(
    entry: dict[str, Any], box: NDArray[np.float32], detections: Detections,
) -> Iterator[dict[str, Any]]:
    """
    Yield an ignored object once for each detection that may match it.

    The evaluator overwrites the flag ``ignore``, but an area outside the range it looks at has the
    same effect. It lets an object match once only; the copies keep a second detection of it from
    counting as wrong.
    """
    same = detections.boxes[detections.classes == entry['category_id']]
    copies = int((overlaps(box[None], same) >= LEAST_OVERLAP).sum())
    for _ in range(copies):
        yield {**entry, 'area': _IGNORED_AREA}


def _results(
    found: Sequence[Detections], class_ids: Sequence[int],
) -> list[dict[str, Any]]:
    """Return detections as COCO writes them."""
    return [
        {'image_id': number, 'category_id': class_id, 'score': score, **_extent(box)}
        for number, detections in enumerate(found, start=1)
        for box, class_id, score in zip(
            detections.boxes.tolist(), detections.classes.tolist(), detections.scores.tolist(),
            strict=True)
        if class_id in class_ids]


def _extent(box: Sequence[float]) -> dict[str, Any]:
    """Return the box and area of an entry."""
    left, top, right, bottom = box
    return {'bbox': [left, top, right - left, bottom - top],
            'area': (right - left) * (bottom - top)}
