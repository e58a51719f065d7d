# SPDX-License-Identifier: Apache-2.0
"""
Race the spiking detector against its opponents: ``python -m benchmarks.run``.

Prints medians, minima and ratios of all contestants, whether other runtimes compute the same
levels, the cost of the stages around the network, and which goals are reached; writes all of it as
JSON.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from benchmarks import contestants, host, report
from benchmarks.random_network import SIZES, random_yolov5
from benchmarks.results import RaceResult
from benchmarks.stages import time_stages
from benchmarks.timing import race
from snn_detector_ros.conversion import FloatNetwork, dequantise, read_onnx
from snn_detector_ros.detection.letterbox import Letterbox
from snn_detector_ros.errors import ImageError, SnnDetectorError
from snn_detector_ros.network import SpikingNetwork
from snn_detector_ros.network.model_file import load_converted
from snn_detector_ros.resources import DEFAULT_MODEL, resource

#: Most time of the float network's that each network may take; large ones gain more.
FLOAT_GOALS = {'n': 0.5, 's': 0.35}

#: Side of the input for which the stages around the network are timed, px.
STAGE_SIZE = 640


@dataclass(frozen=True, eq=False)
class Subject:
    """
    A network to benchmark.

    :param float_network: its opponent.
    :param goal: most time of the opponent's that it may take.
    """

    network: SpikingNetwork
    float_network: FloatNetwork
    goal: float


def main(arguments: Sequence[str] | None = None) -> int:
    """
    Run the benchmark.

    :param arguments: command line without the program's name; ``sys.argv`` if None.
    :returns: exit status; 1 for an error that was named.
    """
    options = _parser().parse_args(arguments)
    if options.quick:
        options.rounds, options.sizes, options.threads = 2, options.sizes[:1], [1]
    try:
        results = _run(options)
    except SnnDetectorError as error:
        print(f'benchmark: {error}', file=sys.stderr)
        return 1
    options.json.parent.mkdir(parents=True, exist_ok=True)
    options.json.write_text(json.dumps(results, indent=1) + '\n')
    print(f'wrote {options.json}')
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog='python -m benchmarks.run', description=__doc__)
    parser.add_argument('--model', type=Path, help='a model file; default: the shipped one')
    parser.add_argument('--float', type=Path, dest='float_model', metavar='ONNX',
                        help='the float network that --model was converted from; default: the '
                        'spiking network dequantised, which costs the same')
    parser.add_argument('--random', choices=SIZES, action='append', default=[],
                        help='a YOLOv5 of this size with random weights; may be repeated; without '
                        '--model, instead of the shipped network')
    parser.add_argument('--sizes', type=int, nargs='+', default=[320, 416, 640], metavar='PX')
    parser.add_argument('--threads', type=int, nargs='+', default=[1, 2], metavar='N')
    parser.add_argument('--rounds', type=int, default=12, help='visits of each contestant')
    parser.add_argument('--spinning', action='store_true',
                        help='let idle threads of ONNX Runtime spin, in all its sessions')
    parser.add_argument('--image', type=Path, help='the picture to run; default: smooth noise')
    parser.add_argument('--quick', action='store_true',
                        help='two rounds of the first size on one thread, to see that all runs')
    parser.add_argument('--json', type=Path, default=Path('runs/bench.json'), metavar='FILE')
    return parser


def _run(options: argparse.Namespace) -> dict[str, Any]:
    facts = host.describe()
    print(f'{facts["cpu"]}, {facts["cores"]} cores ({" ".join(facts["cpu_features"])}), '
          f'load {facts["load"]}')
    print(', '.join(f'{name} {version}' for name, version in facts['versions'].items()))
    absent = contestants.missing()
    for name, packages in absent.items():
        print(f'without {name}: {packages} not installed; `make bench` installs what it can')
    subjects = _subjects(options)
    races, goals, levels = [], [], []
    for subject in subjects:
        for size in options.sizes:
            pixels = _picture(options.image, size)
            counts = contestants.wrong_levels(
                subject.network, pixels, openvino=contestants.FILE_OPENVINO not in absent)
            levels.append({'network': subject.network.name, 'size': size, **counts})
            for threads in options.threads:
                result = _race(subject, pixels, contestants.Conditions(
                    size, threads, options.spinning), options.rounds)
                print(f'\n{report.race_table(result)}', flush=True)
                races.append(result.as_json())
                goals += result.goals(subject.goal)
            print(f'  {report.levels_line(subject.network.name, size, counts)}')
    stages = [stage for subject in subjects[:1] if subject.network.head is not None
              for stage in time_stages(
                  subject.network, size=STAGE_SIZE, rounds=options.rounds)]
    print(f'\n{report.stage_table(stages)}\n\n{report.goal_table(goals)}')
    return {
        'host': facts | {'load_at_end': host.load()},
        'options': {key: str(value) if isinstance(value, Path) else value
                    for key, value in vars(options).items()},
        'missing': absent, 'races': races, 'levels': levels,
        'stages': [asdict(stage) for stage in stages],
        'goals': [asdict(goal) | {'met': goal.met} for goal in goals],
    }


def _race(
    subject: Subject, pixels: NDArray[np.uint8], conditions: contestants.Conditions, rounds: int,
) -> RaceResult:
    load = host.load()
    entries = contestants.enter(subject.network, subject.float_network, pixels, conditions)
    times = race(entries.contestants, rounds=rounds)
    firing = entries.engine.firing()
    return RaceResult(
        subject.network.name, conditions, load, firing.spikes, firing.rate, times)


def _subjects(options: argparse.Namespace) -> list[Subject]:
    subjects = []
    if options.model is not None or not options.random:
        path = options.model or resource(DEFAULT_MODEL)
        network = replace(load_converted(path), name=path.stem)
        float_network = (dequantise(network) if options.float_model is None
                         else read_onnx(options.float_model))
        subjects.append(Subject(network, float_network, FLOAT_GOALS['n']))
    for size in options.random:
        network = random_yolov5(size)
        subjects.append(Subject(network, dequantise(network), FLOAT_GOALS[size]))
    return subjects


def _picture(path: Path | None, size: int) -> NDArray[np.uint8]:
    """Return the picture of every frame, uint8 [size, size, 3]."""
    if path is None:
        noise = np.random.default_rng(0).integers(0, 256, (20, 20, 3), dtype=np.uint8)
        return np.asarray(cv2.resize(noise, (size, size), interpolation=cv2.INTER_CUBIC))
    image = cv2.imread(str(path), cv2.IMREAD_COLOR)
    if image is None:
        raise ImageError(f'{path}: cannot be read as a picture')
    return Letterbox((size, size))(image).copy()


if __name__ == '__main__':
    sys.exit(main())
