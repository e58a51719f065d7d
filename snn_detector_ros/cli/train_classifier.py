# SPDX-License-Identifier: Apache-2.0
"""``snn-detector train-classifier``: train a spiking ResNet (STBP-tdBN), or its ReLU twin."""

import argparse
import json
from importlib.util import find_spec
from pathlib import Path

from snn_detector_ros.errors import ConfigurationError, MissingDependencyError

#: Neurons of each network.
MODEL_NAMES = ('tdbn-resnet', 'relu-resnet')
#: What fixes the network: kept in the run folder, so that resuming cannot change it.
SETTINGS_FILE = 'settings.json'


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of this command."""
    parser.add_argument('--data', type=Path, required=True, help='folder of CIFAR-10')
    parser.add_argument('--out', type=Path, required=True, help='run folder')
    parser.add_argument('--resume', action='store_true', help='continue the run in --out')
    parser.add_argument('--model', choices=MODEL_NAMES, default=MODEL_NAMES[0])
    parser.add_argument('--steps', type=int, default=2, help='T of the spiking network')
    parser.add_argument('--width', type=int, default=32, help='channels of the first stage')
    parser.add_argument('--epochs', type=int, default=50)
    parser.add_argument(
        '--time-limit', type=float, metavar='MINUTES',
        help='fit the learning rate schedule into this time instead of into --epochs')
    parser.add_argument('--batch', type=int, default=64)
    parser.add_argument('--learning-rate', type=float, default=0.05)
    parser.add_argument('--seed', type=int, default=0)
    parser.add_argument('--threads', type=int, default=0, help='threads of torch; 0: its choice')


def run(args: argparse.Namespace) -> int:
    """
    Train.

    :param args: options of ``add_arguments``.
    :returns: exit status.
    :raises MissingDependencyError: if torch is not installed.
    :raises DatasetError: if the data set is missing or damaged.
    :raises ConfigurationError: if an option cannot work.
    """
    if find_spec('torch') is None:
        raise MissingDependencyError('torch', 'train')
    for option, count in (('--epochs', args.epochs), ('--batch', args.batch),
                          ('--steps', args.steps), ('--width', args.width)):
        if count < 1:
            raise ConfigurationError(f'{option} {count} must be at least 1')
    from snn_detector_ros.datasets.cifar10 import NAMES, read_cifar10
    from snn_detector_ros.training.loop import prepare_torch
    from snn_detector_ros.training.schedule import Schedule
    from snn_detector_ros.training.spiking import classification
    from snn_detector_ros.training.spiking.resnet import SpikingResNet, ordinary, spiking

    if not args.resume and (args.out / classification.CHECKPOINT_FILE).exists():
        raise ConfigurationError(f'{args.out} holds a run; add --resume or choose another --out')
    train, test = read_cifar10(args.data, 'train'), read_cifar10(args.data, 'test')
    prepare_torch(seed=args.seed, threads=args.threads)
    _keep_settings(args)
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


def _keep_settings(args: argparse.Namespace) -> None:
    from snn_detector_ros.training.checkpoint import replace_file

    file = args.out / SETTINGS_FILE
    fixed = {'model': args.model, 'steps': args.steps, 'width': args.width}
    if args.resume and file.exists():
        for key, value in json.loads(file.read_text()).items():
            if fixed.get(key) != value:
                raise ConfigurationError(f'{file}: {key} is {value!r}, not {fixed.get(key)!r}')
        return
    args.out.mkdir(parents=True, exist_ok=True)
    replace_file(file, lambda path: path.write_text(json.dumps(fixed, indent=1)))
