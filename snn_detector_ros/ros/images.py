# SPDX-License-Identifier: Apache-2.0
"""
Pixels of a `sensor_msgs/Image`, without cv_bridge.

A table says how each encoding lies in memory and what, if anything, OpenCV has to do to it. Colour
images of 8 bits are views of the message's bytes: nothing is copied, whatever their row padding. Of
16-bit samples the high byte is taken, so byte order only says which of the two bytes that is.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from snn_detector_ros.errors import ImageError

#: Largest image taken, in pixels (8192 x 8192); anything above is taken for a broken header.
MAX_PIXELS = 1 << 26


class Picture(NamedTuple):
    """
    An image as the detector takes it.

    :param pixels: uint8 [H, W, 3], or [H, W] if mono; may be a view of a message, so do not write.
    :param colour: 'bgr', 'rgb' or 'mono'.
    """

    pixels: NDArray[np.uint8]
    colour: str


class UnreadableImageError(ImageError):
    """
    An image message that cannot be read.

    :param cause: short name of the fault, by which such images are counted.
    """

    def __init__(self, cause: str, problem: str) -> None:
        self.cause = cause
        super().__init__(f'{cause}: {problem}')


@dataclass(frozen=True)
class Layout:
    """
    How an encoding lies in memory.

    :param channels: samples of a pixel.
    :param colour: order of the channels once converted: 'bgr', 'rgb' or 'mono'.
    :param conversion: OpenCV conversion to that order, if any is needed.
    :param bytes: bytes of a sample.
    :param planes: rows of samples per image row; 1.5 where chroma follows at half height.
    """

    channels: int
    colour: str
    conversion: int | None = None
    bytes: int = 1
    planes: float = 1


# OpenCV names a Bayer pattern by the second row and column, ROS by the first: hence the swaps.
_BAYER = {'rggb': cv2.COLOR_BayerBG2BGR, 'bggr': cv2.COLOR_BayerRG2BGR,
          'gbrg': cv2.COLOR_BayerGR2BGR, 'grbg': cv2.COLOR_BayerGB2BGR}

#: Layout of each encoding that is read here; names as in sensor_msgs/image_encodings.hpp.
LAYOUTS: dict[str, Layout] = {
    'bgr8': Layout(3, 'bgr'),
    'rgb8': Layout(3, 'rgb'),
    'mono8': Layout(1, 'mono'),
    '8UC3': Layout(3, 'bgr'),
    '8UC1': Layout(1, 'mono'),
    'bgra8': Layout(4, 'bgr', cv2.COLOR_BGRA2BGR),
    'rgba8': Layout(4, 'bgr', cv2.COLOR_RGBA2BGR),
    '8UC4': Layout(4, 'bgr', cv2.COLOR_BGRA2BGR),
    'bgr16': Layout(3, 'bgr', bytes=2),
    'rgb16': Layout(3, 'rgb', bytes=2),
    'mono16': Layout(1, 'mono', bytes=2),
    '16UC1': Layout(1, 'mono', bytes=2),
    **{f'bayer_{name}8': Layout(1, 'bgr', code) for name, code in _BAYER.items()},
    **{f'bayer_{name}16': Layout(1, 'bgr', code, bytes=2) for name, code in _BAYER.items()},
    'yuv422': Layout(2, 'bgr', cv2.COLOR_YUV2BGR_UYVY),
    'uyvy': Layout(2, 'bgr', cv2.COLOR_YUV2BGR_UYVY),
    'yuv422_yuy2': Layout(2, 'bgr', cv2.COLOR_YUV2BGR_YUY2),
    'yuyv': Layout(2, 'bgr', cv2.COLOR_YUV2BGR_YUY2),
    'nv12': Layout(1, 'bgr', cv2.COLOR_YUV2BGR_NV12, planes=1.5),
    'nv21': Layout(1, 'bgr', cv2.COLOR_YUV2BGR_NV21, planes=1.5),
}


def read_image(message: Any) -> Picture:
    """
    Return the pixels of an image message.

    :param message: a `sensor_msgs/Image`.
    :raises UnreadableImageError: if the encoding is unknown, or size, step and data disagree.
    """
    layout = LAYOUTS.get(message.encoding)
    if layout is None:
        raise UnreadableImageError(
            'unknown encoding',
            f'`{message.encoding}`; supported are {", ".join(sorted(LAYOUTS))}')
    samples = _samples(message, layout)
    if layout.conversion is not None:
        samples = convert(samples, layout.conversion, message.encoding)
    return Picture(samples, layout.colour)


def convert_to_bgr(picture: Picture) -> NDArray[np.uint8]:
    """Return the pixels as uint8 [H, W, 3] blue-green-red; of a 'bgr' picture the same array."""
    if picture.colour == 'bgr':
        return picture.pixels
    code = cv2.COLOR_RGB2BGR if picture.colour == 'rgb' else cv2.COLOR_GRAY2BGR
    return cv2.cvtColor(picture.pixels, code).astype(np.uint8, copy=False)


def check_size(width: int, height: int) -> None:
    """
    Refuse sizes that no camera has.

    :raises UnreadableImageError: if a side is 0 or the image has more than 64 Mi pixels.
    """
    if width < 1 or height < 1:
        raise UnreadableImageError('empty image', f'{width}x{height} pixels')
    if width * height > MAX_PIXELS:
        raise UnreadableImageError(
            'huge image', f'{width}x{height} pixels are more than the {MAX_PIXELS} supported')


def convert(samples: NDArray[np.uint8], conversion: int, encoding: str) -> NDArray[np.uint8]:
    """
    Run an OpenCV colour conversion.

    :raises UnreadableImageError: if OpenCV refuses, for example an odd width in 4:2:2.
    """
    try:
        return cv2.cvtColor(samples, conversion).astype(np.uint8, copy=False)
    except cv2.error as error:
        raise UnreadableImageError(
            'bad size', f'{samples.shape[1]}x{samples.shape[0]} pixels do not fit `{encoding}` '
            f'({error.err})') from error


def _samples(message: Any, layout: Layout) -> NDArray[np.uint8]:
    """Return a view uint8 [H, W, C] (or [H, W] of one channel); 16-bit samples are copied."""
    check_size(message.width, message.height)
    pixel_bytes = layout.channels * layout.bytes
    row_bytes = message.width * pixel_bytes
    if message.step < row_bytes:
        raise UnreadableImageError(
            'short step', f'{message.step} bytes a row; {message.width} pixels of '
            f'`{message.encoding}` take {row_bytes}')
    rows = int(message.height * layout.planes)
    needed = (rows - 1) * message.step + row_bytes
    if len(message.data) < needed:
        raise UnreadableImageError(
            'short buffer', f'{len(message.data)} bytes of data; {message.width}x{message.height} '
            f'`{message.encoding}` with step {message.step} takes {needed}')
    samples: NDArray[np.uint8] = np.ndarray(
        (rows, message.width, layout.channels, layout.bytes), np.uint8, message.data,
        strides=(message.step, pixel_bytes, layout.bytes, 1))
    high_byte = 1 if layout.bytes == 2 and not message.is_bigendian else 0
    samples = samples[..., high_byte] if layout.channels > 1 else samples[..., 0, high_byte]
    return samples if layout.bytes == 1 else np.ascontiguousarray(samples)
