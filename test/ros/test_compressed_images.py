# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import array
from types import SimpleNamespace

import cv2
import numpy as np
import pytest

from snn_detector_ros.ros.compressed_images import read_compressed_image
from snn_detector_ros.ros.images import UnreadableImageError

PIXELS = cv2.GaussianBlur(
    np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8), (9, 9), 0)
JPEG = cv2.imencode('.jpg', PIXELS, [cv2.IMWRITE_JPEG_QUALITY, 95])[1].tobytes()
PNG = cv2.imencode('.png', PIXELS)[1].tobytes()


def message(data, kind='jpeg'):
    return SimpleNamespace(format=kind, data=array.array('B', data))


def test_png_is_read_exactly():
    picture = read_compressed_image(message(PNG, 'bgr8; png compressed bgr8'))
    assert picture.colour == 'bgr'
    np.testing.assert_array_equal(picture.pixels, PIXELS)


@pytest.mark.parametrize('kind', ['jpeg', 'jpg', 'bgr8; jpeg compressed bgr8', ''])
def test_jpeg_is_read_whatever_the_format_field_says(kind):
    picture = read_compressed_image(message(JPEG, kind))
    assert picture.colour == 'bgr'
    # JPEG at quality 95 is off by a few grey levels.
    np.testing.assert_allclose(picture.pixels, PIXELS.astype(float), atol=25)


def test_channels_that_were_compressed_in_rgb_order_are_rgb():
    assert read_compressed_image(message(JPEG, 'rgb8; jpeg compressed rgb8')).colour == 'rgb'


def test_grey_jpeg_becomes_three_channels():
    grey = cv2.imencode('.jpg', PIXELS[..., 0])[1].tobytes()
    assert read_compressed_image(message(grey, 'mono8; jpeg compressed mono8')).pixels.shape == (
        40, 60, 3)


def test_sixteen_bit_png_becomes_eight_bits():
    deep = cv2.imencode('.png', PIXELS.astype(np.uint16) * 257)[1].tobytes()
    np.testing.assert_array_equal(read_compressed_image(message(deep, 'png')).pixels, PIXELS)


def test_padding_after_the_end_mark_is_ignored():
    assert read_compressed_image(message(JPEG + bytes(100))).pixels.shape == (40, 60, 3)


def test_the_orientation_tag_is_ignored():
    # Exif with orientation 6 (rotate by 90 degrees), between start of image and the rest.
    exif = (b'\xff\xe1\x00\x22Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0'
            b'\0\0\0\0')
    rotated = JPEG[:2] + exif + JPEG[2:]
    assert cv2.imdecode(np.frombuffer(rotated, np.uint8), cv2.IMREAD_COLOR).shape == (60, 40, 3)
    assert read_compressed_image(message(rotated)).pixels.shape == (40, 60, 3)


def resized_header(data, marker):
    """Return a JPEG whose frame header claims 65500x65500 pixels."""
    position = data.index(marker) + 5
    return data[:position] + (65500).to_bytes(2, 'big') * 2 + data[position + 4:]


@pytest.mark.parametrize('data, kind, cause', [
    (JPEG[:-2], 'jpeg', 'truncated image'), (JPEG[:len(JPEG) // 2], 'jpeg', 'truncated image'),
    (PNG[:-10], 'png', 'truncated image'), (b'', 'jpeg', 'unknown encoding'),
    (b'GIF89a' + bytes(50), 'gif', 'unknown encoding'),
    (JPEG, '16UC1; compressedDepth', 'unknown encoding'),
    (b'\xff\xd8\xff\xd9', 'jpeg', 'damaged image'),
    (resized_header(JPEG, b'\xff\xc0'), 'jpeg', 'huge image'),
    (PNG[:8] + bytes(20) + PNG[-12:], 'png', 'empty image'),
    (PNG[:40] + bytes(400) + PNG[440:], 'png', 'damaged image')])
def test_a_broken_image_is_refused_with_its_cause(data, kind, cause):
    with pytest.raises(UnreadableImageError) as error:
        read_compressed_image(message(data, kind))
    assert error.value.cause == cause
