# SPDX-License-Identifier: Apache-2.0
"""``snn-detector train-events``: train an EMS-YOLO on events simulated from labelled pictures."""

import argparse
import json
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from snn_detector_ros.cli import run_options
from snn_detector_ros.datasets.simulated_windows import EventWindowOptions, largest_side
from snn_detector_ros.evaluation.coco import GroundTruth, average_precision
from snn_detector_ros.evaluation.event_samples import real_samples, simulated_sample
from snn_detector_ros.evaluation.runner import DETECTOR_OPTIONS
from snn_detector_ros.events.binned_frames import binned_frames

if TYPE_CHECKING:
    from snn_detector_ros.training.spiking.ems_yolo import EmsYolo
    from snn_detector_ros.training.spiking.event_pictures import EventPictures

#: Keys of ``training.spiking.ems_yolo.SIZES``, which cannot be imported without torch.
MODEL_NAMES = ('ems-res10-narrow', 'ems-res10', 'ems-res18', 'ems-res34', 'ems-res34-cat')
#: Least and largest value of the numbers that other training commands lack.
RANGES = {
    'width': (0.05, 4), 'bins': (1, 100), 'bin_length': (0.1, 1000), 'mosaic': (0, 1),
    'workers': (0, 256)}

#: Frames, uint8 [T, H, W], and their objects.
Sample: TypeAlias = tuple[NDArray[np.uint8], GroundTruth]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of this command."""
    parser.add_argument('--data', type=Path, required=True, help='data.yaml in the YOLO layout')
    run_options.add_arguments(parser, batch=16, learning_rate=0.01)
    parser.add_argument('--model', choices=MODEL_NAMES, default=MODEL_NAMES[0])
    parser.add_argument('--width', type=float, help='multiple of all channels of the model')
    parser.add_argument('--bins', type=int, default=4, help='T, time steps of a window')
    parser.add_argument('--bin-length', type=float, default=10.0, metavar='MS')
    parser.add_argument(
        '--size', type=int, default=256, help='width of the input, px; its height is 3/4 of it')
    parser.add_argument('--mosaic', type=float, default=0.3, help='share of mosaics, 0..1')
    parser.add_argument(
        '--test', type=Path, metavar='FOLDER',
        help='real events (events/*.npy, labels/*.txt) to score the best network on at the end')
    parser.add_argument(
        '--test-sensor', type=int, nargs=2, default=(346, 260), metavar=('WIDTH', 'HEIGHT'))
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
    run_options.check_side(args, 'size')
    run_options.check(args, RANGES)
    run_options.require('torch', 'faster_coco_eval')
    from snn_detector_ros.training.checkpoint import load_checkpoint
    from snn_detector_ros.training.loop import Trainer, TrainingOptions, prepare_torch
    from snn_detector_ros.training.schedule import Schedule

    run_options.open_folder(args)
    prepare_torch(seed=args.seed, threads=args.threads)
    train, val = _pictures(args, 'train'), _pictures(args, 'val')
    names = tuple(train.dataset.names)
    # Read now: an error in them would come after the training.
    real = _real(args, len(names)) if args.test is not None else None
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
    if real is not None:
        model.load_state_dict(load_checkpoint(trainer.best_weights)['average'])
        print(json.dumps({'test': score(model, real, names, _test_sensor(args))}), flush=True)
    return 0


def score(
        model: 'EmsYolo', samples: Sequence[Sample], names: tuple[str, ...],
        sensor: tuple[int, int] | None = None) -> dict[str, float]:
    """
    Score a network, with its float weights.

    :param model: the network; is set to inference.
    :param samples: frames of one size, and the objects that they show.
    :param names: class names.
    :param sensor: height and width in px of what the frames show; their own size if None.
    :returns: ``map50``, ``map`` and ``ap50`` of each class that has objects; 0 without any.
    """
    from snn_detector_ros.training.spiking.prediction import find_objects

    found = list(find_objects(
        model, (frames for frames, _ in samples), names, sensor=sensor, **DETECTOR_OPTIONS))
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

    samples = (simulated_sample(*pictures.window(Request(index, size)))
               for index in range(len(pictures)))
    return [(one.frames, one.truth) for one in samples]


def _real(args: argparse.Namespace, class_count: int) -> list[Sample]:
    """Return real windows, fitted into the input; their objects are in px of the sensor."""
    from snn_detector_ros.training.spiking.event_pictures import frame_size

    sensor = _test_sensor(args)
    return [
        (binned_frames(one.window, args.bins, sensor, frame_size(args.size)), one.truth)
        for one in real_samples(args.test, sensor, class_count)]


def _test_sensor(args: argparse.Namespace) -> tuple[int, int]:
    width, height = args.test_sensor
    return height, width


def _pictures(args: argparse.Namespace, split: str) -> 'EventPictures':
    from tqdm import tqdm

    from snn_detector_ros.datasets.formats import open_dataset
    from snn_detector_ros.training.spiking.event_pictures import EventPictures

    dataset = open_dataset(args.data, split=split)
    bar = tqdm(range(len(dataset)), desc=f'decode {split}', disable=None)
    options = EventWindowOptions(bins=args.bins, bin_length=round(args.bin_length * 1000))
    print(f'{split}: {len(dataset)} pictures', flush=True)
    return EventPictures(
        dataset, largest_side=largest_side(args.size), options=options, progress=bar)


def _model(args: argparse.Namespace, names: tuple[str, ...], train: 'EventPictures') -> 'EmsYolo':
    """Build the network; anchors are fitted to the data once and kept with the run."""
    from snn_detector_ros.training.anchors import as_anchors, kmeans_anchors
    from snn_detector_ros.training.spiking.ems_yolo import SIZES, EmsYolo

    size = SIZES[args.model]
    if args.width is not None:
        size = replace(size, width=args.width)
    fixed: dict[str, Any] = {
        'model': args.model, 'names': list(names), 'size': args.size, 'width': size.width,
        'window': json.loads(json.dumps(asdict(train.options)))}
    earlier = run_options.earlier_settings(args, fixed)
    if earlier is not None:
        anchors = as_anchors(earlier['anchors'])
    else:
        anchors = kmeans_anchors(*train.box_sizes(args.size), levels=size.levels)
        run_options.keep_settings(args, fixed | {'anchors': anchors})
    print(f'anchors: {anchors}', flush=True)
    return EmsYolo(size, len(names), anchors, channels=1)
