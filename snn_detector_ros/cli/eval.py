# SPDX-License-Identifier: Apache-2.0
"""``snn-detector eval``: average precision of detectors on labelled pictures, or on events."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

from tqdm import tqdm

from snn_detector_ros.cli import comparison, event_data, float_network_options
from snn_detector_ros.cli.inspect import firing_summary
from snn_detector_ros.datasets.formats import open_dataset
from snn_detector_ros.datasets.labels import LabelledDataset, limited
from snn_detector_ros.errors import ConfigurationError
from snn_detector_ros.evaluation.contestants import from_file
from snn_detector_ros.evaluation.runner import EvaluationResult, evaluate
from snn_detector_ros.network import LifNetwork

#: Name of the file that stands for the terminal.
STANDARD_OUTPUT = '-'


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of this command."""
    parser.add_argument(
        'models', nargs='+', type=Path, metavar='MODEL',
        help='spiking or float network, as ONNX')
    parser.add_argument(
        '--data', type=Path, required=True, metavar='PATH',
        help='instances file (.json) of COCO, folder with Annotations of Pascal VOC, data.yaml of '
             'the YOLO layout, a list of pictures (.txt) with a data.yaml beside it, or a folder '
             'of labelled windows of events')
    parser.add_argument(
        '--images', type=Path, metavar='DIR',
        help='folder of the pictures of COCO and VOC, if they are elsewhere')
    parser.add_argument(
        '--split', nargs='+', metavar='SPLIT',
        help='lists in ImageSets/Main of VOC (default: all annotations); keys of data.yaml, or '
             'lists of pictures beside it (default: test); each is a test of its own')
    parser.add_argument(
        '--classes', type=lambda text: text.split(','), metavar='NAME,...',
        help='look at these classes only; default: all that the split has labels of')
    parser.add_argument(
        '--alias', nargs='+', default=[], metavar='MODEL_NAME=DATA_NAME',
        help='classes that the data calls something else')
    parser.add_argument('--limit', type=int, metavar='N',
                        help='use N pictures or windows, evenly spread over the split')
    parser.add_argument('--engine', default='auto', help='engine of spiking networks')
    parser.add_argument('--threads', type=int, default=0, help='0: the default of the engine')
    parser.add_argument('--json', type=Path, metavar='FILE',
                        help='write the figures as JSON too; - writes them instead of the tables')
    event_data.add_arguments(parser)
    float_network_options.add_arguments(parser)
    comparison.add_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """
    Evaluate.

    :param args: options of ``add_arguments``.
    :returns: exit status.
    :raises SnnDetectorError: if a model, the data or an option cannot be used.
    """
    aliases = parse_aliases(args.alias)
    # Before a long evaluation, not after it.
    if args.json is not None and not args.json.parent.is_dir():
        raise ConfigurationError(f'--json {args.json}: there is no folder {args.json.parent}')
    windows = event_data.are_windows(args)
    if args.compare:
        if windows or len(args.split or ()) > 1:
            what = 'windows of events' if windows else ', '.join(args.split)
            raise ConfigurationError(
                f'--compare looks at pictures, one split at a time, not at {what}')
        name, dataset = next(_datasets(args))
        print(f'report: {comparison.run_comparison(args, dataset, aliases, name)}')
        return 0
    if args.codes:
        raise ConfigurationError('--codes needs --compare, which writes a report')
    figures: list[dict[str, Any]] = []
    for split, path, row, text in (_of_events if windows else _of_pictures)(args, aliases):
        figures.append({'model': str(path), 'split': split, **row})
        if str(args.json) != STANDARD_OUTPUT:
            print(text, flush=True)
    if args.json:
        write_json(args.json, figures)
    return 0


#: Split, model, figures for JSON and for the terminal.
_Report: TypeAlias = tuple[str, Path, dict[str, Any], str]


def _of_pictures(args: argparse.Namespace, aliases: Mapping[str, str]) -> Iterator[_Report]:
    """Evaluate all models, split by split."""
    reading = float_network_options.reading(args)
    contestants = [from_file(path, engine=args.engine, threads=args.threads, reading=reading)
                   for path in args.models]
    for path, one in zip(args.models, contestants, strict=True):
        if isinstance(one.network, LifNetwork) and one.network.coding == 'binned':
            raise ConfigurationError(
                f'{path} reads windows of events, and {args.data} holds pictures: add '
                '--simulate-events, or give a folder of windows')
    for split, dataset in _datasets(args):
        for path, one in zip(args.models, contestants, strict=True):
            result = evaluate(
                one.open(), dataset, classes=args.classes, aliases=aliases,
                progress=partial(tqdm, desc=path.name, unit='picture', disable=None))
            yield split, path, result.as_row(), table(f'{path.name} on {split}', result)


def _of_events(args: argparse.Namespace, aliases: Mapping[str, str]) -> Iterator[_Report]:
    """Evaluate networks that read events, and count what they fire."""
    for split, path, found in event_data.evaluations(args, aliases):
        text = table(f'{path.name} on {split}', found.result, unit='windows')
        firing = firing_summary(found.firing, found.result.images, unit='windows')
        yield split, path, found.as_row(), f'{text}\n  {firing}'


def parse_aliases(texts: Sequence[str]) -> dict[str, str]:
    """
    Return pairs of names from texts like ``motorbike=motorcycle``.

    :raises ConfigurationError: if a text is no pair.
    """
    pairs = [text.split('=') for text in texts]
    for text, names in zip(texts, pairs, strict=True):
        if len(names) != 2 or not all(names):
            raise ConfigurationError(f'alias {text!r}: write MODEL_NAME=DATA_NAME')
    return {name: target for name, target in pairs}


def write_json(path: Path, figures: object) -> None:
    """
    Write figures to a file, or to the terminal for ``-``.

    :raises ConfigurationError: if the file cannot be written.
    """
    text = json.dumps(figures, indent=1) + '\n'
    if str(path) == STANDARD_OUTPUT:
        sys.stdout.write(text)
        return
    try:
        path.write_text(text, encoding='utf-8')
    except OSError as error:
        raise ConfigurationError(f'{path} cannot be written: {error.strerror}') from error


def table(title: str, result: EvaluationResult, *, unit: str = 'pictures') -> str:
    """Return the figures of a detector as a table of text; ``unit`` is what it looked at."""
    rows = [(one.name, one.objects, one.ap50, one.ap) for one in result.classes]
    if len(rows) != 1:
        rows.append(('mean', sum(row[1] for row in rows), result.map50, result.map))
    lines = [f'{title}: {result.images} {unit}',
             f'  {"class":16}{"objects":>8}{"AP50":>8}{"AP50-95":>9}']
    lines += [f'  {name:16}{objects:8d}{ap50:8.3f}{ap:9.3f}' for name, objects, ap50, ap in rows]
    return '\n'.join(lines)


def _datasets(args: argparse.Namespace) -> Iterator[tuple[str, LabelledDataset]]:
    """Yield the splits to look at, with their names."""
    for split in args.split or [None]:
        dataset = open_dataset(args.data, split=split, images=args.images)
        yield split or args.data.name, limited(dataset, args.limit)
