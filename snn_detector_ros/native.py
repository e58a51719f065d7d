# SPDX-License-Identifier: Apache-2.0
"""
Loops over whole pictures and levels, in C where the compiled module is there, else in numpy.

The numpy twins are the definition; they cost about 10 ms a frame more.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

try:
    from snn_detector_ros import _native
except ImportError:
    _native = None  # type: ignore[assignment]

HAVE_NATIVE = _native is not None


def count_spikes_numpy(
    tensors: list[NDArray[np.uint8]], digit_table: NDArray[np.uint8],
) -> NDArray[np.int64]:
    """Return the spikes of each tensor and step, int64 [N, T]; see :func:`count_spikes`."""
    histograms = [np.bincount(levels.ravel(), minlength=256) for levels in tensors]
    return np.array(histograms).reshape(-1, 256) @ digit_table.T.astype(np.int64)


def count_spikes(
    tensors: list[NDArray[np.uint8]], digit_table: NDArray[np.uint8],
) -> NDArray[np.int64]:
    """
    Count the spikes of each time step that tensors of levels stand for.

    :param tensors: N arrays of uint8, any shape, C-contiguous.
    :param digit_table: spikes of each step for each level, uint8 [T, 256].
    :returns: spikes of each tensor and step, int64 [N, T].
    """
    if _native is None:
        return count_spikes_numpy(tensors, digit_table)
    counts = np.empty((len(tensors), len(digit_table)), dtype=np.int64)
    _native.count_spikes(tensors, digit_table, counts)
    return counts


def space_to_depth_numpy(image: NDArray[np.uint8], out: NDArray[np.uint8]) -> None:
    """Rearrange 2x2 blocks into channels; see :func:`space_to_depth`."""
    height, width, channels = image.shape
    blocks = image.reshape(height // 2, 2, width // 2, 2 * channels)
    out.reshape(height // 2, width // 2, 2, 2 * channels)[...] = blocks.transpose(0, 2, 1, 3)


def space_to_depth(image: NDArray[np.uint8], out: NDArray[np.uint8]) -> None:
    """
    Rearrange each 2x2 block of pixels into one cell with channels (dy, dx, c).

    :param image: uint8 [H, W, C]; H and W even.
    :param out: uint8 array of H * W * C elements, C-contiguous; is overwritten.
    """
    if _native is None:
        space_to_depth_numpy(image, out)
    else:
        _native.space_to_depth(np.ascontiguousarray(image), *image.shape, out)
