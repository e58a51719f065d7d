# SPDX-License-Identifier: Apache-2.0
"""
``snn-detector study``: the ablations of the conversion papers on networks and pictures at hand.

SUHD's claims are tested on a ReLU network, Spiking-YOLO's on a leaky-ReLU network of Tiny-YOLO's
layout, which the same command trains where none is given.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Sequence
from functools import cache, partial
from pathlib import Path
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from snn_detector_ros.cli.calibration_pictures import CalibrationPictures
from snn_detector_ros.cli.main import main as snn_detector
from snn_detector_ros.conversion import FloatNetwork, dequantise, read_onnx
from snn_detector_ros.conversion.calibration import Pictures
from snn_detector_ros.conversion.float_file import save_float
from snn_detector_ros.datasets.formats import open_dataset
from snn_detector_ros.datasets.image_folder import evenly_spread, list_images
from snn_detector_ros.datasets.labels import limited
from snn_detector_ros.errors import ConfigurationError
from snn_detector_ros.evaluation.contestants import Contestant, from_file
from snn_detector_ros.network.codes import MAX_STEPS
from snn_detector_ros.network.model_file import is_spiking, load_converted
from snn_detector_ros.resources import DEFAULT_MODEL, resource
from snn_detector_ros.study.bench import Bench
from snn_detector_ros.study.firing_budget import firing_budget
from snn_detector_ros.study.levels import codes, normalisation, parameters, pooling
from snn_detector_ros.study.rates import FIRST_STEPS, rates
from snn_detector_ros.study.section import FILE, Section, draw_plots, write

#: The experiments, by the names of ``--only``.
PARTS = ('codes', 'normalisation', 'pooling', 'rates', 'budget')
LEAKY_MODEL = 'tiny-yolo-leaky'
#: Those that say something about leaky ReLU.
LEAKY_PARTS = frozenset(('codes', 'normalisation', 'rates'))

#: A float network, and its detector.
Subject: TypeAlias = tuple[FloatNetwork, Contestant]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of this command."""
    parser.add_argument('--data', type=Path, required=True, metavar='PATH',
                        help='labelled pictures, as for `snn-detector eval`')
    parser.add_argument('--split', metavar='SPLIT', help='as for `snn-detector eval`')
    parser.add_argument('--classes', type=lambda text: text.split(','), metavar='NAME,...',
                        help='look at these classes only')
    parser.add_argument('--limit', type=int, metavar='N', help='use N pictures of the split')
    parser.add_argument('--slow-limit', type=int, default=40, metavar='N',
                        help='use N of them where every time step is run (default: %(default)s)')
    parser.add_argument('--calibration', type=Path, required=True, metavar='DIR',
                        help='pictures that set the scales')
    parser.add_argument('--calibration-limit', type=int, default=100, metavar='N',
                        help='use N of them (default: %(default)s)')
    parser.add_argument('--relu', type=Path, metavar='MODEL',
                        help='ReLU network, float or spiking (default: the shipped one)')
    parser.add_argument('--leaky', type=Path, metavar='MODEL',
                        help=f'leaky-ReLU network (default: train {LEAKY_MODEL} on --data)')
    parser.add_argument('--train-minutes', type=float, default=25, metavar='MINUTES',
                        help='time to train that network in (default: %(default)s)')
    parser.add_argument('--budget', type=Path, nargs='+', default=[], metavar='MODEL',
                        help='spiking networks fine-tuned with growing --firing-penalty')
    parser.add_argument('--most-steps', type=int, default=2048, metavar='T',
                        help='time steps of the rate code (default: %(default)s)')
    parser.add_argument('--only', nargs='+', choices=PARTS, default=PARTS, metavar='PART',
                        help=f'run these experiments of {", ".join(PARTS)}')
    parser.add_argument('--threads', type=int, default=0, help='0: the default of the engine')
    parser.add_argument('-o', '--output', type=Path, required=True, metavar='DIR',
                        help='folder of the results')


