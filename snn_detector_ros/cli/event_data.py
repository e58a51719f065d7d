# SPDX-License-Identifier: Apache-2.0
"""Labelled windows of events as data of a command: a camera's, or simulated from pictures."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path

from tqdm import tqdm

from snn_detector_ros.datasets.formats import open_dataset
from snn_detector_ros.datasets.simulated_windows import EventWindowOptions
from snn_detector_ros.detection.detector import Detector
from snn_detector_ros.errors import ConfigurationError
from snn_detector_ros.evaluation.event_runner import EventEvaluation, evaluate_events
from snn_detector_ros.evaluation.event_samples import (
    EventSample,
    bin_length,
    real_samples,
    simulated_samples,
)
from snn_detector_ros.evaluation.runner import DETECTOR_OPTIONS
from snn_detector_ros.network.model_file import is_spiking


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options that say what the windows are."""
    group = parser.add_argument_group(
        'networks that read events', 'they look at a folder of labelled windows '
        '(events/*.npy, labels/*.txt), or at windows simulated from labelled pictures')
    group.add_argument('--simulate-events', action='store_true',
                       help='move a simulated event camera over each picture of --data, as '
                            'train-events does to score its validation split')
    group.add_argument('--sensor', type=int, nargs=2, default=(346, 260),
                       metavar=('WIDTH', 'HEIGHT'),
                       help='of the camera of a folder of windows, px (default: 346 260)')
    group.add_argument('--bin-length', type=float, metavar='MS',
                       help='of simulated windows, if the model file does not say')


def are_windows(args: argparse.Namespace) -> bool:
    """Whether the options name windows of events, instead of pictures."""
    return bool(args.simulate_events) or (args.data / 'events').is_dir()


def open_detector(path: Path, *, engine: str = 'auto', threads: int = 0) -> Detector:
    """
    Open a network that reads events, to evaluate it.

    :raises ConfigurationError: if it reads pictures.
    """
    detector = Detector(path, engine=engine, threads=threads, **DETECTOR_OPTIONS) \
        if is_spiking(path) else None
    if detector is None or not detector.reads_events:
        raise ConfigurationError(f'{path} reads pictures, not windows of events: give it pictures, '
                                 'without --simulate-events')
    return detector


def read(
    args: argparse.Namespace, detector: Detector, *, split: str | None, images: Path | None = None,
    names: tuple[str, ...] | None = None,
) -> tuple[tuple[str, ...], Sequence[EventSample]]:
    """
    Return the names of the classes, and the windows as a detector reads them.

    :param args: options of :func:`add_arguments`, ``data`` and ``limit``.
    :param split: of pictures that windows are simulated from; ``images`` alike.
    :param names: what the class numbers in a folder of windows mean; the detector's names if None.
    :raises ConfigurationError: if an option cannot work.
    :raises DatasetError: if the data cannot be read.
    """
    if not args.simulate_events:
        if split is not None or images is not None:
            raise ConfigurationError(f'{args.data} holds windows of events: --split and --images '
                                     'do not fit; name another folder instead')
        width, height = args.sensor
        if min(args.sensor) < 1:
            raise ConfigurationError(f'--sensor {width} {height}: give both sides in px')
        names = names or detector.class_names
        return names, real_samples(args.data, (height, width), len(names), limit=args.limit)
    if args.bin_length is not None and not 0.1 <= args.bin_length <= 1000:
        raise ConfigurationError(f'--bin-length {args.bin_length:g} is not in 0.1..1000 ms')
    length = bin_length(detector.network) if args.bin_length is None \
        else round(args.bin_length * 1000)
    dataset = open_dataset(args.data, split=split, images=images)
    options = EventWindowOptions(bins=detector.code.steps, bin_length=length)
    return dataset.names, simulated_samples(
        dataset, detector.input_size, options, limit=args.limit,
        progress=partial(tqdm, desc='simulate', unit='window', disable=None))


def evaluations(
    args: argparse.Namespace, aliases: Mapping[str, str],
) -> Iterator[tuple[str, Path, EventEvaluation]]:
    """
    Evaluate the models of ``snn-detector eval``, split by split.

    :param args: all of its options.
    """
    names = tuple(args.names.split(',')) if args.names else None
    detectors = [
        open_detector(path, engine=args.engine, threads=args.threads) for path in args.models]
    for split in args.split or [None]:
        for path, detector in zip(args.models, detectors, strict=True):
            known, samples = read(args, detector, split=split, images=args.images, names=names)
            yield split or args.data.name, path, evaluate_events(
                detector, samples, known, classes=args.classes, aliases=aliases,
                progress=partial(tqdm, desc=path.name, unit='window', disable=None))
