# SPDX-License-Identifier: Apache-2.0
"""``snn-detector train``: train a ReLU detector that converts well, and export it as float ONNX."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from snn_detector_ros.cli import run_options
from snn_detector_ros.conversion import SuhdOptions
from snn_detector_ros.errors import ConfigurationError

if TYPE_CHECKING:
    from snn_detector_ros.datasets.labels import LabelledDataset
    from snn_detector_ros.training.data_loader import PictureCache
    from snn_detector_ros.training.head import AnchorDetector
    from snn_detector_ros.training.level_steps import LevelSteps
    from snn_detector_ros.training.processes import Processes
    from snn_detector_ros.training.schedule import Schedule

#: Keys of ``training.models.MODELS``, which cannot be imported without torch.
MODEL_NAMES = ('yolov5n-relu', 'yolov5s-relu', 'tiny-yolo-leaky', 'tiny-yolo-relu')

#: Learning rate that random biases start with.
WARM_UP_BIAS_RATE = 0.1

#: Batches of training pictures that restore the batch normalisation of --init.
STATISTICS_BATCHES = 20

#: Least and largest value of the numbers that other training commands lack.
RANGES = {
    'small_part': (0, 1), 'multi_scale': (0, 0.9), 'mosaic': (0, 1), 'workers': (0, 256),
    'percentile': (0, 100), 'firing_penalty': (0, 1e6)}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of this command."""
    data = parser.add_argument_group('data')
    data.add_argument(
        '--data', type=Path, required=True,
        help='data.yaml in the YOLO layout, or the training part of a COCO or VOC data set')
    data.add_argument('--val', type=Path, help='validation part, unless data.yaml names it')
    data.add_argument('--images', type=Path, help='folder of the training pictures of COCO or VOC')
    data.add_argument('--val-images', type=Path, help='folder of its validation pictures')
    data.add_argument(
        '--no-cache', action='store_true',
        help='decode pictures whenever they are used: for data sets larger than the memory')
    data.add_argument('--provenance', default='', help='source and licence of the data, as text')
    parser.add_argument('--model', choices=MODEL_NAMES, default=MODEL_NAMES[0])
    run_options.add_arguments(parser, batch=16, learning_rate=0.01)
    parser.add_argument('--export', type=Path, help='float ONNX of the best epoch so far')
    parser.add_argument(
        '--init', type=Path, metavar='FILE',
        help='start from the weights of an .onnx or .safetensors file of the same network, of its '
        'SiLU original, or of a narrower one')
    parser.add_argument('--size', type=int, default=320, help='edge of the input, px')
    parser.add_argument('--small-size', type=int, default=224, help='edge in the first part, px')
    parser.add_argument(
        '--small-part', type=float, default=0.0, help='part of the run at --small-size, 0..1')
    parser.add_argument(
        '--multi-scale', type=float, default=0.0, metavar='PART',
        help='largest change of the size from batch to batch, e.g. 0.25; 0..0.9')
    parser.add_argument('--mosaic', type=float, default=0.5, help='share of mosaics, 0..1')
    parser.add_argument('--workers', type=int, default=1, help='processes that make pictures')
    spikes = parser.add_argument_group('levels of spikes in training')
    spikes.add_argument(
        '--spikes', type=_code, metavar='T,BURST',
        help='round activations to the levels of this linear code, and score the spiking network')
    spikes.add_argument(
        '--percentile', type=float, metavar='P', help='as for `snn-detector convert`')
    spikes.add_argument(
        '--firing-penalty', type=float, default=0.0, metavar='BETA',
        help='what the mean level of a neuron adds to the loss: fewer spikes, less accuracy')