def run(args: argparse.Namespace) -> int:
    """
    Run the experiments and write ``study.md``, ``study.json`` and plots.

    :raises SnnDetectorError: if a model, the data or an option cannot be used.
    """
    _check(args)
    try:
        args.output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigurationError(f'--output {args.output} cannot be made: {error.strerror}; choose '
                                 'another folder') from error
    bench = Bench(
        limited(open_dataset(args.data, split=args.split), args.limit), args.slow_limit,
        _calibration(args), args.classes, args.threads,
        lambda name: partial(tqdm, desc=name, unit='picture', disable=None))
    networks = [_network(args.relu or resource(DEFAULT_MODEL), args)]
    if LEAKY_PARTS.intersection(args.only):
        networks.append(_network(args.leaky or _trained(args), args))
    sections: list[Section] = []
    for section in _sections(bench, networks, args):
        sections.append(section)
        draw_plots(args.output, section)
        # After each experiment, so that an interruption loses no more than the one it is in.
        write(args.output, 'Study of spike codes', _introduction(bench, networks), sections)
    if not sections:
        raise ConfigurationError(f'--only pooling: {networks[0][0].name} has no max pools, or has '
                                 'signed neurons; give another network with --relu')
    print(f'study: {args.output / FILE}')
    return 0


def _check(args: argparse.Namespace) -> None:
    if not FIRST_STEPS <= args.most_steps <= MAX_STEPS or args.most_steps & (args.most_steps - 1):
        raise ConfigurationError(f'--most-steps {args.most_steps}: give a power of two from '
                                 f'{FIRST_STEPS} to {MAX_STEPS}, e.g. 2048')
    if args.only is not PARTS and 'budget' in args.only and not args.budget:
        raise ConfigurationError('--only budget: name the networks with --budget MODEL...')


def _sections(
    bench: Bench, networks: Sequence[Subject], args: argparse.Namespace,
) -> Iterator[Section]:
    experiments: dict[str, Callable[..., Section | None]] = {
        'codes': codes, 'normalisation': normalisation, 'pooling': pooling,
        'rates': partial(rates, most_steps=args.most_steps)}
    for name in (name for name in experiments if name in args.only):
        for network, reference in networks:
            section = experiments[name](bench, network, reference)
            if section is not None:
                yield section
    if 'budget' in args.only and args.budget:
        yield firing_budget(bench, args.budget)


def _network(path: Path, args: argparse.Namespace) -> Subject:
    """Return a float network and its detector; of a spiking file, what its integers stand for."""
    if is_spiking(path):
        floats = args.output / f'{path.stem}_float.onnx'
        save_float(dequantise(load_converted(path)), floats)
        path = floats
    return read_onnx(path), from_file(path, threads=args.threads)


def _trained(args: argparse.Namespace) -> Path:
    """Train the leaky-ReLU network, or go on with what an earlier call has trained."""
    file: Path = args.output / f'{LEAKY_MODEL}.onnx'
    if not file.exists():
        folder = args.output / LEAKY_MODEL
        command = ['train', '--data', str(args.data), '--model', LEAKY_MODEL, '--size', '256',
                   '--small-size', '192', '--small-part', '0.3', '--learning-rate', '0.02',
                   '--time-limit', str(args.train_minutes), '--out', str(folder),
                   '--export', str(file)]
        if (folder / 'checkpoint.pt').exists():
            command.append('--resume')
        if snn_detector(command):
            raise ConfigurationError(f'{LEAKY_MODEL} could not be trained on {args.data}; train '
                                     'it elsewhere and give it with --leaky')
    return file


def _calibration(args: argparse.Namespace) -> Callable[[tuple[int, int]], Pictures]:
    paths = evenly_spread(list_images(args.calibration), args.calibration_limit)

    @cache
    def read(input_size: tuple[int, int]) -> list[NDArray[np.uint8]]:
        # Read once for many conversions; each picture lies in the same canvas as the last.
        return [picture.copy() for picture in CalibrationPictures(paths, input_size)]

    return read


def _introduction(bench: Bench, networks: Sequence[Subject]) -> str:
    names = ', '.join(
        f'{network.name} ({parameters(network) / 1e6:.2f} M parameters, '
        f'{network.input_size[1]}x{network.input_size[0]} px)' for network, _ in networks)
    return (f'Networks: {names}. Pictures: {len(bench.dataset)}, of which the experiments that '
            f'run every time step see {len(bench.few)}. mAP50 in percent.')
