# SPDX-License-Identifier: Apache-2.0
"""Candidates become detections in source pixels."""

import numpy as np

from snn_detector_ros.detection.heads import Candidates
from snn_detector_ros.detection.letterbox import Geometry
from snn_detector_ros.detection.postprocess import to_detections

# A picture of 200 x 100 px in an input of 100 x 100 px: 25 grey rows above and below.
GEOMETRY = Geometry.fit((100, 200), (100, 100))


def _detections(boxes, scores, classes, **options):
    candidates = Candidates(
        np.array(boxes, np.float32), np.array(scores, np.float32), np.array(classes, np.int64))
    return to_detections(
        candidates, GEOMETRY, ('cat', 'dog'),
        **{'iou_threshold': 0.45, 'max_detections': 10, **options})


def test_best_box_of_each_object_in_source_pixels():
    found = _detections(
        [[10, 35, 30, 55], [50, 45, 90, 65], [11, 35, 31, 55]], [0.5, 0.9, 0.6], [0, 1, 0])
    assert [(one.box, one.class_name) for one in found] == [
        ((100, 40, 180, 80), 'dog'), ((22, 20, 62, 60), 'cat')]


def test_box_in_the_grey_is_dropped():
    found = _detections([[10, 2, 30, 22], [10, 10, 30, 45]], [0.9, 0.5], [0, 0])
    assert [one.box for one in found] == [(20, 0, 60, 40)]
    assert found.scores.tolist() == [0.5]


def test_number_of_detections_is_limited():
    assert len(_detections(
        [[10, 35, 30, 55], [50, 45, 90, 65]], [0.5, 0.9], [0, 0], max_detections=1)) == 1
