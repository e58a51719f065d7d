# SPDX-License-Identifier: Apache-2.0
"""
Run a detector over labelled pictures and say how much it found.

The settings are those of YOLOv5's validation: scores from 0.001 on, non-maximum suppression at an
overlap of 0.6, up to 300 boxes a picture. One thing differs: a box counts for its best class only,
as it does in use.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import fmean
from typing import Any

import numpy as np
from numpy.typing import NDArray

from snn_detector_ros.datasets.image_folder import read_bgr
from snn_detector_ros.datasets.labels import LabelledDataset, LabelledPicture, Role
from snn_detector_ros.detection.types import Detections
from snn_detector_ros.errors import ConfigurationError
from snn_detector_ros.evaluation.class_names import match_classes
from snn_detector_ros.evaluation.coco import MAX_DETECTIONS, GroundTruth, average_precision

#: Options a detector must have to be evaluated.
DETECTOR_OPTIONS: dict[str, Any] = {
    'score_threshold': 0.001, 'iou_threshold': 0.6, 'max_detections': MAX_DETECTIONS}

Detect = Callable[[NDArray[np.uint8]], Detections]
#: Wraps the pictures to show how far the work is, like ``tqdm.tqdm``.
Progress = Callable[[Iterable[LabelledPicture]], Iterable[LabelledPicture]]


@dataclass(frozen=True)
class ClassResult:
    """
    How well one class was found.

    :param objects: labelled objects, ignored ones left out.
    :param ap50: average precision at an overlap of 0.5, 0 to 1.
    :param ap: mean over overlaps of 0.5 to 0.95.
    :param precisions: the curve of precision at an overlap of 0.5, over
        :data:`~snn_detector_ros.evaluation.coco.RECALLS`.
    """

    name: str
    objects: int
    ap50: float
    ap: float
    precisions: tuple[float, ...] = field(default=(), repr=False)

    def as_row(self) -> dict[str, Any]:
        """Return the figures, without the curve, for JSON."""
        return {'name': self.name, 'objects': self.objects, 'ap50': self.ap50, 'ap': self.ap}


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

    def as_row(self) -> dict[str, Any]:
        """Return the figures, without the curves, for JSON."""
        return {'images': self.images, 'map50': self.map50, 'map': self.map,
                'classes': [result.as_row() for result in self.classes]}


@dataclass(frozen=True, eq=False)
class Sightings:
    """
    What was there and what a detector found, picture by picture.

    :param truths: the labels, in source pixels.
    :param found: the detections, with the class numbers of the data set.
    """

    truths: tuple[GroundTruth, ...]
    found: tuple[Detections, ...]


def evaluate(
    detect: Detect,
    dataset: LabelledDataset,
    *,
    classes: Sequence[str] | None = None,
    aliases: Mapping[str, str] | None = None,
    progress: Progress = iter,
) -> EvaluationResult:
    """
    Evaluate a detector: :func:`look` at all pictures, then :func:`score` what was found.

    :param classes: names of the classes to look at; all if None.
    :raises ConfigurationError: if the data set lacks one of the classes or has no labels of any,
        or the detector knows none of its classes.
    :raises DatasetError: if a picture cannot be read.
    """
    class_ids = choose_classes(dataset, classes)
    return score(look(detect, dataset, aliases=aliases, progress=progress), dataset.names,
                 class_ids)


def choose_classes(dataset: LabelledDataset, chosen: Sequence[str] | None) -> list[int]:
    """
    Return the numbers of the classes to look at; all if None.

    :raises ConfigurationError: if the data set lacks one of them or has no objects of any.
    """
    return class_numbers(
        dataset.names, (one.classes[one.roles == Role.OBJECT] for one in dataset), chosen)


def class_numbers(
    names: Sequence[str], objects: Iterable[NDArray[np.int64]], chosen: Sequence[str] | None,
) -> list[int]:
    """
    Return the numbers of the classes to look at; all if None.

    :param names: names of the classes of the data.
    :param objects: classes of the objects to be found, int64 [N], sample by sample.
    :raises ConfigurationError: as :func:`choose_classes`.
    """
    chosen = names if chosen is None else chosen
    unknown = sorted(set(chosen) - set(names))
    if unknown:
        raise ConfigurationError(
            f'class {unknown[0]!r} is not in the data, which has {", ".join(names)}')
    class_ids = [names.index(name) for name in chosen]
    if not any(np.isin(classes, class_ids).any() for classes in objects):
        raise ConfigurationError(
            f'the data has no labels of {", ".join(chosen)}: choose other classes or another split')
    return class_ids


def look(
    detect: Detect,
    dataset: LabelledDataset,
    *,
    aliases: Mapping[str, str] | None = None,
    progress: Progress = iter,
    after: Callable[[], None] = lambda: None,
) -> Sightings:
    """
    Show all pictures to a detector.

    :param detect: takes a picture, uint8 [H, W, 3] blue-green-red, and returns its detections;
        made with :data:`DETECTOR_OPTIONS`. What it finds of other classes is left out.
    :param dataset: the labelled pictures.
    :param aliases: see :func:`~snn_detector_ros.evaluation.class_names.match_classes`.
    :param progress: shows how far the work is.
    :param after: called after each picture, e.g. to count spikes.
    :raises ConfigurationError: if the detector knows none of the classes.
    :raises DatasetError: if a picture cannot be read.
    """
    truths: list[GroundTruth] = []
    found: list[Detections] = []
    for sample in progress(dataset):
        image = read_bgr(sample.path)
        truths.append(GroundTruth(
            sample.corners((image.shape[0], image.shape[1])), sample.classes, sample.roles))
        found.append(renumber(detect(image), dataset.names, aliases))
        after()
    return Sightings(tuple(truths), tuple(found))


def score(
    sightings: Sightings, names: Sequence[str], class_ids: Sequence[int],
) -> EvaluationResult:
    """
    Say how much was found.

    Only classes that have labels count, because in a data set that leaves a class out, right
    detections of it look wrong.

    :param names: the names of the classes of the data set.
    :param class_ids: numbers of the classes to look at, see :func:`choose_classes`.
    """
    precisions = average_precision(sightings.truths, sightings.found, class_ids)
    return EvaluationResult(len(sightings.truths), tuple(
        ClassResult(
            names[class_id],
            sum(int((truth.classes[truth.of_role(Role.OBJECT)] == class_id).sum())
                for truth in sightings.truths),
            result.ap50, result.ap, result.precisions)
        for class_id, result in precisions.items()))


def renumber(
    detections: Detections, names: tuple[str, ...], aliases: Mapping[str, str] | None,
) -> Detections:
    """Return the detections whose class the data set knows, with its numbers."""
    if detections.names == names and not aliases:
        return detections
    classes = match_classes(detections.names, names, aliases)[detections.classes]
    kept = classes >= 0
    return Detections(detections.boxes[kept], detections.scores[kept], classes[kept], names)
