# SPDX-License-Identifier: Apache-2.0
"""What both races share: networks, float opponents and picture, as options name them; the end."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from benchmarks.random_network import SIZES, random_yolov5
from snn_detector_ros.conversion import FloatNetwork, dequantise, read_onnx
from snn_detector_ros.detection.letterbox import Letterbox
from snn_detector_ros.errors import ImageError, SnnDetectorError
from snn_detector_ros.network import SpikingNetwork
from snn_detector_ros.network.model_file import load_converted
from snn_detector_ros.resources import DEFAULT_MODEL, resource

#: Most time of the float network's that each network may take; large ones gain more.
FLOAT_GOALS = {'n': 0.5, 's': 0.35}


@dataclass(frozen=True, eq=False)
class Subject:
    """
    A network to benchmark.

    :param float_network: its opponent.
    :param goal: most time of the opponent's that it may take on a CPU.
    :param path: its model file; None if its weights are random.
    """

    network: SpikingNetwork
    float_network: FloatNetwork
    goal: float
    path: Path | None = None


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that choose networks and picture."""
    parser.add_argument('--model', type=Path, help='a model file; default: the shipped one')
    parser.add_argument('--float', type=Path, dest='float_model', metavar='ONNX',
                        help='the float network that --model was converted from; default: the '
                        'spiking network dequantised, which costs the same')
    parser.add_argument('--random', choices=SIZES, action='append', default=[],
                        help='a YOLOv5 of this size with random weights; may be repeated; without '
                        '--model, instead of the shipped network')
    parser.add_argument('--sizes', type=int, nargs='+', default=[320, 416, 640], metavar='PX')
    parser.add_argument('--image', type=Path, help='the picture to run; default: smooth noise')


def subjects(options: argparse.Namespace) -> list[Subject]:
    """
    Return the networks that options name.

    :raises SnnDetectorError: if a file cannot be used.
    """
    chosen = []
    if options.model is not None or not options.random:
        path = options.model or resource(DEFAULT_MODEL)
        network = replace(load_converted(path), name=path.stem)
        float_network = (dequantise(network) if options.float_model is None
                         else read_onnx(options.float_model))
        chosen.append(Subject(network, float_network, FLOAT_GOALS['n'], path))
    for size in options.random:
        network = random_yolov5(size)
        chosen.append(Subject(network, dequantise(network), FLOAT_GOALS[size]))
    return chosen


def picture(path: Path | None, size: int, *, seed: int = 0) -> NDArray[np.uint8]:
    """
    Return the picture of every frame, uint8 [size, size, 3].

    :param path: a file; None makes smooth noise of the seed.
    :raises ImageError: if the file is no picture.
    """
    if path is None:
        noise = np.random.default_rng(seed).integers(0, 256, (20, 20, 3), dtype=np.uint8)
        return np.asarray(cv2.resize(noise, (size, size), interpolation=cv2.INTER_CUBIC))
    image = cv2.imread(str(path), cv2.IMREAD_COLOR)
    if image is None:
        raise ImageError(f'{path}: cannot be read as a picture')
    return Letterbox((size, size))(image).copy()


def plain(options: argparse.Namespace) -> dict[str, Any]:
    """Return options as they are written to JSON."""
    return {key: str(value) if isinstance(value, Path) else value
            for key, value in vars(options).items()}


def finish(run: Callable[[], dict[str, Any]], path: Path) -> int:
    """
    Run a benchmark and write what it returns as JSON.

    :returns: exit status; 1 for an error that was named.
    """
    try:
        results = run()
    except SnnDetectorError as error:
        print(f'benchmark: {error}', file=sys.stderr)
        return 1
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(results, indent=1) + '\n')
    print(f'wrote {path}')
    return 0
