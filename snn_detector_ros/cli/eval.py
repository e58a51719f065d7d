# SPDX-License-Identifier: Apache-2.0
"""``snn-detector eval``: average precision of spiking and float detectors on labelled pictures."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from dataclasses import asdict
from functools import partial
from pathlib import Path

from tqdm import tqdm

from snn_detector_ros.datasets.yolo_txt import YoloTxtDataset
from snn_detector_ros.detection.detector import Detector
from snn_detector_ros.evaluation.float_detector import FloatDetector
from snn_detector_ros.evaluation.runner import (
    DETECTOR_OPTIONS,
    Detect,
    EvaluationResult,
    evaluate,
)
from snn_detector_ros.network.model_file import is_spiking


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of this command."""
    parser.add_argument(
        'models', nargs='+', type=Path, metavar='MODEL',
        help='spiking network, or float YOLOv5 export, as ONNX')
    parser.add_argument(
        '--data', type=Path, required=True,
        help='data.yaml in the YOLO layout, or a list of pictures with a data.yaml beside it')
    parser.add_argument(
        '--split', nargs='+', default=['test'], metavar='SPLIT',
        help='keys of data.yaml, or lists of pictures beside it; each is a test of its own')
    parser.add_argument(
        '--classes', type=lambda text: text.split(','), metavar='NAME,...',
        help='look at these classes only; default: all that the split has labels of')
    parser.add_argument('--engine', default='auto', help='engine of spiking networks')
    parser.add_argument('--threads', type=int, default=0, help='0: the default of the engine')
    parser.add_argument('--json', action='store_true', help='print JSON instead of a table')


def run(args: argparse.Namespace) -> int:
    """
    Evaluate.

    :param args: options of ``add_arguments``.
    :returns: exit status.
    :raises SnnDetectorError: if a model, the data or an option cannot be used.
    """
    detectors = [(path, _detector(path, args)) for path in args.models]
    reports = []
    for split, dataset in _datasets(args):
        for path, detector in detectors:
            result = evaluate(
                detector, dataset, classes=args.classes,
                progress=partial(tqdm, desc=path.name, unit='picture', disable=None))
            if args.json:
                reports.append({
                    'model': str(path), 'split': split, 'map50': result.map50, 'map': result.map,
                    **asdict(result)})
            else:
                print(_table(f'{path.name} on {split}', result), flush=True)
    if args.json:
        print(json.dumps(reports, indent=1))
    return 0


def _detector(path: Path, args: argparse.Namespace) -> Detect:
    if not is_spiking(path):
        return FloatDetector(path, threads=args.threads, **DETECTOR_OPTIONS)
    return Detector(
        path, engine=args.engine, threads=args.threads, statistics=False, **DETECTOR_OPTIONS)


def _datasets(args: argparse.Namespace) -> Iterator[tuple[str, YoloTxtDataset]]:
    if args.data.suffix == '.txt':
        description = args.data.parent / 'data.yaml'
        yield args.data.name, YoloTxtDataset.open(description, str(args.data.resolve()))
        return
    for split in args.split:
        yield split, YoloTxtDataset.open(args.data, split)


def _table(title: str, result: EvaluationResult) -> str:
    rows = [(one.name, one.objects, one.ap50, one.ap) for one in result.classes]
    if len(rows) != 1:
        rows.append(('mean', sum(row[1] for row in rows), result.map50, result.map))
    lines = [f'{title}: {result.images} pictures',
             f'  {"class":16}{"objects":>8}{"AP50":>8}{"AP50-95":>9}']
    lines += [f'  {name:16}{objects:8d}{ap50:8.3f}{ap:9.3f}' for name, objects, ap50, ap in rows]
    return '\n'.join(lines)
