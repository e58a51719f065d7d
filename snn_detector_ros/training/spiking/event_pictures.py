# SPDX-License-Identifier: Apache-2.0
"""Windows of simulated events with boxes, made as training asks for them."""

from collections.abc import Iterable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from snn_detector_ros.datasets.labels import LabelledDataset
from snn_detector_ros.datasets.simulated_windows import (
    FIXED_KEY,
    EventWindowOptions,
    GreyPicture,
    fixed_window,
    make_window,
    read_grey,
)
from snn_detector_ros.training.data_loader import PictureCache, Request


def frame_size(width: int) -> tuple[int, int]:
    """Return height and width of the frames: 3/4 of the width, up to a multiple of 32 px."""
    return -(-width * 3 // 4 // 32) * 32, width


class EventPictures(PictureCache):
    """A data set whose samples are windows of events; a request's ``size`` is their width."""

    def __init__(
            self, dataset: LabelledDataset, *, largest_side: int, options: EventWindowOptions,
            progress: Iterable[int] | None = None) -> None:
        """
        Decode every picture, in grey; see ``PictureCache``.

        :param options: what windows look like.
        """
        super().__init__(dataset, largest_side=largest_side, keep=False)
        self.options = options
        self.grey: list[GreyPicture] = [
            read_grey(dataset[index], largest_side)
            for index in (range(len(dataset)) if progress is None else progress)]

    def __getitem__(self, request: Request) -> tuple[Tensor, Tensor]:
        """Return uint8 [H, W, T] frames and float32 [M, 5]: class, cx, cy, w, h (0..1)."""
        frames, labels = self.window(request)
        return torch.from_numpy(np.ascontiguousarray(frames.transpose(1, 2, 0))), \
            torch.from_numpy(labels)

    def window(self, request: Request) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
        """Return the same as uint8 [T, H, W] and float32 [M, 5]; fixed without a random key."""
        size = frame_size(request.size)
        if request.random_key is None:
            return fixed_window(self.grey[request.index], request.index, size, self.options)
        random = np.random.default_rng(request.random_key)
        indices = [request.index]
        if random.random() < request.mosaic:
            indices += self.draw(3, random).tolist()
        return make_window(
            [self.grey[k] for k in indices], size, self.options, random,
            most_zoom=self.options.most_zoom)

    def box_sizes(self, size: int) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
        """
        Collect the box sizes of 1000 windows.

        :param size: width of the frames in px.
        :returns: float32 [N, 2] width and height in px, float64 [N] equal weights.
        """
        height, width = frame_size(size)
        drawn = self.draw(1000, np.random.default_rng(FIXED_KEY))
        labels = [
            self.window(Request(int(index), size, (FIXED_KEY, number)))[1]
            for number, index in enumerate(drawn)]
        sizes = np.concatenate(labels)[:, 3:5] * np.array([width, height], np.float32)
        return sizes, np.ones(len(sizes))
