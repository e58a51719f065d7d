# SPDX-License-Identifier: Apache-2.0
"""Choose anchors for a data set: k-means on the box sizes, under the IoU of centred boxes."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Anchors = tuple[tuple[tuple[float, float], ...], ...]


def kmeans_anchors(
        sizes: NDArray[np.float32], weights: NDArray[np.float64], *, levels: int = 3,
        per_level: int = 3, iterations: int = 100) -> Anchors:
    """
    Cluster box sizes; deterministic, starting from evenly spaced quantiles of the area.

    :param sizes: float32 [N, 2], width and height in px at the training size.
    :param weights: float64 [N], how often each box is drawn in training.
    :param levels: number of pyramid levels.
    :param per_level: anchors a level.
    :param iterations: upper limit of k-means rounds.
    :returns: [levels][per_level] pairs (width, height) in px, smallest area first, in whole px.
    :raises ValueError: if there are fewer boxes than anchors.
    """
    count = levels * per_level
    if len(sizes) < count:
        raise ValueError(f'{len(sizes)} boxes are too few for {count} anchors')
    by_area = sizes[np.argsort(sizes.prod(1), kind='stable')].astype(np.float64)
    centres = by_area[((np.arange(count) + 0.5) / count * len(by_area)).astype(np.int64)]
    previous = np.full(len(sizes), -1)
    for _ in range(iterations):
        nearest = _centred_iou(sizes, centres).argmax(1)
        if np.array_equal(nearest, previous):
            break
        previous = nearest
        for k in range(count):
            mine = nearest == k
            if mine.any():
                centres[k] = np.average(sizes[mine], axis=0, weights=weights[mine])
    ordered = np.round(centres[np.argsort(centres.prod(1))]).clip(1)
    return as_anchors(ordered.reshape(levels, per_level, 2).tolist())


def as_anchors(values: Sequence[Sequence[Sequence[float]]]) -> Anchors:
    """Freeze nested lists [levels][anchors][2] into the tuple form."""
    return tuple(tuple((float(w), float(h)) for w, h in level) for level in values)


def _centred_iou(
        sizes: NDArray[np.float32], centres: NDArray[np.float64]) -> NDArray[np.float64]:
    overlap = np.minimum(sizes[:, None], centres[None]).prod(2)
    return np.asarray(overlap / (sizes.prod(1)[:, None] + centres.prod(1)[None] - overlap))
