# SPDX-License-Identifier: Apache-2.0
"""``snn-detector export``: make a model file of a network that was trained with spikes."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from snn_detector_ros.cli import run_options, train_classifier
from snn_detector_ros.errors import ConfigurationError
from snn_detector_ros.network.model_file import save


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of this command."""
    parser.add_argument(
        'run_folder', type=Path, metavar='RUN',
        help='run folder of train-events or train-classifier')
    parser.add_argument(
        '-o', '--output', type=Path, required=True, metavar='FILE', help='model file to write')
    parser.add_argument(
        '--note', action='append', default=[], metavar='KEY=TEXT',
        help='a fact to keep in the file, e.g. data="where it comes from"; may be repeated')


def run(args: argparse.Namespace) -> int:
    """
    Export.

    :param args: options of ``add_arguments``.
    :returns: exit status.
    :raises MissingDependencyError: if torch is not installed.
    :raises ConfigurationError: if the folder holds no network that can be exported.
    """
    run_options.require('torch')
    from snn_detector_ros.training.spiking.run_export import (
        export_classifier_run,
        export_event_run,
    )

    if not all('=' in note for note in args.note):
        raise ConfigurationError(f'--note {args.note}: write KEY=TEXT')
    notes = dict(note.split('=', 1) for note in args.note)
    file = args.run_folder / run_options.SETTINGS_FILE
    try:
        settings = json.loads(file.read_text())
        is_classifier = settings['model'] in train_classifier.MODEL_NAMES
        export = export_classifier_run if is_classifier else export_event_run
        network = export(args.run_folder, settings, name=args.output.stem, provenance=notes)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ConfigurationError(f'{file}: is not of a run of train-events or train-classifier '
                                 f'({type(error).__name__}: {error})') from error
    save(network, args.output)
    height, width = network.input_size
    print(f'{args.output}: {network.name}, T={network.steps}, {network.coding} input '
          f'{height}x{width}, {args.output.stat().st_size / 2**20:.1f} MiB')
    return 0
