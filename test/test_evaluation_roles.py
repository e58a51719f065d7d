# SPDX-License-Identifier: Apache-2.0
"""Ignored objects neither help nor hurt; crowds take any number; names are matched."""

from __future__ import annotations

import numpy as np
import pytest

from snn_detector_ros.datasets.labels import Role
from snn_detector_ros.detection.types import Detections
from snn_detector_ros.errors import ConfigurationError
from snn_detector_ros.evaluation.class_names import UNKNOWN, match_classes
from snn_detector_ros.evaluation.coco import RECALLS, GroundTruth, average_precision
from snn_detector_ros.evaluation.overlap import overlaps, pair

OBJECT, OTHER = [0, 0, 100, 100], [200, 0, 300, 100]


def truth(*boxes: tuple[list[float], Role]) -> GroundTruth:
    return GroundTruth(
        np.array([box for box, _ in boxes], np.float32), np.zeros(len(boxes), np.int64),
        np.array([role for _, role in boxes], np.uint8))


def found(*boxes: tuple[list[float], float]) -> Detections:
    return Detections(
        np.array([box for box, _ in boxes], np.float32).reshape(-1, 4),
        np.array([score for _, score in boxes], np.float32), np.zeros(len(boxes), np.int64),
        ('dog',))


def ap50(labels: GroundTruth, detections: Detections) -> float:
    return average_precision([labels], [detections], [0])[0].ap50


@pytest.mark.parametrize('role', [Role.IGNORED, Role.CROWD])
def test_ignored_objects_neither_help_nor_hurt(role: Role) -> None:
    labels = truth((OBJECT, Role.OBJECT), (OTHER, role))
    alone = found((OBJECT, 0.5))
    assert ap50(labels, alone) == pytest.approx(1), 'not finding it is no miss'
    # Above the right one, so that counting it as wrong would halve the precision.
    assert ap50(labels, found((OTHER, 0.9), (OBJECT, 0.5))) == pytest.approx(1)
    assert ap50(labels, found((OTHER, 0.9))) == 0, 'finding it is no hit'
    assert ap50(truth((OBJECT, Role.OBJECT), (OTHER, Role.OBJECT)), alone) < 0.6, 'an object is'


@pytest.mark.parametrize('role', [Role.IGNORED, Role.CROWD])
def test_second_detection_of_an_ignored_object_does_not_hurt(role: Role) -> None:
    labels = truth((OBJECT, Role.OBJECT), (OTHER, role))
    shifted = [210, 0, 310, 100]
    assert ap50(labels, found((OTHER, 0.9), (shifted, 0.8), (OBJECT, 0.5))) == pytest.approx(1)


def test_part_of_a_crowd_is_ignored_but_part_of_a_difficult_object_is_wrong() -> None:
    part = found(([200, 0, 250, 50], 0.9), (OBJECT, 0.5))  # a quarter of it: overlap 0.25
    assert ap50(truth((OBJECT, Role.OBJECT), (OTHER, Role.CROWD)), part) == pytest.approx(1)
    assert ap50(truth((OBJECT, Role.OBJECT), (OTHER, Role.IGNORED)), part) == pytest.approx(0.5)


def test_detections_of_objects_go_to_objects_first() -> None:
    labels = truth((OBJECT, Role.IGNORED), (OBJECT, Role.OBJECT))
    assert ap50(labels, found((OBJECT, 0.5))) == pytest.approx(1)


def test_class_of_ignored_objects_alone_has_no_result() -> None:
    assert average_precision([truth((OBJECT, Role.IGNORED))], [found((OBJECT, 0.9))], [0]) == {}


def test_precision_curve_is_that_of_the_area() -> None:
    """Of two objects one is found, behind a wrong box: precision 1/2 up to recall 1/2."""
    labels = truth((OBJECT, Role.OBJECT), (OTHER, Role.OBJECT))
    result = average_precision(
        [labels], [found(([400, 0, 500, 100], 0.9), (OBJECT, 0.5))], [0])[0]
    np.testing.assert_allclose(result.precisions, np.where(RECALLS <= 0.5, 0.5, 0))
    assert result.ap50 == pytest.approx(np.mean(result.precisions))


def test_overlap_computed_by_hand() -> None:
    boxes = np.array([[0, 0, 10, 10], [5, 0, 15, 10], [3, 3, 3, 9]], np.float32)
    np.testing.assert_allclose(
        overlaps(boxes[:1], boxes), [[1, 50 / 150, 0]])
    assert overlaps(boxes, boxes[:0]).shape == (3, 0)


def test_pairs_are_taken_in_the_order_of_rows() -> None:
    overlap = np.array([[0.6, 0.7], [0.5, 0.9], [0.9, 0.9]])
    assert pair(overlap, 0.55).tolist() == [1, -1, 0]
    assert pair(np.zeros((2, 0)), 0.5).tolist() == [-1, -1]


@pytest.mark.parametrize(('model', 'data', 'numbers'), [
    (('a', 'b'), ('b', 'c', 'a'), [2, 0]),
    (('airplane', 'tree', 'motorcycle'), ('motorbike', 'aeroplane'), [1, UNKNOWN, 0]),
    (('aeroplane', 'motorbike'), ('airplane', 'motorcycle'), [0, 1]),
    (('Person',), ('person',), [0]),
    (('person',), ('Person', 'person'), [1]),
])
def test_classes_are_matched_by_name(
    model: tuple[str, ...], data: tuple[str, ...], numbers: list[int],
) -> None:
    assert match_classes(model, data).tolist() == numbers


def test_aliases_go_first_and_may_join_classes() -> None:
    aliases = {'car': 'vehicle', 'truck': 'vehicle'}
    numbers = match_classes(('car', 'truck', 'bus'), ('bus', 'vehicle', 'car'), aliases)
    assert numbers.tolist() == [1, 1, 0]


@pytest.mark.parametrize(('aliases', 'words'), [
    ({'cat': 'dog'}, "model has no class 'cat'"), ({'dog': 'wolf'}, "data has no class 'wolf'")])
def test_aliases_of_nothing_are_refused(aliases: dict[str, str], words: str) -> None:
    with pytest.raises(ConfigurationError, match=words):
        match_classes(('dog',), ('dog',), aliases)