def run(args: argparse.Namespace) -> int:
    """
    Train.

    :param args: options of ``add_arguments``.
    :returns: exit status.
    :raises MissingDependencyError: if torch or the scorer of the validation part is not installed.
    :raises DatasetError: if the data set is malformed.
    :raises ConfigurationError: if an option cannot work.
    """
    _check(args)
    run_options.require('torch', 'faster_coco_eval')
    from snn_detector_ros.training.loop import prepare_torch
    from snn_detector_ros.training.processes import join_processes

    run_options.open_folder(args)
    prepare_torch(seed=args.seed, threads=args.threads)
    with join_processes() as processes:
        _train(args, processes)
    return 0


def _train(args: argparse.Namespace, processes: 'Processes') -> None:
    from snn_detector_ros.cli.training_score import score
    from snn_detector_ros.training.checkpoint import load_checkpoint
    from snn_detector_ros.training.loop import Trainer, TrainingOptions

    train, names = _pictures(args, 'train')
    val, val_names = _pictures(args, 'val')
    if val_names != names:
        raise ConfigurationError(
            f'the validation part has the classes {", ".join(val_names)}, but the training part '
            f'{", ".join(names)}; label both alike')
    model = _model(args, names, train, processes)
    levels = _levels(args, model, train)
    options = TrainingOptions(
        schedule=_schedule(args), batch=args.batch, seed=args.seed, workers=args.workers,
        firing_penalty=args.firing_penalty,
        # Trained biases are not to be shaken by the high rate that random ones start with.
        warm_up_bias_rate=WARM_UP_BIAS_RATE if args.init is None else 0.0)
    trainer = Trainer(
        model, train, val, args.out, options,
        evaluate=lambda average: score(
            average, val.dataset, args.out, size=args.size, threads=args.threads, levels=levels),
        on_best=lambda best, record: _export(best, record, args, names),
        levels=levels, processes=processes)
    if args.resume:
        trainer.resume()
    trainer.run()
    if args.export is not None and processes.is_first:
        best = load_checkpoint(trainer.best_weights)
        model.load_state_dict(best['average'])
        _export(model, best['record'], args, names)


def _check(args: argparse.Namespace) -> None:
    run_options.check_side(args, 'size')
    run_options.check_side(args, 'small_size')
    run_options.check(args, RANGES)
    if args.spikes is not None:
        _suhd_options(args)  # raises if there is no such code
    elif (args.firing_penalty or args.percentile is not None):
        raise ConfigurationError('--firing-penalty and --percentile are of use with --spikes only')
    if args.export is not None and not args.export.parent.is_dir():
        raise ConfigurationError(
            f'--export {args.export}: there is no folder {args.export.parent}')


def _schedule(args: argparse.Namespace) -> 'Schedule':
    from snn_detector_ros.training.schedule import Schedule

    return Schedule(
        epochs=args.epochs, size=args.size, small_size=args.small_size,
        small_part=args.small_part, multi_scale=args.multi_scale, mosaic=args.mosaic,
        learning_rate=args.learning_rate,
        time_limit=args.time_limit * 60 if args.time_limit else None)


def _code(text: str) -> tuple[int, int]:
    try:
        steps, burst = (int(part) for part in text.split(','))
    except ValueError:
        raise argparse.ArgumentTypeError(f'{text!r} is not like 4,12') from None
    return steps, burst


def _dataset(args: argparse.Namespace, split: str) -> 'LabelledDataset':
    from snn_detector_ros.datasets.formats import YOLO_FILE, open_dataset

    is_own = split == 'val' and args.val is not None
    path, images = (args.val, args.val_images) if is_own else (args.data, args.images)
    if path.suffix in ('.yaml', '.yml') or (path / YOLO_FILE).is_file():
        return open_dataset(path, split=split, images=images)
    if split == 'val' and not is_own:
        raise ConfigurationError(f'{path} has no validation part; name it with --val')
    return open_dataset(path, images=images)


