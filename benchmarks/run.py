# SPDX-License-Identifier: Apache-2.0
"""
Race the spiking detector against its opponents: ``python -m benchmarks.run``.

Prints medians, minima and ratios of all contestants, whether other runtimes compute the same
levels, the cost of the stages around the network, and which goals are reached; writes all of it as
JSON.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks import contestants, host, report
from benchmarks.results import RaceResult
from benchmarks.stages import time_stages
from benchmarks.subjects import Subject, add_options, finish, picture, plain, subjects
from benchmarks.timing import race

#: Side of the input for which the stages around the network are timed, px.
STAGE_SIZE = 640


def main(arguments: Sequence[str] | None = None) -> int:
    """
    Run the benchmark.

    :param arguments: command line without the program's name; ``sys.argv`` if None.
    :returns: exit status; 1 for an error that was named.
    """
    options = _parser().parse_args(arguments)
    if options.quick:
        options.rounds, options.sizes, options.threads = 2, options.sizes[:1], [1]
    return finish(lambda: _run(options), options.json)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog='python -m benchmarks.run', description=__doc__)
    add_options(parser)
    parser.add_argument('--threads', type=int, nargs='+', default=[1, 2], metavar='N')
    parser.add_argument('--rounds', type=int, default=12, help='visits of each contestant')
    parser.add_argument('--spinning', action='store_true',
                        help='let idle threads of ONNX Runtime spin, in all its sessions')
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
    chosen = subjects(options)
    races, goals, levels = [], [], []
    for subject in chosen:
        for size in options.sizes:
            pixels = picture(options.image, size)
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
    stages = [stage for subject in chosen[:1] if subject.network.head is not None
              for stage in time_stages(
                  subject.network, size=STAGE_SIZE, rounds=options.rounds)]
    print(f'\n{report.stage_table(stages)}\n\n{report.goal_table(goals)}')
    return {
        'host': facts | {'load_at_end': host.load()},
        'options': plain(options),
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


if __name__ == '__main__':
    sys.exit(main())
