# SPDX-License-Identifier: Apache-2.0
"""
Train a classifier of small pictures: SGD, a cosine schedule, shifted and mirrored pictures.

The run folder holds ``checkpoint.pt`` (after every epoch) and ``log.jsonl`` (one line an epoch).
"""

import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, pad
from tqdm import tqdm

from snn_detector_ros.datasets.cifar10 import LabelledPictures
from snn_detector_ros.errors import ConfigurationError
from snn_detector_ros.training.checkpoint import (
    CHECKPOINT_FILE,
    load_checkpoint,
    replace_file,
    save_checkpoint,
)
from snn_detector_ros.training.schedule import Schedule

#: Mean and deviation of the colours of CIFAR-10's training pictures, in 0..1.
MEAN, DEVIATION = (0.491, 0.482, 0.447), (0.247, 0.243, 0.262)
#: Pictures are moved by up to so many px.
SHIFT = 4


@dataclass(frozen=True)
class ClassifierOptions:
    """How to train; the learning rate and the length of the run are in ``schedule``."""

    schedule: Schedule
    batch: int = 64
    seed: int = 0
    momentum: float = 0.9
    weight_decay: float = 5e-4


class ClassifierTrainer:
    """One training run in one folder."""

    def __init__(
            self, model: nn.Module, train: LabelledPictures, test: LabelledPictures, folder: Path,
            options: ClassifierOptions) -> None:
        """
        Prepare a run.

        :param model: from float [N, 3, 32, 32] to logits [N, classes].
        :param train: training pictures.
        :param test: pictures to measure the accuracy on, after each epoch.
        :param folder: run folder; created if missing.
        :param options: how to train.
        """
        self.folder, self.options = folder, options
        folder.mkdir(parents=True, exist_ok=True)
        self.model = model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.train_set, self.test_set = _tensors(train), _tensors(test)
        self.optimizer = torch.optim.SGD(
            model.parameters(), lr=options.schedule.learning_rate, momentum=options.momentum,
            weight_decay=options.weight_decay, nesterov=True)
        self.epoch, self.progress, self.elapsed, self.pixel_seconds = 0, 0.0, 0.0, 0.0

    def resume(self) -> None:
        """
        Continue from the checkpoint of the run folder.

        :raises ConfigurationError: if it is missing, damaged or of another network.
        """
        file = self.folder / CHECKPOINT_FILE
        state = load_checkpoint(file)
        try:
            self.model.load_state_dict(state['model'])
            self.optimizer.load_state_dict(state['optimizer'])
            for name, value in state['position'].items():
                setattr(self, name, value)
        except (RuntimeError, ValueError, KeyError) as error:
            raise ConfigurationError(
                f'{file} is of another network or release; train anew: {error}') from error
        log = self.folder / 'log.jsonl'
        lines = log.read_text().splitlines()[:self.epoch] if log.exists() else []
        replace_file(log, lambda path: path.write_text(''.join(f'{x}\n' for x in lines)))

    def run(self) -> None:
        """Train until progress reaches 1."""
        while self.progress < 1.0:
            self._one_epoch()

    def _one_epoch(self) -> None:
        start, schedule = time.monotonic(), self.options.schedule
        end = schedule.epoch_end(self.progress, self.epoch, self.elapsed, self.pixel_seconds)
        loss = self._train(end)
        record: dict[str, Any] = {
            'epoch': self.epoch, 'progress': round(end, 4), 'train_loss': round(loss, 5),
            'accuracy': round(self.accuracy(), 4)}
        seconds = time.monotonic() - start
        self.epoch, self.progress = self.epoch + 1, end
        self.elapsed, self.pixel_seconds = self.elapsed + seconds, seconds / schedule.size ** 2
        record['seconds'] = round(seconds, 1)
        print(json.dumps(record), flush=True)
        with (self.folder / 'log.jsonl').open('a') as log:
            log.write(json.dumps(record) + '\n')
        position = ('epoch', 'progress', 'elapsed', 'pixel_seconds')
        save_checkpoint(self.folder / CHECKPOINT_FILE, {
            'model': self.model.state_dict(), 'optimizer': self.optimizer.state_dict(),
            'position': {name: getattr(self, name) for name in position}, 'record': record})

    def _train(self, end: float) -> float:
        options, start = self.options, self.progress
        images, labels = self.train_set
        generator = torch.Generator().manual_seed(options.seed * 100_003 + self.epoch)
        batches = torch.randperm(len(labels), generator=generator).split(options.batch)
        self.model.train()
        total = 0.0
        for step, chosen in enumerate(tqdm(batches, desc=f'epoch {self.epoch}', disable=None)):
            rate = options.schedule.rate(start + (end - start) * step / len(batches))
            for group in self.optimizer.param_groups:
                group['lr'] = rate
            pictures = shifted_and_mirrored(images[chosen], generator)
            loss = cross_entropy(self.model(to_input(pictures)), labels[chosen])
            self.optimizer.zero_grad()
            loss.backward()
            self.optimizer.step()
            total += float(loss.detach()) * len(chosen)
        return total / len(labels)

    @torch.no_grad()
    def accuracy(self) -> float:
        """Return the share of test pictures that are classified right."""
        self.model.eval()
        images, labels = self.test_set
        right = 0
        for part in torch.arange(len(labels)).split(self.options.batch):
            right += int((self.model(to_input(images[part])).argmax(1) == labels[part]).sum())
        return right / len(labels)


def to_input(images: Tensor) -> Tensor:
    """Turn uint8 [N, H, W, 3] into normalised float [N, 3, H, W], channels last in memory."""
    scaled = (images.float() / 255 - torch.tensor(MEAN)) / torch.tensor(DEVIATION)
    return scaled.permute(0, 3, 1, 2)


def shifted_and_mirrored(images: Tensor, generator: torch.Generator) -> Tensor:
    """
    Move each picture by up to ``SHIFT`` px on black, and mirror every other one.

    :param images: uint8 [N, H, W, 3].
    :param generator: source of all random numbers.
    """
    count, height, width, _ = images.shape
    framed = pad(images, (0, 0, SHIFT, SHIFT, SHIFT, SHIFT))
    corner = torch.randint(0, 2 * SHIFT + 1, (2, count, 1), generator=generator)
    rows = corner[0] + torch.arange(height)
    columns = corner[1] + torch.arange(width)
    mirrored = torch.rand(count, 1, generator=generator) < 0.5
    columns = torch.where(mirrored, columns.flip(1), columns)
    return framed[torch.arange(count)[:, None, None], rows[:, :, None], columns[:, None, :]]


def _tensors(pictures: LabelledPictures) -> tuple[Tensor, Tensor]:
    return torch.from_numpy(pictures.images.copy()), torch.from_numpy(pictures.labels)
