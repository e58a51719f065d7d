# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import array
import sys
from types import ModuleType, SimpleNamespace

import cv2
import numpy as np
import pytest

from snn_detector_ros.ros.cv_bridge_adapter import ImageReader
from snn_detector_ros.ros.images import (
    LAYOUTS,
    Picture,
    UnreadableImageError,
    convert_to_bgr,
    read_image,
)

BGR = np.random.default_rng(0).integers(0, 256, (6, 8, 3), dtype=np.uint8)
RGB = np.ascontiguousarray(BGR[..., ::-1])
GREY = BGR[..., 0].copy()
ALPHA = np.full((6, 8, 1), 9, np.uint8)


def message(pixels, encoding, *, padding=0, height=None, is_bigendian=0):
    """Return a stand-in for sensor_msgs/Image, with bytes added to the end of each row."""
    rows = pixels.reshape(len(pixels), -1).view(np.uint8)
    rows = np.pad(rows, ((0, 0), (0, padding)), constant_values=77)
    data = array.array('B')
    data.frombytes(rows.tobytes())
    return SimpleNamespace(
        height=height or pixels.shape[0], width=pixels.shape[1], encoding=encoding,
        is_bigendian=is_bigendian, step=rows.shape[1], data=data)


def sixteen_bits(pixels, order='<'):
    """Return samples whose high byte is the given one, and whose low byte differs from it."""
    return (pixels.astype(np.uint16) * 256 + (255 - pixels)).astype(f'{order}u2')


EIGHT_BITS = {
    'bgr8': (BGR, BGR, 'bgr'), 'rgb8': (RGB, RGB, 'rgb'), 'mono8': (GREY, GREY, 'mono'),
    '8UC1': (GREY, GREY, 'mono'), '8UC3': (BGR, BGR, 'bgr'),
    'bgra8': (np.dstack([BGR, ALPHA]), BGR, 'bgr'), '8UC4': (np.dstack([BGR, ALPHA]), BGR, 'bgr'),
    'rgba8': (np.dstack([RGB, ALPHA]), BGR, 'bgr')}
SIXTEEN_BITS = {
    'bgr16': (BGR, 'bgr'), 'rgb16': (RGB, 'rgb'), 'mono16': (GREY, 'mono'), '16UC1': (GREY, 'mono')}


@pytest.mark.parametrize('padding', [0, 5])
@pytest.mark.parametrize('encoding', EIGHT_BITS)
def test_eight_bit_images(encoding, padding):
    pixels, expected, colour = EIGHT_BITS[encoding]
    picture = read_image(message(pixels, encoding, padding=padding))
    assert picture.colour == colour
    np.testing.assert_array_equal(picture.pixels, expected)


@pytest.mark.parametrize('padding', [0, 5])
@pytest.mark.parametrize('order', ['<', '>'])
@pytest.mark.parametrize('encoding', SIXTEEN_BITS)
def test_sixteen_bit_images_of_both_byte_orders(encoding, order, padding):
    expected, colour = SIXTEEN_BITS[encoding]
    picture = read_image(message(
        sixteen_bits(expected, order), encoding, padding=padding, is_bigendian=order == '>'))
    assert picture.colour == colour
    np.testing.assert_array_equal(picture.pixels, expected)


@pytest.mark.parametrize('encoding', ['bgr8', 'rgb8', 'mono8'])
@pytest.mark.parametrize('padding', [0, 5])
def test_plain_images_are_not_copied(encoding, padding):
    image = message(EIGHT_BITS[encoding][0], encoding, padding=padding)
    picture = read_image(image)
    assert np.shares_memory(picture.pixels, np.frombuffer(image.data, np.uint8))


@pytest.mark.parametrize('bits', [8, 16])
@pytest.mark.parametrize('pattern', ['rggb', 'bggr', 'gbrg', 'grbg'])
def test_bayer_images(pattern, bits):
    # A picture of one colour comes back exactly, if the four cells are told apart correctly.
    colour = {'r': 200, 'g': 120, 'b': 40}
    cells = np.array([colour[letter] for letter in pattern], np.uint8).reshape(2, 2)
    mosaic = np.tile(cells, (8, 8))
    samples = mosaic if bits == 8 else sixteen_bits(mosaic)
    picture = read_image(message(samples, f'bayer_{pattern}{bits}', padding=3))
    assert picture.colour == 'bgr'
    np.testing.assert_array_equal(picture.pixels[2:-2, 2:-2], np.full((12, 12, 3), (40, 120, 200)))


@pytest.mark.parametrize('encoding, luma_first', [
    ('yuv422', False), ('uyvy', False), ('yuv422_yuy2', True), ('yuyv', True)])
def test_yuv422_images(encoding, luma_first):
    # ITU-R BT.601: Y 81, U 90, V 240 is red.
    luma, chroma = np.full((4, 8), 81, np.uint8), np.tile(np.array([90, 240], np.uint8), (4, 4))
    samples = np.dstack([luma, chroma] if luma_first else [chroma, luma])
    picture = read_image(message(samples, encoding, padding=6))
    np.testing.assert_allclose(picture.pixels[..., ::-1], np.full((4, 8, 3), (255, 0, 0)), atol=2)


