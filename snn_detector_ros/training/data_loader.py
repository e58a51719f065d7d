# SPDX-License-Identifier: Apache-2.0
"""
Draw, augment and batch training pictures.

Every random number comes from (seed, epoch, position), so a sample does not depend on which worker
makes it nor on what was drawn before: a resumed run sees the pictures that it would have seen.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from snn_detector_ros.datasets.image_folder import evenly_spread, read_bgr
from snn_detector_ros.datasets.labels import LabelledDataset, relative_boxes
from snn_detector_ros.training.augmentation import Augmentation, Picture, augment, letterbox

LARGEST_WEIGHT = 5.0

#: Enough boxes for the anchors; a large data set need not be decoded for them.
MEASURED_PICTURES = 10_000


@dataclass(frozen=True)
class Request:
    """What to make: picture ``index`` as it is, or augmented if ``random_key`` is given."""

    index: int
    size: int
    random_key: tuple[int, ...] | None = None
    mosaic: float = 0.0


class PictureCache(Dataset[tuple[Tensor, Tensor]]):
    """The pictures of a data set as uint8 RGB, decoded once and kept, or whenever they are used."""

    def __init__(
            self, dataset: LabelledDataset, *, largest_side: int,
            augmentation: Augmentation | None = None, keep: bool = True,
            progress: Iterable[int] | None = None) -> None:
        """
        Decode every picture.

        :param dataset: pictures and labels.
        :param largest_side: pictures with a longer side in px are reduced to it, to save memory.
        :param augmentation: ranges of the random changes.
        :param keep: hold all pictures in memory; otherwise each use decodes one anew.
        :param progress: an iterable over ``range(len(dataset))`` that shows progress.
        """
        self.augmentation = augmentation or Augmentation()
        self.weights = sampling_weights(dataset)
        self.dataset, self._largest_side = dataset, largest_side
        self._kept = [
            _load(dataset, index, largest_side)
            for index in (range(len(dataset)) if progress is None else progress)] if keep else None

    def __len__(self) -> int:
        return len(self.dataset)

    def picture(self, index: int) -> Picture:
        """Return one picture, at most ``largest_side`` px long."""
        if self._kept is not None:
            return self._kept[index]
        return _load(self.dataset, index, self._largest_side)

    def __getitem__(self, request: Request) -> tuple[Tensor, Tensor]:
        """Return uint8 [S, S, 3] RGB and float32 [M, 5]: class, cx, cy, w, h (0..1)."""
        if request.random_key is None:
            made = letterbox(self.picture(request.index), request.size)
        else:
            random = np.random.default_rng(request.random_key)
            indices = [request.index]
            if random.random() < request.mosaic:
                indices += self.draw(3, random).tolist()
            made = augment(
                [self.picture(k) for k in indices], request.size, self.augmentation, random)
        return torch.from_numpy(made.image), torch.from_numpy(made.labels)

    def draw(self, count: int, random: np.random.Generator) -> NDArray[np.int64]:
        """Draw picture indices by weight, with replacement: int64 [count]."""
        ends = np.cumsum(self.weights)
        return np.searchsorted(ends, random.random(count) * ends[-1], side='right')

    def box_sizes(self, size: int) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
        """
        Collect the box sizes as they appear after letterboxing.

        :param size: edge of the training picture in px.
        :returns: float32 [N, 2] width and height in px, float64 [N] weights of their pictures; of
            ``MEASURED_PICTURES`` evenly spread pictures if there are more.
        """
        sizes, weights = [], []
        for index in evenly_spread(range(len(self)), MEASURED_PICTURES):
            p = self.picture(index)
            sizes.append(
                p.labels[:, 3:5] * np.array(p.image.shape[1::-1], np.float32)
                * np.float32(size / max(p.image.shape[:2])))
            weights.append(np.full(len(p.labels), self.weights[index]))
        return np.concatenate(sizes), np.concatenate(weights)


def sampling_weights(dataset: LabelledDataset) -> NDArray[np.float64]:
    """
    Weigh pictures so that rare classes are seen more often.

    The weight of a picture is the largest, over its classes, of one over the square root of the
    share of pictures that hold the class, at most ``LARGEST_WEIGHT``.

    :returns: float64 [pictures], at least 1.
    """
    present = np.zeros((len(dataset), len(dataset.names)), bool)
    for row, sample in zip(present, dataset, strict=True):
        row[sample.classes] = True
    share = present.mean(0).clip(1 / max(len(dataset), 1))
    weights: NDArray[np.float64] = np.where(present, share ** -0.5, 1.0).max(1)
    return weights.clip(1.0, LARGEST_WEIGHT)


def training_requests(
        cache: PictureCache, *, seed: int, epoch: int, sizes: Sequence[int], batch: int,
        mosaic: float) -> list[Request]:
    """
    List what one epoch shows: as many draws as there are pictures.

    :param cache: the training pictures.
    :param seed: seed of the run.
    :param epoch: number of the epoch.
    :param sizes: edge of the pictures of each batch in px; one after another, over and over.
    :param batch: pictures a batch.
    :param mosaic: share of pictures that are mosaics of four.
    """
    drawn = cache.draw(len(cache), np.random.default_rng((seed, epoch)))
    return [
        Request(
            int(index), sizes[position // batch % len(sizes)], (seed, epoch, position), mosaic)
        for position, index in enumerate(drawn)]


def batches(
        cache: PictureCache, requests: Sequence[Request], *, batch: int, workers: int,
        whole_only: bool = False) -> DataLoader[tuple[Tensor, Tensor]]:
    """
    Iterate over batches.

    :param cache: the pictures.
    :param requests: what to make, in order.
    :param batch: pictures a batch.
    :param workers: processes that make pictures; 0 makes them in this one.
    :param whole_only: leave out a last batch that is not full.
    :returns: batches (uint8 [N, S, S, 3], float32 [M, 6]: place in the batch, class, cx, cy, w, h).
    """
    return DataLoader(
        cache, batch_size=batch, sampler=requests, num_workers=workers, collate_fn=_collate,
        drop_last=whole_only, worker_init_fn=_single_thread)


def to_input(images: Tensor) -> Tensor:
    """Turn uint8 [N, H, W, 3] into float [N, 3, H, W] in 0..1, channels last in memory."""
    return images.permute(0, 3, 1, 2).float().div_(255)


def _collate(samples: Sequence[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
    rows = [
        torch.cat((torch.full((len(labels), 1), float(place)), labels), 1)
        for place, (_, labels) in enumerate(samples)]
    return torch.stack([image for image, _ in samples]), torch.cat(rows)


def _single_thread(_: int) -> None:
    cv2.setNumThreads(0)


def _load(dataset: LabelledDataset, index: int, largest_side: int) -> Picture:
    sample = dataset[index]
    image = cv2.cvtColor(read_bgr(sample.path), cv2.COLOR_BGR2RGB).astype(np.uint8, copy=False)
    height, width = image.shape[:2]
    labels = relative_boxes(sample, (height, width))
    ratio = largest_side / max(height, width)
    if ratio < 1:
        image = cv2.resize(image, None, fx=ratio, fy=ratio, interpolation=cv2.INTER_AREA).astype(
            np.uint8, copy=False)
    return Picture(image, labels)
