# SPDX-License-Identifier: Apache-2.0
"""``snn-detector train``: train a ReLU detector that converts well, and export it as float ONNX."""

import argparse
import json
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from snn_detector_ros.errors import ConfigurationError, MissingDependencyError

if TYPE_CHECKING:
    from snn_detector_ros.training.data_loader import PictureCache
    from snn_detector_ros.training.schedule import Schedule
    from snn_detector_ros.training.yolov5 import YoloV5

REQUIRED = (('torch', 'torch'), ('faster_coco_eval', 'faster-coco-eval'))

# What fixes the network and its data: kept in the run folder, so that resuming cannot change it.
SETTINGS_FILE = 'settings.json'


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of this command."""
    parser.add_argument('--data', type=Path, required=True, help='data.yaml in the YOLO layout')
    parser.add_argument(
        '--model', choices=('yolov5n-relu', 'yolov5s-relu'), default='yolov5n-relu')
    parser.add_argument('--out', type=Path, required=True, help='run folder')
    parser.add_argument('--export', type=Path, help='float ONNX of the best epoch so far')
    parser.add_argument('--resume', action='store_true', help='continue the run in --out')
    parser.add_argument('--size', type=int, default=320, help='edge of the input, px')
    parser.add_argument('--small-size', type=int, default=224, help='edge in the first part, px')
    parser.add_argument(
        '--small-part', type=float, default=0.0, help='part of the run at --small-size, 0..1')
    parser.add_argument('--epochs', type=int, default=50)
    parser.add_argument(
        '--time-limit', type=float, metavar='MINUTES',
        help='fit the learning rate schedule into this time instead of into --epochs')
    parser.add_argument('--batch', type=int, default=16)
    parser.add_argument('--learning-rate', type=float, default=0.01)
    parser.add_argument('--mosaic', type=float, default=0.5, help='share of mosaics, 0..1')
    parser.add_argument('--seed', type=int, default=0)
    parser.add_argument('--threads', type=int, default=0, help='threads of torch; 0: its choice')
    parser.add_argument('--workers', type=int, default=1, help='processes that make pictures')
    parser.add_argument('--provenance', default='', help='source and licence of the data, as text')


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

    if not args.resume and (args.out / CHECKPOINT_FILE).exists():
        raise ConfigurationError(f'{args.out} holds a run; add --resume or choose another --out')
    train, names = _pictures(args.data, 'train', args.size)
    val, _ = _pictures(args.data, 'val', args.size)
    prepare_torch(seed=args.seed, threads=args.threads)
    model = _model(args, names, train)
    options = TrainingOptions(
        schedule=_schedule(args), batch=args.batch, seed=args.seed, workers=args.workers)
    trainer = Trainer(
        model, train, val, args.out, options,
        evaluate=lambda average: _evaluate(average, args, names),
        on_best=lambda best, record: _export(best, record, args, names))
    if args.resume:
        trainer.resume()
    trainer.run()
    if args.export is not None:
        best = load_checkpoint(trainer.best_weights)
        model.load_state_dict(best['average'])
        _export(model, best['record'], args, names)
    return 0


def _check(args: argparse.Namespace) -> None:
    for option, size in (('--size', args.size), ('--small-size', args.small_size)):
        if size <= 0 or size % 32:
            raise ConfigurationError(f'{option} {size} is not a multiple of 32 px, e.g. 320')
    for option, part in (('--small-part', args.small_part), ('--mosaic', args.mosaic)):
        if not 0 <= part <= 1:
            raise ConfigurationError(f'{option} {part} is not in 0..1')
    for option, count in (('--epochs', args.epochs), ('--batch', args.batch)):
        if count < 1:
            raise ConfigurationError(f'{option} {count} must be at least 1')


def _schedule(args: argparse.Namespace) -> 'Schedule':
    from snn_detector_ros.training.schedule import Schedule

    return Schedule(
        epochs=args.epochs, size=args.size, small_size=args.small_size,
        small_part=args.small_part, mosaic=args.mosaic, learning_rate=args.learning_rate,
        time_limit=args.time_limit * 60 if args.time_limit else None)


def _pictures(data: Path, split: str, size: int) -> tuple['PictureCache', tuple[str, ...]]:
    from tqdm import tqdm

    from snn_detector_ros.datasets.yolo_txt import YoloTxtDataset
    from snn_detector_ros.training.data_loader import PictureCache

    dataset = YoloTxtDataset.open(data, split)
    bar = tqdm(range(len(dataset)), desc=f'decode {split}', disable=None)
    cache = PictureCache(dataset, largest_side=round(size * 1.1), progress=bar)
    print(f'{split}: {len(dataset)} pictures', flush=True)
    return cache, dataset.names


def _model(
        args: argparse.Namespace, names: tuple[str, ...], train: 'PictureCache') -> 'YoloV5':
    """Build the network; anchors are fitted to the data once and kept with the run."""
    from snn_detector_ros.training.anchors import as_anchors, kmeans_anchors
    from snn_detector_ros.training.checkpoint import replace_file
    from snn_detector_ros.training.yolov5 import SCALES, YoloV5

    file = args.out / SETTINGS_FILE
    fixed = {'model': args.model, 'names': list(names), 'size': args.size}
    if args.resume and file.exists():
        settings = json.loads(file.read_text())
        for key, value in fixed.items():
            if settings[key] != value:
                raise ConfigurationError(f'{file}: {key} is {settings[key]!r}, not {value!r}')
        anchors = as_anchors(settings['anchors'])
    else:
        anchors = kmeans_anchors(*train.box_sizes(args.size))
        args.out.mkdir(parents=True, exist_ok=True)
        text = json.dumps(fixed | {'anchors': anchors}, indent=1)
        replace_file(file, lambda path: path.write_text(text))
    print(f'anchors: {anchors}', flush=True)
    return YoloV5(SCALES[args.model], len(names), anchors)


def _evaluate(
        model: 'YoloV5', args: argparse.Namespace, names: tuple[str, ...]) -> dict[str, float]:
    """Score the model as users will run it: exported, in ONNX Runtime, on the val split."""
    from snn_detector_ros.datasets.yolo_txt import YoloTxtDataset
    from snn_detector_ros.evaluation.float_detector import FloatDetector
    from snn_detector_ros.evaluation.runner import DETECTOR_OPTIONS, evaluate
    from snn_detector_ros.training.export import export_onnx

    file = args.out / 'average.onnx'
    export_onnx(model, file, names=names, size=(args.size, args.size), training={})
    detector = FloatDetector(file, threads=args.threads, **DETECTOR_OPTIONS)
    result = evaluate(detector, YoloTxtDataset.open(args.data, 'val'))
    ap50 = {f'ap50_{one.name}': round(one.ap50, 4) for one in result.classes}
    return {'map50': round(result.map50, 4), 'map': round(result.map, 4), **ap50}


def _export(
        model: 'YoloV5', record: dict[str, Any], args: argparse.Namespace,
        names: tuple[str, ...]) -> None:
    """Write the float ONNX, if it is wanted; its provenance names no path of this machine."""
    from snn_detector_ros.training.export import export_onnx

    if args.export is None:
        return
    options = {
        name: value for name, value in vars(args).items()
        if isinstance(value, (int, float, str)) and name not in ('resume', 'provenance')}
    export_onnx(model, args.export, names=names, size=(args.size, args.size), training={
        'data': args.provenance, 'options': options, 'epochs': record['epoch'] + 1,
        'record': record})
