# SPDX-License-Identifier: Apache-2.0
"""``snn-detector train-events``: train an EMS-YOLO on events simulated from labelled pictures."""

import argparse
import json
from collections.abc import Sequence
from dataclasses import asdict, replace
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from snn_detector_ros.errors import ConfigurationError, MissingDependencyError
from snn_detector_ros.evaluation.coco import GroundTruth, average_precision

if TYPE_CHECKING:
    from snn_detector_ros.training.spiking.ems_yolo import EmsYolo
    from snn_detector_ros.training.spiking.event_pictures import EventPictures

#: Keys of ``training.spiking.ems_yolo.SIZES``, which cannot be imported without torch.
MODEL_NAMES = ('ems-res10-narrow', 'ems-res10', 'ems-res18', 'ems-res34', 'ems-res34-cat')
REQUIRED = (('torch', 'torch'), ('faster_coco_eval', 'faster-coco-eval'))
#: What fixes the network and its data: kept in the run folder, so that resuming cannot change it.
SETTINGS_FILE = 'settings.json'

#: Frames, uint8 [T, H, W], and their objects.
Sample: TypeAlias = tuple[NDArray[np.uint8], GroundTruth]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of this command."""
    parser.add_argument('--data', type=Path, required=True, help='data.yaml in the YOLO layout')
    parser.add_argument('--out', type=Path, required=True, help='run folder')
    parser.add_argument('--resume', action='store_true', help='continue the run in --out')
    parser.add_argument('--model', choices=MODEL_NAMES, default=MODEL_NAMES[0])
    parser.add_argument('--width', type=float, help='multiple of all channels of the model')
    parser.add_argument('--bins', type=int, default=4, help='T, time steps of a window')
    parser.add_argument('--bin-length', type=float, default=10.0, metavar='MS')
    parser.add_argument(
        '--size', type=int, default=256, help='width of the input, px; its height is 3/4 of it')
    parser.add_argument('--epochs', type=int, default=50)
    parser.add_argument(
        '--time-limit', type=float, metavar='MINUTES',
        help='fit the learning rate schedule into this time instead of into --epochs')
    parser.add_argument('--batch', type=int, default=16)
    parser.add_argument('--learning-rate', type=float, default=0.01)
    parser.add_argument('--mosaic', type=float, default=0.3, help='share of mosaics, 0..1')
    parser.add_argument(
        '--test', type=Path, metavar='FOLDER',
        help='real events (events/*.npy, labels/*.txt) to score the best network on at the end')
    parser.add_argument(
        '--test-sensor', type=int, nargs=2, default=(346, 260), metavar=('WIDTH', 'HEIGHT'))
    parser.add_argument('--seed', type=int, default=0)
    parser.add_argument('--threads', type=int, default=0, help='threads of torch; 0: its choice')
    parser.add_argument('--workers', type=int, default=1, help='processes that simulate')


def run(args: argparse.Namespace) -> int:
    """
    Train.

    :param args: options of ``add_arguments``.
    :returns: exit status.
    :raises MissingDependencyError: if torch or the scorer of the val split is not installed.
    :raises DatasetError: if the data set is malformed.
    :raises ConfigurationError: if an option cannot work.
    """
    for module, package in REQUIRED:
        if find_spec(module) is None:
            raise MissingDependencyError(package, 'train')
    _check(args)
    from snn_detector_ros.training.checkpoint import load_checkpoint
    from snn_detector_ros.training.loop import (
        CHECKPOINT_FILE,
        Trainer,
        TrainingOptions,
        prepare_torch,
    )
    from snn_detector_ros.training.schedule import Schedule

    if not args.resume and (args.out / CHECKPOINT_FILE).exists():
        raise ConfigurationError(f'{args.out} holds a run; add --resume or choose another --out')
    prepare_torch(seed=args.seed, threads=args.threads)
    train, val = _pictures(args, 'train'), _pictures(args, 'val')
    names = tuple(train.dataset.names)
    model = _model(args, names, train)
    schedule = Schedule(
        epochs=args.epochs, size=args.size, small_size=args.size, mosaic=args.mosaic,
        learning_rate=args.learning_rate,
        time_limit=args.time_limit * 60 if args.time_limit else None)
    trainer = Trainer(
        model, train, val, args.out,
        TrainingOptions(
            schedule=schedule, batch=args.batch, seed=args.seed, workers=args.workers,
            evaluate_every=2),
        evaluate=lambda average: score(average, _simulated(val, args.size), names))
    if args.resume:
        trainer.resume()
    trainer.run()
    if args.test is not None:
        model.load_state_dict(load_checkpoint(trainer.best_weights)['average'])
        print(json.dumps({'test': score(model, _real(args, len(names)), names)}), flush=True)
    return 0


def score(
        model: 'EmsYolo', samples: Sequence[Sample], names: tuple[str, ...]) -> dict[str, float]:
    """
    Score a network, with its float weights.

    :param model: the network; is set to inference.
    :param samples: frames of one size, and the objects that they show.
    :param names: class names.
    :returns: ``map50``, ``map`` and ``ap50`` of each class that has objects; 0 without any.
    """
    from snn_detector_ros.training.spiking.prediction import find_objects

    found = list(find_objects(model, (frames for frames, _ in samples), names))
    truths = [truth for _, truth in samples]
    precision = average_precision(truths, found, range(len(names)))
    classes = max(len(precision), 1)
    mean = {
        'map50': sum(one.ap50 for one in precision.values()) / classes,
        'map': sum(one.ap for one in precision.values()) / classes}
    each = {f'ap50_{names[index]}': one.ap50 for index, one in precision.items()}
    return {name: round(value, 4) for name, value in (mean | each).items()}


def _simulated(pictures: 'EventPictures', size: int) -> list[Sample]:
    """Return the fixed window of each picture."""
    from snn_detector_ros.training.data_loader import Request

    samples = []
    for index in range(len(pictures)):
        frames, labels = (part.numpy() for part in pictures[Request(index, size)])
        half = labels[:, 3:5] / 2
        corners = np.concatenate((labels[:, 1:3] - half, labels[:, 1:3] + half), 1)
        truth = GroundTruth(
            (corners * np.tile(frames.shape[1::-1], 2)).astype(np.float32),
            labels[:, 0].astype(np.int64))
        samples.append((np.ascontiguousarray(frames.transpose(2, 0, 1)), truth))
    return samples


def _real(args: argparse.Namespace, class_count: int) -> list[Sample]:
    """Return real windows, fitted into the input."""
    from snn_detector_ros.datasets.labelled_events import read_labelled_events
    from snn_detector_ros.events.binned_frames import binned_frames, placement
    from snn_detector_ros.training.spiking.event_pictures import frame_size

    size, sensor = frame_size(args.size), (args.test_sensor[1], args.test_sensor[0])
    top, left, height, width = placement(sensor, size)
    scale, shift = np.tile((width, height), 2), np.tile((left, top), 2)
    return [
        (binned_frames(one.window, args.bins, sensor, size),
         GroundTruth((one.boxes * scale + shift).astype(np.float32), one.classes))
        for one in read_labelled_events(args.test, sensor, class_count)]


def _check(args: argparse.Namespace) -> None:
    if args.size <= 0 or args.size % 32:
        raise ConfigurationError(f'--size {args.size} is not a multiple of 32 px, e.g. 256')
    if not 0 <= args.mosaic <= 1:
        raise ConfigurationError(f'--mosaic {args.mosaic} is not in 0..1')
    for option, count in (
            ('--epochs', args.epochs), ('--batch', args.batch), ('--bins', args.bins)):
        if count < 1:
            raise ConfigurationError(f'{option} {count} must be at least 1')
    if not 0.1 <= args.bin_length <= 1000:
        raise ConfigurationError(f'--bin-length {args.bin_length} is not in 0.1..1000 ms')
    if args.width is not None and not 0 < args.width <= 4:
        raise ConfigurationError(f'--width {args.width} is not in 0..4')


def _pictures(args: argparse.Namespace, split: str) -> 'EventPictures':
    from tqdm import tqdm

    from snn_detector_ros.datasets.formats import open_dataset
    from snn_detector_ros.training.spiking.event_pictures import EventPictures, EventWindowOptions

    dataset = open_dataset(args.data, split=split)
    bar = tqdm(range(len(dataset)), desc=f'decode {split}', disable=None)
    options = EventWindowOptions(bins=args.bins, bin_length=round(args.bin_length * 1000))
    print(f'{split}: {len(dataset)} pictures', flush=True)
    return EventPictures(
        dataset, largest_side=round(args.size * 1.5), options=options, progress=bar)


def _model(args: argparse.Namespace, names: tuple[str, ...], train: 'EventPictures') -> 'EmsYolo':
    """Build the network; anchors are fitted to the data once and kept with the run."""
    from snn_detector_ros.training.anchors import as_anchors, kmeans_anchors
    from snn_detector_ros.training.checkpoint import replace_file
    from snn_detector_ros.training.spiking.ems_yolo import SIZES, EmsYolo

    size = SIZES[args.model]
    if args.width is not None:
        size = replace(size, width=args.width)
    file = args.out / SETTINGS_FILE
    fixed: dict[str, Any] = {
        'model': args.model, 'names': list(names), 'size': args.size, 'width': size.width,
        'window': json.loads(json.dumps(asdict(train.options)))}
    if args.resume and file.exists():
        settings = json.loads(file.read_text())
        for key, value in fixed.items():
            if settings.get(key) != value:
                raise ConfigurationError(f'{file}: {key} is {settings.get(key)!r}, not {value!r}')
        anchors = as_anchors(settings['anchors'])
    else:
        anchors = kmeans_anchors(*train.box_sizes(args.size), levels=size.levels)
        args.out.mkdir(parents=True, exist_ok=True)
        text = json.dumps(fixed | {'anchors': anchors}, indent=1)
        replace_file(file, lambda path: path.write_text(text))
    print(f'anchors: {anchors}', flush=True)
    return EmsYolo(size, len(names), anchors, channels=1)
