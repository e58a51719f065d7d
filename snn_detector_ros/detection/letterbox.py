# SPDX-License-Identifier: Apache-2.0
"""
Fit a picture into the network's input without changing its shape, and map boxes back.

The picture is scaled to touch two borders of the input and centred; the rest is grey, as in the
training of YOLOv5. Everything is done in uint8 straight into one canvas that is kept, since the
engines read pixels, not floats.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from snn_detector_ros.errors import ImageError

#: Grey value around the picture (YOLOv5).
PADDING = 114

#: Longest side of a picture in px that is still believed to be one.
MAX_SIDE = 16384

#: How each order of three channels becomes blue-green-red.
COLOURS = {'bgr': None, 'rgb': cv2.COLOR_RGB2BGR, 'mono': cv2.COLOR_GRAY2BGR}


@dataclass(frozen=True)
class Geometry:
    """
    Where a picture lies in the network's input.

    :param source_size: (height, width) of the picture in px.
    :param size: (height, width) of the scaled picture in px.
    :param top: grey rows above it.
    :param left: grey columns left of it.
    """

    source_size: tuple[int, int]
    size: tuple[int, int]
    top: int
    left: int

    @classmethod
    def fit(cls, source_size: tuple[int, int], input_size: tuple[int, int]) -> Geometry:
        """Return how a picture fits an input; both sizes are (height, width) in px."""
        ratio = min(input_size[0] / source_size[0], input_size[1] / source_size[1])
        height, width = (
            min(limit, max(1, round(side * ratio)))
            for side, limit in zip(source_size, input_size, strict=True))
        return cls(source_size, (height, width),
                   (input_size[0] - height) // 2, (input_size[1] - width) // 2)

    @property
    def scale(self) -> tuple[float, float]:
        """Input pixels per source pixel, (horizontal, vertical); rounding sets them apart."""
        return self.size[1] / self.source_size[1], self.size[0] / self.source_size[0]

    @property
    def region(self) -> tuple[slice, slice]:
        """Rows and columns of the input that hold the picture."""
        return (slice(self.top, self.top + self.size[0]),
                slice(self.left, self.left + self.size[1]))

    def to_source(self, boxes: NDArray[np.float32]) -> NDArray[np.float32]:
        """
        Map boxes from the input to the picture, and cut off what lies outside of it.

        :param boxes: [N, 4]; left, top, right, bottom in input pixels.
        :returns: float32 [N, 4] in source pixels, clipped to the picture.
        """
        height, width = self.source_size
        offset = np.array((self.left, self.top) * 2, dtype=np.float32)
        scale = np.array(self.scale * 2, dtype=np.float32)
        limit = np.array((width, height) * 2, dtype=np.float32)
        return np.clip((boxes - offset) / scale, np.float32(0), limit)


class Letterbox:
    """
    Fits pictures into one input size.

    The result of a call lives in a canvas that the next call overwrites, or is the picture itself
    where nothing had to be changed. Read it; do not write to it.

    :param input_size: (height, width) of the network's input in px.
    """

    def __init__(self, input_size: tuple[int, int]) -> None:
        self._canvas = np.full((*input_size, 3), PADDING, dtype=np.uint8)
        self.geometry = Geometry.fit(input_size, input_size)

    def __call__(self, image: NDArray[np.uint8], *, colour: str = 'bgr') -> NDArray[np.uint8]:
        """
        Return a picture as network input.

        :param image: uint8 [H, W, 3], or [H, W] for a grey picture; any strides.
        :param colour: order of the channels: ``bgr``, ``rgb`` or ``mono``; a picture [H, W] is
            always grey.
        :returns: uint8 [h, w, 3], blue-green-red.
        :raises ImageError: if the picture has another type, shape or size.
        """
        conversion = COLOURS[check_picture(image, colour)]
        height, width = self._canvas.shape[:2]
        source_size = image.shape[0], image.shape[1]
        if source_size != self.geometry.source_size:
            self.geometry = Geometry.fit(source_size, (height, width))
            self._canvas.fill(PADDING)
        if conversion is None and source_size == (height, width) and image.flags.c_contiguous:
            return image
        region = self._canvas[self.geometry.region]
        size = self.geometry.size[::-1]
        if conversion is None:
            cv2.resize(image, size, dst=region, interpolation=cv2.INTER_LINEAR)
        else:
            # The channels are swapped on the small picture: fewer pixels, the same result.
            small = cv2.resize(image, size, interpolation=cv2.INTER_LINEAR)
            cv2.cvtColor(small, conversion, dst=region)
        return self._canvas

    def to_source(self, boxes: NDArray[np.float32]) -> NDArray[np.float32]:
        """Map boxes [N, 4] from the input to the last picture (see :class:`Geometry`)."""
        return self.geometry.to_source(boxes)


def check_picture(image: NDArray[np.uint8], colour: str) -> str:
    """
    Return the colour order of a picture; one without channels is grey, whatever was said.

    :raises ImageError: if the picture has another type, shape or size.
    """
    if not isinstance(image, np.ndarray) or image.dtype != np.uint8:
        kind = image.dtype if isinstance(image, np.ndarray) else type(image).__name__
        raise ImageError(f'picture of type {kind}: pass a numpy array of uint8, values 0 to 255')
    if colour not in COLOURS:
        raise ImageError(f'colour order {colour!r}: choose one of {", ".join(COLOURS)}')
    if image.ndim == 2:
        colour = 'mono'
    elif image.ndim != 3 or image.shape[2] != 3 or colour == 'mono':
        raise ImageError(
            f'{colour} picture of shape {image.shape}: pass [height, width, 3] as bgr or rgb, '
            'or [height, width] as mono; drop an alpha channel')
    if not 1 <= min(image.shape[:2]) <= max(image.shape[:2]) <= MAX_SIDE:
        raise ImageError(
            f'picture of {image.shape[1]} x {image.shape[0]} px: '
            f'each side must have 1 to {MAX_SIDE} px; scale or cut it first')
    return colour
