# SPDX-License-Identifier: Apache-2.0
"""
Turn a trained float detector into a spiking network file.

The pictures decide the scales, so they should be like those that the robot will see; their labels
are not needed.
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from snn_detector_ros.cli.firing_rates import measure
from snn_detector_ros.conversion import FloatNetwork, SuhdOptions, convert, read_onnx
from snn_detector_ros.conversion.detect_head import Anchors, check_anchors
from snn_detector_ros.datasets.image_folder import list_images, read_bgr
from snn_detector_ros.detection.letterbox import Letterbox
from snn_detector_ros.engines.statistics import mean_firing
from snn_detector_ros.errors import ConfigurationError
from snn_detector_ros.network import SpikingNetwork
from snn_detector_ros.network.model_file import save

#: Calibration pictures that firing rates are measured on.
MEASURED_PICTURES = 50


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of ``snn-detector convert``."""
    defaults = SuhdOptions()
    parser.add_argument('float_model', type=Path, help='the float detector (ONNX)')
    parser.add_argument('-o', '--output', type=Path, required=True, metavar='FILE',
                        help='the spiking network to write')
    parser.add_argument('--calibration', type=Path, required=True, metavar='DIR',
                        help='pictures that set the scales')
    parser.add_argument('--limit', type=int, metavar='N',
                        help='use N pictures, evenly spread over the directory (default: all)')
    code = parser.add_argument_group('spike code')
    code.add_argument('--code', choices=('linear', 'binary', 'constant'), default=defaults.kind,
                      help='weights of the time steps; linear is STDI (default: %(default)s)')
    code.add_argument('--steps', type=int, default=defaults.steps, metavar='T',
                      help='time steps (default: %(default)s)')
    code.add_argument('--burst', type=int, default=defaults.burst, metavar='N',
                      help='most spikes in one step (default: %(default)s)')
    neurons = parser.add_argument_group('neurons')
    neurons.add_argument('--percentile', type=float, metavar='P',
                         help='cover P percent of the positive activations (default: all)')
    neurons.add_argument('--normalisation', choices=('channel', 'layer'),
                         default=defaults.normalisation,
                         help='what has a scale of its own (default: %(default)s)')
    neurons.add_argument('--initial-membrane', choices=('zero', 'half'),
                         default=defaults.initial_membrane,
                         help='0 as in SUHD, or half a threshold (default: %(default)s)')
    detector = parser.add_argument_group('what the file does not say')
    detector.add_argument('--input-size', type=int, nargs=2, metavar=('HEIGHT', 'WIDTH'),
                          help='in px, if the float network takes any')
    detector.add_argument('--names', metavar='A,B,...', help='names of the classes')
    detector.add_argument('--anchors', metavar='JSON',
                          help='anchors of a YOLOv5 head in px: [[[w, h], ...], ...], finest first')


def run(options: argparse.Namespace) -> int:
    """
    Convert and write the file.

    :raises ConversionError: naming the node that cannot become spikes.
    """
    check_output(options.output)
    suhd = SuhdOptions(
        kind=options.code, steps=options.steps, burst=options.burst,
        percentile=options.percentile, normalisation=options.normalisation,
        initial_membrane=options.initial_membrane)
    network = read_onnx(
        options.float_model,
        input_size=tuple(options.input_size) if options.input_size else None,
        anchors=_anchors(options.anchors),
        class_names=options.names.split(',') if options.names else None)
    paths = _choose(list_images(options.calibration), options.limit)
    spiking = convert(network, Pictures(paths, network), suhd)
    firing = mean_firing(measure(spiking, _choose(paths, MEASURED_PICTURES)))
    spiking = replace(spiking, firing_rates=firing.rate_by_layer)
    save(spiking, options.output)
    for line in summary(spiking, options.output):
        print(line)
    return 0


def check_output(path: Path) -> None:
    """
    Find out before the work whether its result can be written.

    :raises ConfigurationError: if the file cannot be.
    """
    if path.is_dir() or not os.access(path if path.exists() else path.parent, os.W_OK):
        raise ConfigurationError(f'{path} cannot be written: name a file in a directory that '
                                 'exists and may be written to')


class Pictures:
    """
    Picture files as the input of a network, read one at a time and counted on the terminal.

    :param paths: the files.
    :param network: the network whose input size they are letterboxed to.
    """

    def __init__(self, paths: Sequence[Path], network: FloatNetwork) -> None:
        self._paths = paths
        self._letterbox = Letterbox(network.input_size)

    def __len__(self) -> int:
        return len(self._paths)

    def __iter__(self) -> Iterator[NDArray[np.uint8]]:
        for path in tqdm(self._paths, desc='calibrating', unit='picture', disable=None):
            yield self._letterbox(read_bgr(path))


def summary(network: SpikingNetwork, path: Path) -> Iterator[str]:
    """Yield what was made, a line each."""
    thresholds = np.concatenate([
        conv.threshold for conv in network.convolutions if conv.threshold is not None])
    yield (f'{path}: {network.code} (Q = {network.code.max_level}), initial membrane '
           f'{network.initial_membrane}, {len(list(network.convolutions))} convolutions, '
           f'{path.stat().st_size / 1e6:.2f} MB')
    yield (f'thresholds {thresholds.min()}..{thresholds.max()}, median '
           f'{int(np.median(thresholds))}; silent channels: '
           f'{network.provenance["silent_channels"]}')
    if network.head is None:
        yield 'no head: the outputs are raw membranes'
    else:
        strides = ', '.join(str(level.stride) for level in network.head.levels)
        yield f'YOLOv5 head at strides {strides}; classes: {", ".join(network.class_names)}'


def _choose(paths: list[Path], limit: int | None) -> list[Path]:
    if limit is not None and limit < 1:
        raise ConfigurationError(f'--limit {limit} must be at least 1')
    if limit is None or limit >= len(paths):
        return paths
    return [paths[index * len(paths) // limit] for index in range(limit)]


def _anchors(text: str | None) -> Anchors | None:
    if text is None:
        return None
    try:
        return check_anchors(json.loads(text))
    except ValueError as error:
        raise ConfigurationError(f'--anchors {text!r} is not JSON: {error}') from error
