# SPDX-License-Identifier: Apache-2.0
"""``snn-detector train-classifier``: train a spiking ResNet (STBP-tdBN), or its ReLU twin."""

import argparse
from pathlib import Path

from snn_detector_ros.cli import run_options

#: Neurons of each network.
MODEL_NAMES = ('tdbn-resnet', 'relu-resnet')
#: Least and largest value of the numbers that other training commands lack.
RANGES = {'steps': (1, 100), 'width': (1, 1024)}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of this command."""
    parser.add_argument('--data', type=Path, required=True, help='folder of CIFAR-10')
    run_options.add_arguments(parser, batch=64, learning_rate=0.05)
    parser.add_argument('--model', choices=MODEL_NAMES, default=MODEL_NAMES[0])
    parser.add_argument('--steps', type=int, default=2, help='T of the spiking network')
    parser.add_argument('--width', type=int, default=32, help='channels of the first stage')


def run(args: argparse.Namespace) -> int:
    """
    Train.

    :param args: options of ``add_arguments``.
    :returns: exit status.
    :raises MissingDependencyError: if torch is not installed.
    :raises DatasetError: if the data set is missing or damaged.
    :raises ConfigurationError: if an option cannot work.
    """
    run_options.check(args, RANGES)
    run_options.require('torch')
    from snn_detector_ros.datasets.cifar10 import NAMES, read_cifar10
    from snn_detector_ros.training.loop import prepare_torch
    from snn_detector_ros.training.schedule import Schedule
    from snn_detector_ros.training.spiking import classification
    from snn_detector_ros.training.spiking.resnet import SpikingResNet, ordinary, spiking

    train, test = read_cifar10(args.data, 'train'), read_cifar10(args.data, 'test')
    prepare_torch(seed=args.seed, threads=args.threads)
    run_options.open_folder(args)
    fixed = {'model': args.model, 'steps': args.steps, 'width': args.width}
    if run_options.earlier_settings(args, fixed) is None:
        run_options.keep_settings(args, fixed)
    is_spiking = args.model == 'tdbn-resnet'
    model = SpikingResNet(
        len(NAMES), spiking() if is_spiking else ordinary(),
        steps=args.steps if is_spiking else 1, width=args.width)
    side = train.images.shape[1]
    schedule = Schedule(
        epochs=args.epochs, size=side, small_size=side, learning_rate=args.learning_rate,
        time_limit=args.time_limit * 60 if args.time_limit else None)
    trainer = classification.ClassifierTrainer(
        model, train, test, args.out,
        classification.ClassifierOptions(schedule, batch=args.batch, seed=args.seed))
    if args.resume:
        trainer.resume()
    trainer.run()
    return 0
