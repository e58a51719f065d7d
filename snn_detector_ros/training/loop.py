# SPDX-License-Identifier: Apache-2.0
"""
The training loop: SGD with Nesterov momentum, averaged weights, a checkpoint after every epoch.

The run folder holds ``checkpoint.pt`` (everything that resuming needs), ``best.pt`` (the averaged
weights of the best epoch) and ``log.jsonl`` (one line an epoch). Killing the process costs no more
than the epoch it was in. Where several processes train together, the first one keeps the folder.
"""

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader
from tqdm import tqdm

from snn_detector_ros.errors import ConfigurationError
from snn_detector_ros.training.checkpoint import (
    CHECKPOINT_FILE,
    load_checkpoint,
    replace_file,
    save_checkpoint,
)
from snn_detector_ros.training.data_loader import (
    PictureCache,
    Request,
    batches,
    to_input,
    training_requests,
)
from snn_detector_ros.training.ema import AveragedModel
from snn_detector_ros.training.head import AnchorDetector
from snn_detector_ros.training.level_steps import LevelSteps
from snn_detector_ros.training.loss import DetectionLoss
from snn_detector_ros.training.processes import Processes
from snn_detector_ros.training.schedule import Schedule
from snn_detector_ros.training.spike_levels import set_steps, take_mean_level

Model = TypeVar('Model', bound=AnchorDetector)
Evaluate = Callable[[Model], dict[str, float]]
OnBest = Callable[[Model, dict[str, Any]], None]


@dataclass(frozen=True)
class TrainingOptions:
    """
    How to train; what changes during the run is in ``schedule``.

    ``batch`` counts the pictures of all processes together. ``firing_penalty`` is what the mean
    level of a neuron adds to the loss, for a network with levels.
    """

    schedule: Schedule
    batch: int = 16
    seed: int = 0
    workers: int = 1
    momentum: float = 0.937
    first_momentum: float = 0.8
    weight_decay: float = 5e-4
    warm_up_steps: int = 500
    warm_up_bias_rate: float = 0.1
    firing_penalty: float = 0.0
    gradient_norm: float = 10.0
    evaluate_every: int = 5


