# SPDX-License-Identifier: Apache-2.0
"""
How a picture of any size becomes the input of a network, as tables for a kernel.

Bilinear, exactly as OpenCV's ``resize`` does it for bytes: weights of 11 bits, computed in float32,
columns first, rows with 4 bits less. So a GPU and a CPU see the same pixels, and find the same
boxes.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

#: Weights are multiples of 1 / 2048.
WEIGHT_ONE = 1 << 11
#: Byte of blue, green and red in a pixel of each colour order.
COLOURS = {'bgr': (0, 1, 2), 'rgb': (2, 1, 0), 'mono': (0, 0, 0)}


@dataclass(frozen=True)
class Fit:
    """
    Where a picture lies in the network's input.

    :param source_size: (height, width) of the picture in px.
    :param size: (height, width) of the scaled picture in px.
    :param top: rows of padding above it; ``left``: columns left of it.
    :param colour: a key of :data:`COLOURS`.
    :param padding: grey value around it.
    """

    source_size: tuple[int, int]
    size: tuple[int, int]
    top: int = 0
    left: int = 0
    colour: str = 'bgr'
    padding: int = 0

    @property
    def source_channels(self) -> int:
        """Bytes of a pixel of the picture."""
        return 1 if self.colour == 'mono' else 3

    def rows(self) -> NDArray[np.int32]:
        """Return, of each scaled row, the two rows it lies between and the weight of the second."""
        return _taps(self.source_size[0], self.size[0], whole_edges=False)

    def columns(self) -> NDArray[np.int32]:
        """Return the same of each scaled column."""
        return _taps(self.source_size[1], self.size[1], whole_edges=True)


def _taps(source: int, size: int, *, whole_edges: bool) -> NDArray[np.int32]:
    """
    Return what each place of a scaled line reads.

    :param source: places of the line; ``size``: of the scaled line.
    :param whole_edges: whether places beyond the ends have one part instead of two equal ones,
        which are rounded apart.
    :returns: int32 [size, 3]: first place, second place, weight of the second of 2048.
    """
    place = ((np.arange(size) + 0.5) * (source / size) - 0.5).astype(np.float32)
    first = np.floor(place).astype(np.int32)
    part = place - first.astype(np.float32)
    if whole_edges:
        part[(first < 0) | (first >= source - 1)] = 0
    weight = np.rint(part * np.float32(WEIGHT_ONE)).astype(np.int32)
    return np.stack([first.clip(0, source - 1), (first + 1).clip(0, source - 1), weight], axis=1)


def fit_picture(image: NDArray[np.uint8], fit: Fit, input_size: tuple[int, int]) -> (
        NDArray[np.uint8]):
    """
    Fit a picture into an input: the slow twin of the kernel.

    :param image: uint8 [H, W, 3], or [H, W] if mono.
    :returns: uint8 [h, w, 3], blue-green-red.
    """
    pixels = image.reshape(*fit.source_size, -1)[..., COLOURS[fit.colour]].astype(np.int64)
    left, right, across = fit.columns().T
    up, down, along = fit.rows().T
    across, along = across[:, None], along[:, None, None]
    lines = pixels[:, left] * (WEIGHT_ONE - across) + pixels[:, right] * across
    parts = [(weight * (lines[rows] >> 4)) >> 16
             for rows, weight in ((up, WEIGHT_ONE - along), (down, along))]
    canvas = np.full((*input_size, 3), fit.padding, dtype=np.uint8)
    canvas[fit.top:fit.top + fit.size[0], fit.left:fit.left + fit.size[1]] = (
        parts[0] + parts[1] + 2) >> 2
    return canvas
