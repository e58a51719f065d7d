# SPDX-License-Identifier: Apache-2.0
"""Letterbox: the picture lands where the geometry says, and boxes come back."""

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from snn_detector_ros.detection.letterbox import MAX_SIDE, PADDING, Geometry, Letterbox
from snn_detector_ros.errors import ImageError

repeatable = settings(deadline=None, derandomize=True)

sides = st.one_of(st.integers(1, 8), st.integers(1, 400), st.integers(4000, 5000))
inputs = st.tuples(*[st.integers(1, 12).map(lambda cells: 32 * cells)] * 2)


def _random_picture(height: int, width: int, channels: int = 3) -> np.ndarray:
    random = np.random.default_rng(height * 7919 + width)
    shape = (height, width, channels) if channels > 1 else (height, width)
    return random.integers(0, 256, shape, dtype=np.uint8)


def _fresh(image: np.ndarray, input_size: tuple[int, int]) -> np.ndarray:
    """Letterbox by the book, with copies."""
    geometry = Geometry.fit(image.shape[:2], input_size)
    small = cv2.resize(image, geometry.size[::-1], interpolation=cv2.INTER_LINEAR)
    (top, left), (height, width) = (geometry.top, geometry.left), geometry.size
    return cv2.copyMakeBorder(
        small, top, input_size[0] - height - top, left, input_size[1] - width - left,
        cv2.BORDER_CONSTANT, value=(PADDING,) * 3)


@repeatable
@given(st.tuples(sides, sides), inputs, st.data())
def test_boxes_return_to_the_source(source_size, input_size, data):
    geometry = Geometry.fit(source_size, input_size)
    height, width = source_size
    xs = sorted(data.draw(st.tuples(*[st.floats(0, width)] * 2)))
    ys = sorted(data.draw(st.tuples(*[st.floats(0, height)] * 2)))
    box = np.array([[xs[0], ys[0], xs[1], ys[1]]])
    scale = np.array(geometry.scale * 2)
    offset = np.array((geometry.left, geometry.top) * 2)
    back = geometry.to_source((box * scale + offset).astype(np.float32))
    # The two maps are exact inverses, so what remains is float32: half an ulp of a coordinate of
    # at most 384 input px is 1.5e-5, and a few of those divided by the scale.
    assert np.abs(back - box).max() <= 1e-4 / min(geometry.scale) + 1e-3


@repeatable
@given(st.tuples(sides, sides), inputs)
def test_picture_fits_the_input_and_keeps_its_shape(source_size, input_size):
    geometry = Geometry.fit(source_size, input_size)
    ratio = min(input_size[0] / source_size[0], input_size[1] / source_size[1])
    for side, size, limit in zip(source_size, geometry.size, input_size, strict=True):
        assert 1 <= size <= limit
        assert size == 1 or abs(size - side * ratio) <= 0.5 + 1e-9
    assert any(size == limit for size, limit in zip(geometry.size, input_size, strict=True))
    assert abs(input_size[0] - geometry.size[0] - 2 * geometry.top) <= 1
    assert abs(input_size[1] - geometry.size[1] - 2 * geometry.left) <= 1


@repeatable
@given(st.floats(-1e4, 1e4), st.floats(-1e4, 1e4))
def test_boxes_are_clipped_to_the_picture(x, y):
    box = Geometry.fit((48, 64), (320, 320)).to_source(
        np.array([[x, y, x + 1e3, y + 1e3]], dtype=np.float32))
    assert box.dtype == np.float32
    assert (box >= 0).all() and (box <= (64, 48, 64, 48)).all()


@repeatable
@given(st.lists(st.tuples(sides, sides), min_size=1, max_size=4), inputs)
def test_one_canvas_serves_pictures_of_changing_size(sizes, input_size):
    letterbox = Letterbox(input_size)
    for height, width in sizes:
        image = _random_picture(height, width)
        np.testing.assert_array_equal(letterbox(image), _fresh(image, input_size))


@repeatable
@given(st.tuples(st.integers(1, 200), st.integers(1, 200)))
def test_colour_orders_agree(size):
    bgr = _random_picture(*size)
    expected = Letterbox((64, 96))(bgr).copy()
    np.testing.assert_array_equal(
        Letterbox((64, 96))(np.ascontiguousarray(bgr[..., ::-1]), colour='rgb'), expected)


@repeatable
@given(st.tuples(st.integers(1, 200), st.integers(1, 200)), st.sampled_from(['mono', 'bgr']))
def test_grey_picture_equals_its_replication(size, colour):
    grey = _random_picture(*size, channels=1)
    expected = Letterbox((64, 96))(np.stack([grey] * 3, axis=-1))
    np.testing.assert_array_equal(Letterbox((64, 96))(grey, colour=colour), expected)


@pytest.mark.parametrize('view', [
    np.s_[::2, ::2], np.s_[:, ::-1], np.s_[::-1], np.s_[..., ::-1], np.s_[3:60, 5:70]])
def test_views_need_no_copy_by_the_caller(view):
    image = _random_picture(96, 128)[view]
    np.testing.assert_array_equal(
        Letterbox((64, 64))(image), Letterbox((64, 64))(np.ascontiguousarray(image)))


def test_view_of_the_input_size_becomes_contiguous():
    image = _random_picture(128, 128)[::2, ::2]
    pixels = Letterbox((64, 64))(image)
    assert pixels.flags.c_contiguous
    np.testing.assert_array_equal(pixels, image)


def test_read_only_picture_is_accepted_and_unchanged():
    image = np.frombuffer(bytes(range(256)) * 36, dtype=np.uint8).reshape(48, 64, 3)
    np.testing.assert_array_equal(Letterbox((64, 64))(image), _fresh(image, (64, 64)))


def test_picture_of_the_input_size_is_not_copied():
    image = _random_picture(64, 96)
    assert Letterbox((64, 96))(image) is image


def test_canvas_is_kept_between_pictures():
    letterbox = Letterbox((64, 96))
    assert letterbox(_random_picture(10, 10)) is letterbox(_random_picture(200, 20))


@pytest.mark.parametrize(('image', 'colour', 'words'), [
    (np.zeros((4, 4, 3), np.float32), 'bgr', 'float32'),
    (np.zeros((4, 4), np.uint16), 'mono', 'uint16'),
    ([[1, 2], [3, 4]], 'mono', 'list'),
    (None, 'bgr', 'NoneType'),
    (np.zeros((4, 4, 4), np.uint8), 'bgr', 'alpha'),
    (np.zeros((4, 4, 3), np.uint8), 'mono', 'mono picture'),
    (np.zeros((1, 4, 4, 3), np.uint8), 'bgr', r'\(1, 4, 4, 3\)'),
    (np.zeros(12, np.uint8), 'bgr', r'\(12,\)'),
    (np.zeros((4, 4, 3), np.uint8), 'yuv', "'yuv'"),
    (np.zeros((0, 4, 3), np.uint8), 'bgr', '4 x 0 px'),
    (np.zeros((4, 0), np.uint8), 'mono', '0 x 4 px'),
    (np.broadcast_to(np.uint8(0), (1, MAX_SIDE + 1, 3)), 'bgr', f'{MAX_SIDE + 1} x 1 px'),
])
def test_unusable_pictures_are_refused(image, colour, words):
    with pytest.raises(ImageError, match=words):
        Letterbox((64, 64))(image, colour=colour)
