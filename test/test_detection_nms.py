# SPDX-License-Identifier: Apache-2.0
"""Non-maximum suppression against a naive twin, and what a caller relies on."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from snn_detector_ros.detection.nms import suppress

repeatable = settings(deadline=None, derandomize=True)


def _random_boxes(seed: int, count: int, classes: int = 3):
    random = np.random.default_rng(seed)
    corner = random.uniform(-20, 60, (count, 2))
    boxes = np.concatenate([corner, corner + random.uniform(1, 60, (count, 2))], axis=1)
    scores = random.permutation(np.linspace(0.01, 1, count))
    return (boxes.astype(np.float32), scores.astype(np.float32),
            random.integers(0, classes, count))


def _iou(a: np.ndarray, b: np.ndarray) -> float:
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    common = max(width, 0) * max(height, 0)
    return common / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - common)


def _naive(boxes, scores, classes, iou_threshold):
    boxes = boxes.astype(np.float64)
    kept: list[int] = []
    for i in np.argsort(-scores):
        if all(classes[i] != classes[k] or _iou(boxes[i], boxes[k]) <= iou_threshold
               for k in kept):
            kept.append(i)
    return kept


@repeatable
@given(st.integers(0, 2**32 - 1), st.integers(0, 60), st.sampled_from([0.2, 0.45, 0.65]))
def test_keeps_what_the_naive_twin_keeps(seed, count, iou_threshold):
    boxes, scores, classes = _random_boxes(seed, count)
    kept = suppress(boxes, scores, classes, iou_threshold=iou_threshold)
    assert kept.tolist() == _naive(boxes, scores, classes, iou_threshold)


def test_equal_boxes_of_different_classes_both_stay():
    boxes = np.array([[0, 0, 640, 640]] * 80, dtype=np.float32)
    scores = np.linspace(1, 0.5, 80, dtype=np.float32)
    assert suppress(boxes, scores, np.arange(80)).tolist() == list(range(80))


def test_best_boxes_come_first_and_are_limited():
    boxes, scores, classes = _random_boxes(3, 50)
    kept = suppress(boxes, scores, classes, iou_threshold=1.0, max_detections=7)
    assert kept.tolist() == np.argsort(-scores)[:7].tolist()


def test_equal_scores_keep_their_order():
    boxes = np.array([[i * 10, 0, i * 10 + 5, 5] for i in range(9)], dtype=np.float32)
    kept = suppress(boxes, np.full(9, 0.5, np.float32), np.zeros(9, np.int64))
    assert kept.tolist() == list(range(9))


def test_nothing_in_nothing_out():
    kept = suppress(np.empty((0, 4), np.float32), np.empty(0, np.float32), np.empty(0, np.int64))
    assert kept.tolist() == []