def _pictures(args: argparse.Namespace, split: str) -> tuple['PictureCache', tuple[str, ...]]:
    from tqdm import tqdm

    from snn_detector_ros.training.data_loader import PictureCache

    dataset = _dataset(args, split)
    bar = tqdm(range(len(dataset)), desc=f'decode {split}', disable=None)
    cache = PictureCache(
        dataset, largest_side=round(args.size * 1.1), keep=not args.no_cache, progress=bar)
    print(f'{split}: {len(dataset)} pictures', flush=True)
    return cache, dataset.names


def _model(
        args: argparse.Namespace, names: tuple[str, ...],
        train: 'PictureCache', processes: 'Processes') -> 'AnchorDetector':
    """Build the network; its anchors are fixed once and kept with the run."""
    from snn_detector_ros.training.anchors import as_anchors, kmeans_anchors
    from snn_detector_ros.training.initial_weights import load_weights, read_weights
    from snn_detector_ros.training.models import MODELS, create_model

    spikes = None if args.spikes is None else list(args.spikes)
    fixed = {'model': args.model, 'names': list(names), 'size': args.size, 'spikes': spikes}
    earlier = run_options.earlier_settings(args, fixed)
    if earlier is not None:
        return create_model(args.model, len(names), as_anchors(earlier['anchors']))
    anchors = kmeans_anchors(*train.box_sizes(args.size), levels=MODELS[args.model].levels)
    model = create_model(args.model, len(names), anchors)
    if args.init is not None:
        given = read_weights(args.init, model)
        anchors = given.anchors or anchors
        model = create_model(args.model, len(names), anchors)
        fresh = load_weights(model, given.convolutions)
        print(f'--init {args.init}: new weights for {", ".join(fresh) or "none"}', flush=True)
        _restore_normalisation(model, args, train)
    if processes.is_first:
        run_options.keep_settings(args, fixed | {'anchors': anchors})
        print(f'anchors: {anchors}', flush=True)
    return model


def _restore_normalisation(
        model: 'AnchorDetector', args: argparse.Namespace, train: 'PictureCache') -> None:
    from itertools import islice

    from snn_detector_ros.training.data_loader import batches, to_input, training_requests
    from snn_detector_ros.training.initial_weights import restore_normalisation

    requests = training_requests(
        train, seed=args.seed, epoch=0, sizes=[args.size], batch=args.batch, mosaic=args.mosaic)
    loader = batches(train, requests, batch=args.batch, workers=0)
    restore_normalisation(
        model, (to_input(images) for images, _ in islice(loader, STATISTICS_BATCHES)))


def _levels(
        args: argparse.Namespace, model: 'AnchorDetector',
        train: 'PictureCache') -> 'LevelSteps | None':
    """Give the network levels, if it is to be trained for spikes."""
    from snn_detector_ros.training.level_steps import CalibrationPictures, LevelSteps
    from snn_detector_ros.training.spike_levels import insert_levels

    if args.spikes is None:
        return None
    options = _suhd_options(args)
    insert_levels(model, options.code.max_level)
    return LevelSteps(options, CalibrationPictures(train, args.size), args.size)


def _suhd_options(args: argparse.Namespace) -> SuhdOptions:
    """
    Return the conversion that the network is trained for.

    :raises ConfigurationError: if there is no such code.
    """
    steps, burst = args.spikes
    options = SuhdOptions(steps=steps, burst=burst, percentile=args.percentile)
    options.code  # noqa: B018 - raises if the code cannot be used
    return options


def _export(
        model: 'AnchorDetector', record: dict[str, Any], args: argparse.Namespace,
        names: tuple[str, ...]) -> None:
    """Write the float ONNX, if it is wanted; its provenance names no path of this machine."""
    from snn_detector_ros.training.export import export_onnx

    if args.export is None:
        return
    options = {
        name: value for name, value in vars(args).items()
        if isinstance(value, (int, float, str, tuple)) and name not in ('resume', 'provenance')}
    export_onnx(model, args.export, names=names, size=(args.size, args.size), training={
        'data': args.provenance, 'options': options, 'epochs': record['epoch'] + 1,
        'record': record})
