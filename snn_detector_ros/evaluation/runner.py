# SPDX-License-Identifier: Apache-2.0
"""
Run a detector over labelled pictures and say how much it found.

The settings are those of YOLOv5's validation: scores from 0.001 on, non-maximum suppression at an
overlap of 0.6, up to 300 boxes a picture. One thing differs: a box counts for its best class only,
as it does in use.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

import numpy as np
from numpy.typing import NDArray

from snn_detector_ros.datasets.image_folder import read_bgr
from snn_detector_ros.datasets.yolo_txt import LabelledImage, YoloTxtDataset
from snn_detector_ros.detection.types import Detections
from snn_detector_ros.errors import ConfigurationError
from snn_detector_ros.evaluation.coco import MAX_DETECTIONS, GroundTruth, average_precision

#: Options a detector must have to be evaluated.
DETECTOR_OPTIONS: dict[str, Any] = {
    'score_threshold': 0.001, 'iou_threshold': 0.6, 'max_detections': MAX_DETECTIONS}

Detect = Callable[[NDArray[np.uint8]], Detections]
#: Wraps the pictures to show how far the work is, like ``tqdm.tqdm``.
Progress = Callable[[Iterable[LabelledImage]], Iterable[LabelledImage]]


@dataclass(frozen=True)
class ClassResult:
    """
    How well one class was found.

    :param objects: labelled objects.
    :param ap50: average precision at an overlap of 0.5, 0 to 1.
    :param ap: mean over overlaps of 0.5 to 0.95.
    """

    name: str
    objects: int
    ap50: float
    ap: float


@dataclass(frozen=True)
class EvaluationResult:
    """
    What an evaluation found.

    :param images: number of pictures.
    :param classes: the classes that have labelled objects, at least one.
    """

    images: int
    classes: tuple[ClassResult, ...]

    @property
    def map50(self) -> float:
        """Mean of ``ap50`` over the classes."""
        return fmean(result.ap50 for result in self.classes)

    @property
    def map(self) -> float:
        """Mean of ``ap`` over the classes."""
        return fmean(result.ap for result in self.classes)


def evaluate(
    detect: Detect,
    dataset: YoloTxtDataset,
    *,
    classes: Sequence[str] | None = None,
    progress: Progress = iter,
) -> EvaluationResult:
    """
    Evaluate a detector.

    Only classes that have labels count, because in a data set that leaves a class out, right
    detections of it look wrong.

    :param detect: takes a picture, uint8 [H, W, 3] blue-green-red, and returns its detections;
        made with :data:`DETECTOR_OPTIONS`. Its classes are matched with those of the data by
        name; what else it finds is ignored.
    :param dataset: the labelled pictures.
    :param classes: names of the classes to look at; all if None.
    :param progress: shows how far the work is.
    :raises ConfigurationError: if the data set lacks one of the classes or has no labels of any,
        or the detector knows none of its classes.
    :raises DatasetError: if a picture cannot be read.
    """
    class_ids = _class_ids(dataset, classes)
    truths: list[GroundTruth] = []
    found: list[Detections] = []
    for sample in progress(dataset):
        image = read_bgr(sample.path)
        truths.append(_ground_truth(sample, image))
        found.append(_renumber(detect(image), dataset.names))
    return EvaluationResult(len(truths), tuple(
        ClassResult(
            dataset.names[class_id],
            sum(int((truth.classes == class_id).sum()) for truth in truths),
            result.ap50, result.ap)
        for class_id, result in average_precision(truths, found, class_ids).items()))


def _class_ids(dataset: YoloTxtDataset, chosen: Sequence[str] | None) -> list[int]:
    """Return the numbers of the classes to look at."""
    chosen = dataset.names if chosen is None else chosen
    unknown = sorted(set(chosen) - set(dataset.names))
    if unknown:
        raise ConfigurationError(
            f'class {unknown[0]!r} is not in the data, which has {", ".join(dataset.names)}')
    class_ids = [dataset.names.index(name) for name in chosen]
    if not any(np.isin(sample.classes, class_ids).any() for sample in dataset):
        raise ConfigurationError(
            f'the data has no labels of {", ".join(chosen)}: choose other classes or another split')
    return class_ids


def _renumber(detections: Detections, names: tuple[str, ...]) -> Detections:
    """Return detections with the class numbers of other names; -1 for what they lack."""
    if detections.names == names:
        return detections
    if not set(names).intersection(detections.names):
        raise ConfigurationError(
            f'the model finds {", ".join(detections.names) or "classes without names"}, the data '
            f'has {", ".join(names)}: they have no class in common')
    numbers = np.array(
        [names.index(name) if name in names else -1 for name in detections.names], dtype=np.int64)
    return Detections(
        detections.boxes, detections.scores, numbers[detections.classes], names)


def _ground_truth(sample: LabelledImage, image: NDArray[np.uint8]) -> GroundTruth:
    """Return the labels of a picture in its pixels."""
    size = np.array(image.shape[1::-1], dtype=np.float32)
    centre, half = sample.boxes[:, :2] * size, sample.boxes[:, 2:] * size / 2
    return GroundTruth(np.concatenate([centre - half, centre + half], axis=1), sample.classes)

