# SPDX-License-Identifier: Apache-2.0
"""How much boxes overlap, and which belong together."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def overlaps(one: NDArray[np.float32], other: NDArray[np.float32]) -> NDArray[np.float64]:
    """
    Return the intersection over union of each pair of boxes.

    :param one: [N, 4]; left, top, right, bottom in px.
    :param other: [M, 4].
    :returns: float64 [N, M]; 0 for boxes without an area.
    """
    first, second = (boxes.astype(np.float64) for boxes in (one, other))
    low = np.maximum(first[:, None, :2], second[None, :, :2])
    high = np.minimum(first[:, None, 2:], second[None, :, 2:])
    common = np.clip(high - low, 0, None).prod(axis=2)
    total = _areas(first)[:, None] + _areas(second)[None, :] - common
    return np.divide(common, total, out=np.zeros_like(common), where=total > 0)


def pair(overlap: NDArray[np.float64], least: float) -> NDArray[np.intp]:
    """
    Pair rows with columns greedily, in the order of the rows.

    :param overlap: float64 [N, M], e.g. of :func:`overlaps`; rows with better scores first.
    :param least: pairs below are none.
    :returns: the column of each row, -1 for none, intp [N].
    """
    free = overlap.copy()
    columns = np.full(len(overlap), -1, np.intp)
    for row in range(len(overlap)):
        if not free.shape[1]:
            break
        column = int(free[row].argmax())
        if free[row, column] >= least:
            columns[row] = column
            free[:, column] = -1
    return columns


def _areas(boxes: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.clip(boxes[:, 2:] - boxes[:, :2], 0, None).prod(axis=1)