@pytest.mark.parametrize('encoding, chroma', [('nv12', (90, 240)), ('nv21', (240, 90))])
def test_yuv420_images(encoding, chroma):
    luma, chroma = np.full((4, 8), 81, np.uint8), np.tile(np.array(chroma, np.uint8), (2, 4))
    samples = np.vstack([luma, chroma])
    picture = read_image(message(samples, encoding, height=4))
    np.testing.assert_allclose(picture.pixels[..., ::-1], np.full((4, 8, 3), (255, 0, 0)), atol=2)


def changed(**values):
    image = message(BGR, 'bgr8')
    vars(image).update(values)
    return image


@pytest.mark.parametrize('image, cause', [
    (changed(encoding='32FC1'), 'unknown encoding'), (changed(encoding=''), 'unknown encoding'),
    (changed(data=array.array('B', bytes(143))), 'short buffer'),
    (changed(data=array.array('B')), 'short buffer'), (changed(step=23), 'short step'),
    (changed(step=0), 'short step'), (changed(width=0), 'empty image'),
    (changed(height=0), 'empty image'), (changed(width=2**32 - 1, height=2**32 - 1), 'huge image'),
    (changed(height=2**20), 'short buffer'),
    (message(BGR[:, :7, :2], 'yuv422'), 'bad size')])
def test_a_broken_image_is_refused_with_its_cause(image, cause):
    with pytest.raises(UnreadableImageError) as error:
        read_image(image)
    assert error.value.cause == cause


def test_an_unknown_encoding_is_answered_with_the_known_ones():
    with pytest.raises(UnreadableImageError, match='`32FC1`; supported are .*bgr8.*yuyv'):
        read_image(changed(encoding='32FC1'))


def test_the_last_row_may_lack_its_padding():
    image = message(BGR, 'bgr8', padding=5)
    image.data = image.data[:-5]
    np.testing.assert_array_equal(read_image(image).pixels, BGR)


@pytest.mark.parametrize('picture', [
    Picture(BGR, 'bgr'), Picture(RGB, 'rgb')])
def test_conversion_to_bgr(picture):
    np.testing.assert_array_equal(convert_to_bgr(picture), BGR)


def test_grey_becomes_bgr():
    np.testing.assert_array_equal(
        convert_to_bgr(Picture(GREY, 'mono')), np.repeat(GREY[..., None], 3, axis=2))


# cv_bridge ---------------------------------------------------------------------------------------

@pytest.fixture
def bridge(monkeypatch):
    """Install a cv_bridge that returns zeros, and records what it was asked for."""
    asked = []

    class CvBridge:
        def imgmsg_to_cv2(self, image, desired_encoding):
            asked.append((image.encoding, desired_encoding))
            if image.encoding == 'broken':
                raise TypeError('bridge failed')
            return np.zeros((6, 8, 3), np.uint8)

    module = ModuleType('cv_bridge')
    module.CvBridge = CvBridge
    monkeypatch.setitem(sys.modules, 'cv_bridge', module)
    return asked


def test_auto_asks_cv_bridge_only_for_what_the_table_lacks(bridge):
    reader = ImageReader('auto')
    np.testing.assert_array_equal(reader.read(changed()).pixels, BGR)
    assert reader.status == 'not used'
    assert not reader.read(changed(encoding='bayer_unheard_of')).pixels.any()
    assert bridge == [('bayer_unheard_of', 'bgr8')]
    assert reader.status == 'used'


def test_always_asks_cv_bridge_first(bridge):
    assert not ImageReader('always').read(changed()).pixels.any()


def test_never_leaves_cv_bridge_alone(bridge):
    with pytest.raises(UnreadableImageError):
        ImageReader('never').read(changed(encoding='32FC1'))
    assert bridge == []


def test_a_failing_cv_bridge_counts_as_absent(bridge):
    reader = ImageReader('auto')
    with pytest.raises(UnreadableImageError, match='unknown encoding'):
        reader.read(changed(encoding='broken'))
    assert 'bridge failed' in reader.status


@pytest.mark.parametrize('error', [
    ImportError('no module'), AttributeError('_ARRAY_API not found')])
def test_a_cv_bridge_that_cannot_be_imported_counts_as_absent(monkeypatch, error):
    class Broken(ModuleType):
        def __getattr__(self, name):
            raise error

    monkeypatch.setitem(sys.modules, 'cv_bridge', Broken('cv_bridge'))
    reader = ImageReader('always')
    np.testing.assert_array_equal(reader.read(changed()).pixels, BGR)
    assert reader.status.startswith('absent (')


@pytest.mark.parametrize('encoding', [
    'bgr8', 'rgb8', 'mono8', 'bgra8', 'rgba8', 'bayer_rggb8', 'bayer_bggr8', 'bayer_gbrg8'])
def test_our_table_reads_what_cv_bridge_reads(encoding):
    cv_bridge = pytest.importorskip('cv_bridge', reason='cv_bridge is not installed')
    if int(cv2.__version__.split('.')[0]) >= 5:
        pytest.skip('cv_bridge 1.13 needs OpenCV 4')
    layout = LAYOUTS[encoding]
    samples = np.random.default_rng(1).integers(0, 256, (16, 16, layout.channels), dtype=np.uint8)
    # Without padding: cv_bridge 1.13 takes it for pixels.
    image = message(samples, encoding)
    expected = cv_bridge.CvBridge().imgmsg_to_cv2(image, 'bgr8')
    np.testing.assert_array_equal(convert_to_bgr(read_image(image)), expected)
