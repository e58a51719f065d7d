# SPDX-License-Identifier: Apache-2.0
"""
Pixels of a `sensor_msgs/CompressedImage`.

The bytes say what they are; the `format` field, which drivers fill in differently, is only asked
for depth images and for the channel order. OpenCV fills up a cut-off picture with grey and says
nothing, so size and end mark are looked at before it decodes.
"""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np

from snn_detector_ros.ros.images import Picture, UnreadableImageError, check_size

_JPEG_START = b'\xff\xd8\xff'
_JPEG_END = b'\xff\xd9'
_PNG_START = b'\x89PNG\r\n\x1a\n'
_PNG_END = b'IEND\xaeB`\x82'
#: Markers that open a frame of a JPEG; C4, C8 and CC in their range are tables, not frames.
_FRAME_MARKERS = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}


def read_compressed_image(message: Any) -> Picture:
    """
    Decode a compressed image message; its orientation tag is ignored, as by image_transport.

    :param message: a `sensor_msgs/CompressedImage` with JPEG or PNG data.
    :raises UnreadableImageError: if it is neither, is cut off, or does not decode.
    """
    if 'compressedDepth' in message.format:
        raise UnreadableImageError(
            'unknown encoding', f'`{message.format}`; depth images are not supported')
    data = memoryview(message.data).cast('B')
    if data[:3] == _JPEG_START:
        _check_jpeg(data)
    elif data[:8] == _PNG_START:
        _check_png(data)
    else:
        raise UnreadableImageError(
            'unknown encoding', f'`{message.format}` with {len(data)} bytes that are neither JPEG '
            'nor PNG; supported are jpeg and png')
    try:
        pixels = cv2.imdecode(
            np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)
    except cv2.error as error:
        raise UnreadableImageError('damaged image', error.err) from error
    if pixels is None:
        raise UnreadableImageError('damaged image', f'{len(data)} bytes do not decode')
    # Some publishers compress the channels as they come, and say so at the end of the format.
    colour = 'rgb' if message.format.rstrip().endswith('compressed rgb8') else 'bgr'
    return Picture(pixels.astype(np.uint8, copy=False), colour)


def _check_jpeg(data: memoryview) -> None:
    # Cameras may pad the buffer with zeros.
    if not bytes(data[-4096:]).rstrip(b'\0').endswith(_JPEG_END):
        raise UnreadableImageError(
            'truncated image', f'{len(data)} bytes of JPEG lack the end marker')
    position = 2
    while position + 9 <= len(data) and data[position] == 0xFF:
        marker = data[position + 1]
        if marker in _FRAME_MARKERS:
            height = int.from_bytes(data[position + 5:position + 7], 'big')
            width = int.from_bytes(data[position + 7:position + 9], 'big')
            return check_size(width, height)
        # A marker may be preceded by fill bytes.
        length = int.from_bytes(data[position + 2:position + 4], 'big')
        position += 1 if marker == 0xFF else 2 + length
    raise UnreadableImageError('damaged image', f'{len(data)} bytes of JPEG hold no frame')


def _check_png(data: memoryview) -> None:
    if not bytes(data[-4096:]).rstrip(b'\0').endswith(_PNG_END):
        raise UnreadableImageError(
            'truncated image', f'{len(data)} bytes of PNG lack the end chunk')
    check_size(int.from_bytes(data[16:20], 'big'), int.from_bytes(data[20:24], 'big'))