class Trainer(Generic[Model]):
    """One training run in one folder."""

    def __init__(
            self, model: Model, train: PictureCache, val: PictureCache, folder: Path,
            options: TrainingOptions, *, evaluate: Evaluate[Model] | None = None,
            on_best: OnBest[Model] | None = None, levels: LevelSteps | None = None,
            processes: Processes | None = None) -> None:
        """
        Prepare a run.

        :param model: the network, with initial weights.
        :param train: training pictures.
        :param val: validation pictures.
        :param folder: run folder; created if missing.
        :param options: how to train.
        :param evaluate: scores the averaged model every few epochs and after the last; the best
            epoch is the one with the largest ``map50``. Without it the validation loss decides.
        :param on_best: called with the averaged model and the epoch's record when it is the best.
        :param levels: chooses, before each epoch, the steps of a network with levels.
        :param processes: those that train together; this one alone if None.
        """
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self.options = options
        self.levels, self.processes = levels, processes or Processes()
        self.model = model.to(  # type: ignore[call-overload]
            self.processes.device, memory_format=torch.channels_last)
        self.average: AveragedModel[Model] = AveragedModel(self.model)
        self.parallel = self.processes.parallel(self.model)
        self.optimizer = _optimizer(self.model, options)
        # Half precision on CUDA; on a CPU it would be slower.
        self.is_mixed = self.processes.device.type == 'cuda'
        self.scaler = torch.amp.GradScaler(enabled=self.is_mixed)
        self.loss = DetectionLoss(
            model.head.anchors, model.head.outputs - 5, options.schedule.size,
            mean=self.processes.mean)
        self.train_pictures, self.val_pictures = train, val
        self.evaluate, self.on_best = evaluate, on_best
        self.epoch, self.steps = 0, 0
        self.progress, self.elapsed, self.pixel_seconds = 0.0, 0.0, 0.0
        self.best = -float('inf')

    @property
    def checkpoint(self) -> Path:
        """Path of the checkpoint."""
        return self.folder / CHECKPOINT_FILE

    @property
    def best_weights(self) -> Path:
        """Path of the averaged weights of the best epoch, with that epoch's record."""
        return self.folder / 'best.pt'

    @property
    def log(self) -> Path:
        """Path of the log."""
        return self.folder / 'log.jsonl'

    def resume(self) -> None:
        """
        Continue from the checkpoint of the run folder.

        :raises ConfigurationError: if it is missing, damaged or of another network.
        """
        state = load_checkpoint(self.checkpoint)
        try:
            self.model.load_state_dict(state['model'])
            self.average.model.load_state_dict(state['average'])
            self.average.updates = state['updates']
            self.optimizer.load_state_dict(state['optimizer'])
            for name, value in state['position'].items():
                setattr(self, name, value)
        except (RuntimeError, ValueError, KeyError) as error:
            raise ConfigurationError(
                f'{self.checkpoint} is of another network or release; train anew: {error}'
            ) from error
        lines = self.log.read_text().splitlines()[:self.epoch] if self.log.exists() else []
        replace_file(self.log, lambda file: file.write_text(''.join(f'{x}\n' for x in lines)))

    def run(self) -> None:
        """Train until progress reaches 1."""
        while self.progress < 1.0:
            self._one_epoch()

    def _one_epoch(self) -> None:
        start, schedule = time.monotonic(), self.options.schedule
        size = schedule.picture_size(self.progress)
        end = self.processes.agree(
            schedule.epoch_end(self.progress, self.epoch, self.elapsed, self.pixel_seconds))
        if self.levels is not None:
            self._set_steps(self.levels)
        record: dict[str, Any] = {'epoch': self.epoch, 'progress': round(end, 4), 'size': size}
        record |= self._train(end)
        if self.processes.is_first:
            record |= self._validate()
            if self.evaluate is not None and self._is_evaluated(end):
                record |= self.evaluate(self.average.model)
        seconds = time.monotonic() - start
        self.epoch, self.progress = self.epoch + 1, end
        self.elapsed, self.pixel_seconds = self.elapsed + seconds, seconds / size ** 2
        record |= {'rate': schedule.rate(end), 'seconds': round(seconds, 1)}
        if self.processes.is_first:
            self._record(record)

    def _set_steps(self, levels: LevelSteps) -> None:
        steps = self.processes.agree(
            levels.of(self.average.model) if self.processes.is_first else None)
        set_steps(self.model, steps)
        set_steps(self.average.model, steps)

    def _is_evaluated(self, end: float) -> bool:
        return end == 1.0 or (self.epoch + 1) % self.options.evaluate_every == 0

    def _record(self, record: dict[str, Any]) -> None:
        """Log the epoch and save what it gave; hand out the averaged model if it is the best."""
        nothing = -float('inf')
        score = -record['val_loss'] if self.evaluate is None else record.get('map50', nothing)
        is_best, self.best = score > self.best, max(score, self.best)
        with self.log.open('a') as log:
            log.write(json.dumps(record) + '\n')
        print(json.dumps(record), flush=True)
        position = ('epoch', 'steps', 'progress', 'elapsed', 'pixel_seconds', 'best')
        average = self.average.model.state_dict()
        # The best goes first: a kill in between repeats an epoch, and forgets none.
        if is_best:
            save_checkpoint(self.best_weights, {'average': average, 'record': record})
            if self.on_best is not None:
                self.on_best(self.average.model, record)
        save_checkpoint(self.checkpoint, {
            'model': self.model.state_dict(), 'average': average,
            'updates': self.average.updates, 'optimizer': self.optimizer.state_dict(),
            'position': {name: getattr(self, name) for name in position}})

    def _train(self, end: float) -> dict[str, float]:
        options, start = self.options, self.progress
        mosaic = options.schedule.mosaic_share(start)
        loader = self._loader(mosaic)
        self.model.train()
        sums = torch.zeros(4, device=self.processes.device)
        bar = tqdm(
            loader, desc=f'epoch {self.epoch} at {options.schedule.picture_size(start)} px',
            disable=None if self.processes.is_first else True)
        for step, batch in enumerate(bar):
            self._set_rates(start + (end - start) * step / len(loader))
            sums += self._step(*batch)
            bar.set_postfix(loss=f'{float(sums[:3].sum()) / (step + 1):.4f}', refresh=False)
        means = self.processes.mean(sums / len(loader)).cpu()
        level = {} if self.levels is None else {'mean_level': round(float(means[3]), 4)}
        return {'mosaic': mosaic, **_named('train', means[:3]), **level}

    def _loader(self, mosaic: float) -> DataLoader[tuple[Tensor, Tensor]]:
        """Return this process's part of the batches of the epoch."""
        options, pictures = self.options, self.train_pictures
        random = np.random.default_rng((options.seed, self.epoch, len(pictures)))
        sizes = options.schedule.batch_sizes(
            self.progress, -(-len(pictures) // options.batch), random)
        requests = training_requests(
            pictures, seed=options.seed, epoch=self.epoch, sizes=sizes, batch=options.batch,
            mosaic=mosaic)
        return batches(
            pictures, self.processes.part(requests, options.batch),
            batch=options.batch // self.processes.count, workers=options.workers,
            whole_only=len(requests) >= options.batch)

    def _step(self, images: Tensor, targets: Tensor) -> Tensor:
        """Learn from one batch; return the parts of its loss, and the mean level of neurons."""
        options, device = self.options, self.processes.device
        with torch.autocast(device.type, enabled=self.is_mixed):
            maps = self.parallel(to_input(images.to(device, non_blocking=True)))
        parts = self.loss([y.float() for y in maps], targets.to(device))
        level = take_mean_level(self.model).to(device)
        loss = sum(parts, options.firing_penalty * level)
        # The sum over the batch, not the mean, as the published learning rates expect.
        count = len(images) * self.processes.count
        self.scaler.scale(loss * count).backward()
        self.scaler.unscale_(self.optimizer)
        nn.utils.clip_grad_norm_(self.model.parameters(), options.gradient_norm * count)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.optimizer.zero_grad()
        self.average.update(self.model)
        self.steps += 1
        return torch.stack((*parts, level)).detach()

    @torch.no_grad()
    def _validate(self) -> dict[str, float]:
        size = self.options.schedule.size
        requests = [Request(index, size) for index in range(len(self.val_pictures))]
        loader = batches(
            self.val_pictures, requests, batch=self.options.batch, workers=self.options.workers)
        device = self.processes.device
        loss = DetectionLoss(
            self.model.head.anchors, self.model.head.outputs - 5, size)
        sums = torch.zeros(3)
        for images, targets in loader:
            parts = loss(self.average.model(to_input(images.to(device))), targets.to(device))
            sums += torch.stack(parts).cpu() * len(images)
        return _named('val', sums / len(requests))

    def _set_rates(self, progress: float) -> None:
        options = self.options
        rate = options.schedule.rate(progress)
        warm = min(self.steps / max(options.warm_up_steps, 1), 1.0)
        for group in self.optimizer.param_groups:
            first = options.warm_up_bias_rate if group['bias'] else 0.0
            group['lr'] = first + (rate - first) * warm
            group['momentum'] = (
                options.first_momentum + (options.momentum - options.first_momentum) * warm)


def prepare_torch(*, seed: int, threads: int) -> None:
    """
    Make a run repeatable, and take as many cores as allowed.

    :param seed: of the initial weights.
    :param threads: threads of torch; 0 leaves its own choice.
    """
    torch.manual_seed(seed)
    if threads:
        torch.set_num_threads(threads)


def _named(split: str, sums: Tensor) -> dict[str, float]:
    box, objectness, classes = (round(float(x), 5) for x in sums)
    return {
        f'{split}_loss': round(float(sums.sum()), 5), f'{split}_box': box,
        f'{split}_objectness': objectness, f'{split}_classes': classes}


def _optimizer(model: nn.Module, options: TrainingOptions) -> torch.optim.Optimizer:
    """Decay the weights of convolutions only; biases warm up from a high rate."""
    named = list(model.named_parameters())
    biases = [p for name, p in named if name.endswith('bias')]
    scales = [p for name, p in named if not name.endswith('bias') and p.ndim == 1]
    weights = [p for name, p in named if p.ndim > 1]
    groups = [
        {'params': biases, 'weight_decay': 0.0, 'bias': True},
        {'params': scales, 'weight_decay': 0.0, 'bias': False},
        {'params': weights, 'weight_decay': options.weight_decay, 'bias': False}]
    return torch.optim.SGD(
        groups, lr=options.schedule.learning_rate, momentum=options.momentum, nesterov=True)
