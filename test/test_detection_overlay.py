# SPDX-License-Identifier: Apache-2.0
"""The overlay: boxes where they belong, labels that can be read, the source untouched."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from snn_detector_ros.detection.overlay import class_colour, draw
from snn_detector_ros.detection.types import Detections

repeatable = settings(deadline=None, derandomize=True)

NAMES = ('person', 'car')


def _detections(*boxes: tuple[float, float, float, float]) -> Detections:
    return Detections(
        np.array(boxes, dtype=np.float32).reshape(-1, 4),
        np.linspace(0.9, 0.5, len(boxes), dtype=np.float32),
        np.zeros(len(boxes), dtype=np.int64), NAMES)


def test_source_stays_untouched():
    image = np.zeros((120, 160, 3), dtype=np.uint8)
    image.setflags(write=False)
    assert draw(image, _detections((20, 40, 100, 100))).any()
    assert not image.any()


def test_nothing_found_leaves_an_equal_copy():
    image = np.arange(120 * 160 * 3, dtype=np.uint8).reshape(120, 160, 3)
    copy = draw(image, Detections.empty(NAMES))
    np.testing.assert_array_equal(copy, image)
    assert not np.shares_memory(copy, image)


@pytest.mark.parametrize('size', [(240, 320), (2400, 3200)])
def test_lines_lie_just_inside_the_box(size):
    height, width = size
    left, top, right, bottom = width // 4, height // 2, width // 2, height * 3 // 4
    drawn = draw(np.zeros((*size, 3), np.uint8), _detections((left, top, right, bottom)))
    below = drawn[top:].any(axis=2)  # the label is above the box
    rows, columns = np.nonzero(below)
    assert (columns.min(), columns.max() + 1) == (left, right)
    assert rows.max() + 1 == bottom - top
    assert (drawn[bottom - 1, left:right] == class_colour(0)).all()
    assert not drawn[(top + bottom) // 2, (left + right) // 2].any()


@pytest.mark.parametrize('box', [
    (0, 0, 40, 40), (280, 0, 320, 240), (0, 200, 320, 240), (310, 230, 320, 240),
    (0, 0, 320, 240)])
def test_label_is_whole_wherever_the_box_is(box):
    """The label's background is one full rectangle; its area tells if any of it is cut off."""
    image = np.zeros((240, 320, 3), dtype=np.uint8)
    alone = draw(image, _detections((100, 100, 100, 100)))[:99]
    drawn = draw(image, _detections(box))
    assert drawn.any(axis=2).sum() >= alone.any(axis=2).sum() > 500


@repeatable
@given(st.integers(1, 90), st.integers(1, 90),
       st.tuples(*[st.floats(-50, 150)] * 4))
def test_any_box_on_any_picture_is_drawn(height, width, box):
    image = np.zeros((height, width, 3), dtype=np.uint8)
    assert draw(image, _detections(box)).shape == image.shape


def test_neighbouring_classes_have_different_colours():
    colours = np.array([class_colour(i) for i in range(20)], dtype=int)
    distance = np.abs(colours[:, None] - colours).max(axis=2) + 1000 * np.eye(20, dtype=int)
    assert distance.min() > 20


def test_detections_iterate_with_names():
    found = _detections((1, 2, 3, 4), (5, 6, 7, 8))
    first, second = found
    assert len(found) == 2
    assert (first.box, first.class_id, first.class_name) == ((1, 2, 3, 4), 0, 'person')
    assert first.score == pytest.approx(0.9) and second.box == (5, 6, 7, 8)


def test_class_without_a_name_shows_its_number():
    nameless = Detections(
        np.zeros((1, 4), np.float32), np.ones(1, np.float32), np.array([7]), NAMES)
    assert next(iter(nameless)).class_name == '7'
