# SPDX-License-Identifier: Apache-2.0
"""
Turn a trained float detector into a spiking network file.

The pictures decide the scales, so they should be like those that the robot will see; their labels
are not needed.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np

from snn_detector_ros.cli import float_network_options
from snn_detector_ros.cli.calibration_pictures import CalibrationPictures
from snn_detector_ros.cli.firing_rates import measure
from snn_detector_ros.conversion import FloatNetwork, SuhdOptions, convert
from snn_detector_ros.conversion.spiking_yolo import SpikingYoloOptions, convert_spiking_yolo
from snn_detector_ros.datasets.image_folder import evenly_spread, list_images
from snn_detector_ros.engines.statistics import mean_firing
from snn_detector_ros.errors import ConfigurationError
from snn_detector_ros.network import SpikingNetwork
from snn_detector_ros.network.model_file import save

#: Calibration pictures that firing rates are measured on, and the most steps of them together
#: where each step is run; one picture is measured in any case.
MEASURED_PICTURES = 50
MEASURED_STEPS = 1024


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of ``snn-detector convert``."""
    suhd, spiking_yolo = SuhdOptions(), SpikingYoloOptions()
    parser.add_argument('float_model', type=Path, help='the float detector (ONNX)')
    parser.add_argument('-o', '--output', type=Path, required=True, metavar='FILE',
                        help='the spiking network to write')
    parser.add_argument('--calibration', type=Path, required=True, metavar='DIR',
                        help='pictures that set the scales')
    parser.add_argument('--limit', type=int, metavar='N',
                        help='use N pictures, evenly spread over the directory (default: all)')
    parser.add_argument('--method', choices=('suhd', 'spiking-yolo'), default='suhd',
                        help='fire after all steps (suhd), or in each of them, by rate '
                        '(spiking-yolo) (default: %(default)s)')
    code = parser.add_argument_group('spike code')
    code.add_argument('--steps', type=int, metavar='T',
                      help=f'time steps (default: {suhd.steps}, or {spiking_yolo.steps} for '
                      'spiking-yolo)')
    code.add_argument('--code', dest='kind', choices=('linear', 'binary', 'constant'),
                      help='suhd: weights of the time steps; linear is STDI (default: '
                      f'{suhd.kind})')
    code.add_argument('--burst', type=int, metavar='N',
                      help=f'suhd: most spikes in one step (default: {suhd.burst})')
    code.add_argument('--readout', choices=('membrane', 'count'),
                      help='spiking-yolo: what the outputs are read from (default: '
                      f'{spiking_yolo.readout})')
    neurons = parser.add_argument_group('neurons')
    neurons.add_argument('--percentile', type=float, metavar='P',
                         help='cover P percent of the positive activations (default: all)')
    neurons.add_argument('--normalisation', choices=('channel', 'layer'),
                         help=f'what has a scale of its own (default: {suhd.normalisation})')
    neurons.add_argument('--initial-membrane', choices=('zero', 'half'),
                         help='0 as in the papers, or half a threshold (default: '
                         f'{suhd.initial_membrane}, or {spiking_yolo.initial_membrane} for '
                         'spiking-yolo)')
    neurons.add_argument('--rounding', choices=('joint', 'nearest'),
                         help='suhd: let the errors of rounded weights cancel out on the pictures, '
                         f'or round each to the nearest (default: {suhd.rounding})')
    neurons.add_argument('--no-bias-correction', dest='bias_correction', action='store_const',
                         const=False, help='suhd: leave the mean error of rounded weights')
    neurons.add_argument('--no-signed-neuron', dest='signed_neuron', action='store_const',
                         const=False, help='spiking-yolo: neurons never fire below zero, as an '
                         'ablation')
    float_network_options.add_arguments(parser)


def run(options: argparse.Namespace) -> int:
    """
    Convert and write the file.

    :raises ConversionError: naming the node that cannot become spikes.
    """
    check_output(options.output)
    convert_network = _method(options)
    network = float_network_options.read_network(options.float_model, options)
    paths = list_images(options.calibration)
    if options.limit is not None:
        paths = evenly_spread(paths, options.limit)
    spiking = convert_network(network, CalibrationPictures(paths, network.input_size))
    measured = MEASURED_PICTURES
    if spiking.dynamics == 'concurrent':
        measured = min(measured, max(1, MEASURED_STEPS // spiking.code.steps))
    firing = mean_firing(measure(spiking, evenly_spread(paths, measured)))
    spiking = replace(spiking, firing_rates=firing.rate_by_layer)
    save(spiking, options.output)
    for line in summary(spiking, options.output):
        print(line)
    return 0


def _method(
    options: argparse.Namespace,
) -> Callable[[FloatNetwork, CalibrationPictures], SpikingNetwork]:
    """
    Return the conversion that the options ask for.

    :raises ConfigurationError: if one of them belongs to the other method.
    """
    common = 'steps', 'percentile', 'normalisation', 'initial_membrane'
    own = {'suhd': ('kind', 'burst', 'rounding', 'bias_correction'),
           'spiking-yolo': ('readout', 'signed_neuron')}
    given = {key: value for key in (*common, *own['suhd'], *own['spiking-yolo'])
             if (value := getattr(options, key)) is not None}
    foreign = given.keys() - {*common, *own[options.method]}
    if foreign:
        flags = {'kind': '--code', 'signed_neuron': '--no-signed-neuron',
                 'bias_correction': '--no-bias-correction'}
        names = ', '.join(flags.get(key, f'--{key}') for key in sorted(foreign))
        raise ConfigurationError(f'--method {options.method} has no {names}: leave it out')
    if options.method == 'suhd':
        return partial(convert, options=SuhdOptions(**given))
    return partial(convert_spiking_yolo, options=SpikingYoloOptions(**given))


def check_output(path: Path) -> None:
    """
    Find out before the work whether its result can be written.

    :raises ConfigurationError: if the file cannot be.
    """
    if path.is_dir() or not os.access(path if path.exists() else path.parent, os.W_OK):
        raise ConfigurationError(f'{path} cannot be written: name a file in a directory that '
                                 'exists and may be written to')


def summary(network: SpikingNetwork, path: Path) -> Iterator[str]:
    """Yield what was made, a line each."""
    thresholds = np.concatenate([
        conv.threshold for conv in network.convolutions if conv.threshold is not None])
    yield (f'{path}: {network.code} (Q = {network.code.max_level}), {network.dynamics} dynamics, '
           f'initial membrane {network.initial_membrane}, '
           f'{len(list(network.convolutions))} convolutions, {path.stat().st_size / 1e6:.2f} MB')
    yield (f'thresholds {thresholds.min()}..{thresholds.max()}, median '
           f'{int(np.median(thresholds))}; silent channels: '
           f'{network.provenance["silent_channels"]}')
    yield from float_network_options.describe_head(network)
