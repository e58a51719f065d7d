# SPDX-License-Identifier: Apache-2.0
"""
Plan a run by epochs or by the clock.

Progress runs from 0 to 1 and drives the learning rate, the picture size and the mosaics. With a
number of epochs each epoch is an equal part of it; with a time limit each epoch takes the part of
the remaining time that it is measured to need, so the learning rate always reaches its end.
"""

import math
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Schedule:
    """
    What changes during a run.

    The learning rate falls from ``learning_rate`` to ``last_rate`` times that along a cosine. The
    first ``small_part`` of the run uses pictures of ``small_size`` px, the rest ``size`` px; the
    last ``plain_part`` has no mosaics, so that the network ends on pictures as they come. Before
    that part, each batch has a size of its own, up to ``multi_scale`` times the size away from it.
    """

    epochs: int
    size: int
    small_size: int
    small_part: float = 0.0
    multi_scale: float = 0.0
    plain_part: float = 0.2
    mosaic: float = 0.5
    learning_rate: float = 0.01
    last_rate: float = 0.01
    time_limit: float | None = None

    def picture_size(self, progress: float) -> int:
        """Return the edge of the training pictures in px."""
        return self.small_size if progress < self.small_part else self.size

    def batch_sizes(
            self, progress: float, count: int, random: np.random.Generator) -> list[int]:
        """
        Return the edge in px of the pictures of each batch, multiples of 32.

        :param progress: where the epoch starts.
        :param count: number of batches.
        :param random: source of the sizes, if they differ.
        """
        size = self.picture_size(progress)
        spread = self.multi_scale if progress < 1 - self.plain_part else 0.0
        least, most = (round(size * (1 + sign * spread) / 32) for sign in (-1, 1))
        return (random.integers(max(least, 1), most + 1, count) * 32).tolist()

    def mosaic_share(self, progress: float) -> float:
        """Return the share of mosaics among the training pictures."""
        return self.mosaic if progress < 1 - self.plain_part else 0.0

    def rate(self, progress: float) -> float:
        """Return the learning rate at a progress in 0..1."""
        fall = (1 + math.cos(math.pi * min(max(progress, 0.0), 1.0))) / 2
        return self.learning_rate * (self.last_rate + (1 - self.last_rate) * fall)

    def epoch_end(
            self, progress: float, epoch: int, elapsed: float, pixel_seconds: float) -> float:
        """
        Return the progress that the next epoch ends at.

        :param progress: where it starts.
        :param epoch: its number, from 0.
        :param elapsed: seconds used so far.
        :param pixel_seconds: measured seconds an epoch for each px^2 of picture; 0 if unknown.
        """
        left = max(self.epochs - epoch, 1)
        if self.time_limit is not None and pixel_seconds > 0:
            seconds = pixel_seconds * self.picture_size(progress) ** 2
            left = max(round((self.time_limit - elapsed) / seconds), 1)
        return 1.0 if left == 1 else progress + (1 - progress) / left
