# SPDX-License-Identifier: Apache-2.0
"""What the training commands share: the options of a run, their ranges, and the run folder."""

import argparse
import json
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from snn_detector_ros.errors import ConfigurationError, MissingDependencyError
from snn_detector_ros.network.validation import MAX_SIDE

#: What fixes the network and its data: kept in the run folder, so that resuming cannot change it.
SETTINGS_FILE = 'settings.json'

#: Least and largest value of each number below.
_RANGES = {
    'epochs': (1, 1_000_000), 'time_limit': (0.001, 1e6), 'batch': (1, 65_536),
    'learning_rate': (0.0, 10.0), 'seed': (0, 2**32 - 1), 'threads': (0, 256)}


def add_arguments(
        parser: argparse.ArgumentParser, *, batch: int, learning_rate: float) -> None:
    """Declare the options of a run, with the defaults of a command."""
    parser.add_argument('--out', type=Path, required=True, help='run folder')
    parser.add_argument('--resume', action='store_true', help='continue the run in --out')
    parser.add_argument('--epochs', type=int, default=50, help='default: %(default)s')
    parser.add_argument(
        '--time-limit', type=float, metavar='MINUTES',
        help='fit the learning rate schedule into this time instead of into --epochs')
    parser.add_argument(
        '--batch', type=int, default=batch,
        help='samples a step, of all processes together; default: %(default)s')
    parser.add_argument(
        '--learning-rate', type=float, default=learning_rate,
        help='at the start; falls along a cosine; default: %(default)s')
    parser.add_argument('--seed', type=int, default=0)
    parser.add_argument('--threads', type=int, default=0, help='threads of torch; 0: its choice')


def check(args: argparse.Namespace, ranges: Mapping[str, tuple[float, float]]) -> None:
    """
    Check the numbers among the options.

    :param args: options of :func:`add_arguments`, and of the command.
    :param ranges: least and largest value of the command's own, by name; None is always allowed.
    :raises ConfigurationError: if one is out of its range.
    """
    for name, (least, most) in {**_RANGES, **ranges}.items():
        value = getattr(args, name)
        if value is not None and not least <= value <= most:
            raise ConfigurationError(
                f'{_option(name)} {value} is not in {least:.10g}..{most:.10g}')


def check_side(args: argparse.Namespace, name: str) -> None:
    """
    Check the side of a network's input.

    :raises ConfigurationError: if it does not fit the strides of our networks.
    """
    side = getattr(args, name)
    if not 32 <= side <= MAX_SIDE or side % 32:
        raise ConfigurationError(
            f'{_option(name)} {side} is not a multiple of 32 px up to {MAX_SIDE}, e.g. 320')


def require(*modules: str) -> None:
    """
    Check that modules are installed, without a slow import.

    :raises MissingDependencyError: if one is not.
    """
    for module in modules:
        if find_spec(module) is None:
            raise MissingDependencyError(module.replace('_', '-'), 'train')


def open_folder(args: argparse.Namespace) -> None:
    """
    Make the run folder.

    :raises ConfigurationError: if it holds a run that is not to be continued, or none that is, or
        cannot be made.
    """
    from snn_detector_ros.training.checkpoint import CHECKPOINT_FILE

    checkpoint = args.out / CHECKPOINT_FILE
    if checkpoint.exists() and not args.resume:
        raise ConfigurationError(f'{args.out} holds a run; add --resume or choose another --out')
    if args.resume and not checkpoint.exists():
        raise ConfigurationError(f'{checkpoint} does not exist; start without --resume')
    try:
        args.out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigurationError(f'--out {args.out} cannot be a run folder: {error.strerror}; '
                                 'choose another') from error


def earlier_settings(
        args: argparse.Namespace, fixed: Mapping[str, Any]) -> dict[str, Any] | None:
    """
    Return the settings of the run that is continued; None if there is none.

    :param fixed: what must not have changed, as JSON holds it.
    :raises ConfigurationError: if it has changed, or the file is damaged.
    """
    file: Path = args.out / SETTINGS_FILE
    if not args.resume or not file.exists():
        return None
    try:
        settings: dict[str, Any] = dict(json.loads(file.read_text()))
    except (ValueError, TypeError) as error:
        raise ConfigurationError(f'{file} holds no settings of a run: {error}') from error
    for key, value in fixed.items():
        if settings.get(key) != value:
            raise ConfigurationError(f'{file}: {key} is {settings.get(key)!r}, not {value!r}')
    return settings


def keep_settings(args: argparse.Namespace, settings: Mapping[str, Any]) -> None:
    """Write the settings of a new run to its folder."""
    from snn_detector_ros.training.checkpoint import replace_file

    text = json.dumps(settings, indent=1)
    replace_file(args.out / SETTINGS_FILE, lambda path: path.write_text(text))


def _option(name: str) -> str:
    return f'--{name.replace("_", "-")}'
