# SPDX-License-Identifier: Apache-2.0
"""Results as tables for people to read."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from benchmarks.contestants import FLOAT
from benchmarks.gpu_launches import LaunchTime, figures
from benchmarks.results import Goal, GpuRace, RaceResult
from benchmarks.roofline import Gpu
from benchmarks.stages import StageCost


def race_table(result: RaceResult) -> str:
    """Return the times of one race in ms, and the ratios to the float network."""
    conditions = result.conditions
    lines = [
        f'{result.network}, {conditions.size} x {conditions.size} px, {conditions.threads} '
        f'thread{"s" * (conditions.threads > 1)} (load {result.load:.2f})',
        f'  {"":34} {"wall ms":>8} {"min":>8} {"cpu ms":>8} {"min":>8}   '
        f'{"ratio":>5} {"min":>5} {"cpu":>5}']
    for name, time in result.times.items():
        lines.append(
            f'  {name:34} {time.wall_median:8.2f} {time.wall_min:8.2f} {time.cpu_median:8.2f} '
            f'{time.cpu_min:8.2f}   {result.ratio(name, FLOAT, "wall_median"):5.2f} '
            f'{result.ratio(name, FLOAT, "wall_min"):5.2f} {result.ratio(name, FLOAT):5.2f}')
    lines.append(
        f'  {result.spikes / 1e6:.2f} million spikes a frame, {result.rate:.2f} per neuron and '
        f'step: {result.spikes_per_second / 1e9:.2f} billion spikes/s')
    return '\n'.join(lines)


def levels_line(network: str, size: int, counts: Mapping[str, int]) -> str:
    """Return in one sentence how many levels other runtimes get wrong."""
    wrong = [f'{name}: {count} wrong' for name, count in counts.items() if name != 'levels']
    return f'{network} at {size} px, {counts["levels"]} levels; {"; ".join(wrong)}'


def stage_table(stages: Sequence[StageCost]) -> str:
    """Return the times of the stages around the network in ms."""
    lines = ['Stages around the network, 1 thread',
             f'  {"":50} {"wall ms":>8} {"cpu ms":>8} {"min":>8} {"target":>8}']
    for stage in stages:
        target = f'{stage.target:8.1f}' if stage.target is not None else ''
        lines.append(f'  {stage.name:50} {stage.time.wall_median:8.3f} '
                     f'{stage.time.cpu_median:8.3f} {stage.time.cpu_min:8.3f} {target}')
    return '\n'.join(lines)


def goal_table(goals: Sequence[Goal]) -> str:
    """Return which goals are reached, by medians of processor time on one thread."""
    width = max((len(goal.name) for goal in goals), default=0)
    return '\n'.join(['Goals (processor time, statistics counted in every frame)', *(
        f'  {goal.name:{width}} {goal.value:6.3f} of {goal.limit:.2f} '
        f'{"reached" if goal.met else "MISSED"}' for goal in goals)])


def gpu_race_table(race: GpuRace) -> str:
    """Return the times of one race on a GPU in ms, ratios, and how far our engine is from it."""
    lines = [f'{race.network}, {race.size} x {race.size} px, batch 1, with upload and download',
             f'  {"":34} {"GPU ms":>8} {"min":>8} {"p90":>8} {"wall ms":>8} {"ratio":>7}']
    for name, time in race.times.items():
        ratio = race.ratio(name)
        lines.append(
            f'  {name:34} {time.gpu_median:8.4f} {time.gpu_min:8.4f} {time.gpu_p90:8.4f} '
            f'{time.wall_median:8.4f} {"-" if ratio is None else f"{ratio:.3f}":>7}')
    lines.append(f'  ratios: to {race.opponent}' if race.opponent is not None
                 else '  no ratios: no float network took part')
    for name in race.launches:
        values = race.figures(name)
        lines.append(
            f'  {name}: {values["tops"]:.2f} x 10^12 operations/s, {values["gbs"]:.1f} x 10^9 '
            f'bytes/s, {100 * values["share"]:.1f} % of {_roofline(race.gpu)}')
    return '\n'.join(lines)


def launch_table(name: str, launches: Sequence[LaunchTime], gpu: Gpu) -> str:
    """Return the time of each launch of our engine by itself."""
    lines = [f'{name}: each launch by itself; share of {_roofline(gpu)}',
             f'  {"us":>8} {"Top/s":>8} {"GB/s":>8} {"share":>7}  {"kernel":12} layers']
    for launch in launches:
        values = figures(launch.work, launch.ms, gpu)
        lines.append(
            f'  {1e3 * launch.ms:8.2f} {values["tops"]:8.2f} {values["gbs"]:8.1f} '
            f'{100 * values["share"]:6.1f}%  {launch.kernel:12} '
            f'{", ".join(launch.layers) or "(copy)"}')
    total = sum(launch.ms for launch in launches)
    lines.append(f'  {1e3 * total:8.2f} all {len(launches)} launches')
    return '\n'.join(lines)


def _roofline(gpu: Gpu) -> str:
    operations = '' if math.isinf(gpu.tops) else f' and {gpu.tops:g} x 10^12 operations/s'
    return f'the roofline of {gpu.bandwidth:.0f} x 10^9 bytes/s{operations}'
