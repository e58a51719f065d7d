# SPDX-License-Identifier: Apache-2.0
"""What a labelled data set is to those who use it, whatever files it lies in."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from snn_detector_ros.datasets.image_folder import evenly_spread

#: An edge of a box beyond this many px is a mistake in the file.
FARTHEST_EDGE = 1e6


class Role(IntEnum):
    """What a labelled box asks of a detector."""

    #: Find it.
    OBJECT = 0
    #: Finding it neither helps nor hurts: ``difficult`` of VOC, ``ignore`` of COCO files.
    IGNORED = 1
    #: A region of many; nothing found inside of it helps or hurts: ``iscrowd`` of COCO.
    CROWD = 2


class LabelledPicture(Protocol):
    """One picture with its boxes."""

    @property
    def path(self) -> Path:
        """The picture file."""
        ...

    @property
    def classes(self) -> NDArray[np.int64]:
        """Class of each box, an index into the names of the data set, int64 [N]."""
        ...

    @property
    def roles(self) -> NDArray[np.uint8]:
        """A :class:`Role` for each box, uint8 [N]."""
        ...

    def corners(self, size: tuple[int, int]) -> NDArray[np.float32]:
        """
        Return left, top, right and bottom of each box in px, float32 [N, 4].

        :param size: (height, width) of the decoded picture in px.
        """
        ...


def relative_boxes(picture: LabelledPicture, size: tuple[int, int]) -> NDArray[np.float32]:
    """
    Return the objects to be found, as training takes them.

    :param size: (height, width) of the decoded picture in px.
    :returns: float32 [N, 5]: class, cx, cy, w, h (0..1).
    """
    corners = picture.corners(size) / np.array(size[::-1] * 2, np.float32)
    return np.concatenate((
        picture.classes[:, None], (corners[:, :2] + corners[:, 2:]) / 2,
        corners[:, 2:] - corners[:, :2]), 1).astype(np.float32)[picture.roles == Role.OBJECT]


class LabelledDataset(Protocol):
    """Labelled pictures in a fixed order."""

    @property
    def names(self) -> tuple[str, ...]:
        """Class names, by index."""
        ...

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> LabelledPicture: ...

    def __iter__(self) -> Iterator[LabelledPicture]: ...


@dataclass(frozen=True, eq=False)
class PixelLabels:
    """
    A picture whose labels were written in its pixels, as COCO and VOC do.

    :param boxes: float32 [N, 4]; left, top, right, bottom in px.
    :param classes: int64 [N].
    :param roles: uint8 [N], values of :class:`Role`.
    """

    path: Path
    boxes: NDArray[np.float32]
    classes: NDArray[np.int64]
    roles: NDArray[np.uint8]

    def corners(self, size: tuple[int, int]) -> NDArray[np.float32]:
        return self.boxes


class PictureList:
    """
    Labelled pictures that are all in memory, without their pixels.

    :param names: class names, by index.
    :param pictures: the pictures, in order.
    """

    def __init__(self, names: tuple[str, ...], pictures: list[LabelledPicture]) -> None:
        self.names = names
        self._pictures = pictures

    def __len__(self) -> int:
        return len(self._pictures)

    def __getitem__(self, index: int) -> LabelledPicture:
        return self._pictures[index]

    def __iter__(self) -> Iterator[LabelledPicture]:
        return iter(self._pictures)


def limited(dataset: LabelledDataset, limit: int | None) -> LabelledDataset:
    """
    Return at most ``limit`` pictures of a data set, evenly spread over it; all of them if None.

    :raises ConfigurationError: if the limit is below 1.
    """
    if limit is None:
        return dataset
    return PictureList(dataset.names, evenly_spread(list(dataset), limit))
