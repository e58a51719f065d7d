# SPDX-License-Identifier: Apache-2.0
"""``snn-detector eval --compare``: several detectors on the same pictures, and a report."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from tqdm import tqdm

from snn_detector_ros.cli.calibration_pictures import CalibrationPictures
from snn_detector_ros.cli.float_network_options import reading
from snn_detector_ros.conversion import SuhdOptions
from snn_detector_ros.datasets.image_folder import evenly_spread, list_images
from snn_detector_ros.datasets.labels import LabelledDataset
from snn_detector_ros.errors import ConfigurationError
from snn_detector_ros.evaluation.comparison import compare
from snn_detector_ros.evaluation.comparison_text import summary_line
from snn_detector_ros.evaluation.contestants import Contestant, from_file, from_network, unique
from snn_detector_ros.evaluation.float_twins import errors_by_layer
from snn_detector_ros.evaluation.report import make_folder, write_report
from snn_detector_ros.evaluation.variants import parse_codes, variants
from snn_detector_ros.network import SpikingNetwork


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of a comparison."""
    group = parser.add_argument_group('comparison')
    group.add_argument('--compare', action='store_true',
                       help='evaluate all models on the same pictures and write a report')
    group.add_argument('-o', '--output', type=Path, default=Path('comparison'), metavar='DIR',
                       help='folder of the report (default: %(default)s)')
    group.add_argument('--codes', nargs='+', default=[], metavar='KIND:T:BURST',
                       help='evaluate the first model in these spike codes too, for example '
                            'linear:1,2,4:12 binary:4:1')
    group.add_argument('--calibration', type=Path, metavar='DIR',
                       help='pictures that set the scales of other codes')
    group.add_argument('--calibration-limit', type=int, default=200, metavar='N',
                       help='use at most N of them (default: %(default)s)')
    group.add_argument('--percentile', type=float, metavar='P',
                       help='scales cover P percent of the positive activations (default: all)')
    group.add_argument('--error-pictures', type=int, default=16, metavar='N',
                       help='measure errors by layer on N pictures, 0 for none '
                            '(default: %(default)s)')
    group.add_argument('--worst', type=int, default=3, metavar='N',
                       help='draw the N worst disagreements of each network '
                            '(default: %(default)s)')


def run_comparison(
    args: argparse.Namespace, dataset: LabelledDataset, aliases: Mapping[str, str], data: str,
) -> Path:
    """
    Compare the models and write the report.

    :param args: options of this module and of ``snn-detector eval``.
    :param data: what the pictures are, for the reader.
    :returns: the Markdown file.
    """
    if min(args.error_pictures, args.worst) < 0:
        raise ConfigurationError(f'--error-pictures {args.error_pictures} and --worst {args.worst} '
                                 'must be 0 or more')
    conversions = parse_codes(args.codes, SuhdOptions(percentile=args.percentile))
    contestants = [
        from_file(path, engine=args.engine, threads=args.threads, reading=reading(args))
        for path in args.models]
    make_folder(args.output)
    contestants += _variants(contestants[0], conversions, args)
    comparison = compare(
        unique(contestants), dataset, classes=args.classes, aliases=aliases,
        progress=lambda name: partial(tqdm, desc=name, unit='picture', disable=None))
    errors = errors_by_layer(
        comparison, limit=args.error_pictures, engine=args.engine) if args.error_pictures else {}
    for outcome in comparison.outcomes:
        print(summary_line(outcome))
    return write_report(args.output, comparison, errors, data=data, pictures=args.worst)


def _variants(
    first: Contestant, conversions: Sequence[SuhdOptions], args: argparse.Namespace,
) -> Iterator[Contestant]:
    """Yield the first model in other codes."""
    if not conversions:
        return
    converted = first.network if isinstance(first.network, SpikingNetwork) else None
    source = converted or first.float_network
    if source is None:
        raise ConfigurationError(f'--codes: {first.name} cannot be converted; `snn-detector '
                                 'convert` names the reason')
    if converted is not None:
        conversions = [replace(one, initial_membrane=converted.initial_membrane)
                       for one in conversions]
    pictures = None
    if args.calibration is not None:
        paths = evenly_spread(list_images(args.calibration), args.calibration_limit)
        pictures = CalibrationPictures(paths, source.input_size)
    for options, network in variants(source, conversions, pictures):
        # Not the name of the code itself: with one step, all kinds are the same code.
        yield from_network(
            network, f'{options.kind} T={options.steps} burst={options.burst}',
            family=f'{options.kind} burst={options.burst}', engine=args.engine,
            threads=args.threads)
