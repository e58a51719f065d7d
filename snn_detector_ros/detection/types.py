# SPDX-License-Identifier: Apache-2.0
"""What a detector returns: boxes in source pixels with scores and classes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Detection:
    """
    One found object.

    :param box: left, top, right and bottom edge in source pixels.
    :param score: confidence, 0 to 1.
    :param class_id: index of the class.
    :param class_name: name of the class.
    """

    box: tuple[float, float, float, float]
    score: float
    class_id: int
    class_name: str


@dataclass(frozen=True, eq=False)
class Detections:
    """
    All objects found in one picture, best first.

    :param boxes: float32 [N, 4]; left, top, right, bottom in source pixels, inside the picture.
    :param scores: float32 [N], descending.
    :param classes: int64 [N].
    :param names: the names of all classes, by index.
    """

    boxes: NDArray[np.float32]
    scores: NDArray[np.float32]
    classes: NDArray[np.int64]
    names: tuple[str, ...]

    @classmethod
    def empty(cls, names: tuple[str, ...] = ()) -> Detections:
        """Return the detections of a picture that shows nothing."""
        return cls(
            np.empty((0, 4), dtype=np.float32), np.empty(0, dtype=np.float32),
            np.empty(0, dtype=np.int64), names)

    def name_of(self, class_id: int) -> str:
        """Return the name of a class; its number where the model has no name for it."""
        return self.names[class_id] if class_id < len(self.names) else str(class_id)

    def __len__(self) -> int:
        return len(self.scores)

    def __iter__(self) -> Iterator[Detection]:
        for box, score, class_id in zip(
                self.boxes.tolist(), self.scores.tolist(), self.classes.tolist(), strict=True):
            yield Detection(tuple(box), score, class_id, self.name_of(class_id))
