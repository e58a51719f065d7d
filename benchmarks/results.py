# SPDX-License-Identifier: Apache-2.0
"""What a benchmark found out, and whether it reaches the goals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from benchmarks.contestants import COUNTED, FLOAT, SPIKINGJELLY, Conditions
from benchmarks.gpu_contestants import FLOATS, OURS
from benchmarks.gpu_launches import LaunchTime, figures
from benchmarks.roofline import Gpu, Work
from benchmarks.timing import GpuSummary, Summary

#: Statistics whose ratios are reported.
STATISTICS = ('wall_median', 'wall_min', 'cpu_median', 'cpu_min')

#: Most time of SpikingJelly's that our engine may take.
SPIKINGJELLY_GOAL = 0.1


@dataclass(frozen=True)
class Goal:
    """
    A ratio of medians of processor time on one thread, and the limit it must not exceed.

    :param value: the ratio; of :data:`COUNTED`, statistics included, to the opponent.
    """

    name: str
    limit: float
    value: float

    @property
    def met(self) -> bool:
        """Whether the goal is reached."""
        return self.value <= self.limit


@dataclass(frozen=True)
class RaceResult:
    """
    One race: one network under one set of conditions.

    :param load: busy processes of the machine before the race.
    :param spikes: spikes of the frame.
    :param rate: spikes per neuron and time step.
    """

    network: str
    conditions: Conditions
    load: float
    spikes: int
    rate: float
    times: dict[str, Summary]

    def ratio(self, name: str, opponent: str, statistic: str = 'cpu_median') -> float:
        """Return how long one contestant takes in units of another."""
        return float(getattr(self.times[name], statistic)
                     / getattr(self.times[opponent], statistic))

    @property
    def spikes_per_second(self) -> float:
        """Spikes that the engine delivers and counts in a second of wall time."""
        return 1e3 * self.spikes / self.times[COUNTED].wall_median

    def goals(self, float_limit: float) -> list[Goal]:
        """Return the goals of this race; only races on one thread have any."""
        if self.conditions.threads != 1:
            return []
        at = f'{self.network} at {self.conditions.size} px'
        opponents = {FLOAT: float_limit, SPIKINGJELLY: SPIKINGJELLY_GOAL}
        return [Goal(f'{at}, to {opponent}', limit, self.ratio(COUNTED, opponent))
                for opponent, limit in opponents.items() if opponent in self.times]

    def as_json(self) -> dict[str, Any]:
        """Return plain data, with ratios to the float network."""
        return {
            'network': self.network, **asdict(self.conditions), 'load': self.load,
            'spikes': self.spikes, 'rate': self.rate,
            'spikes_per_second': self.spikes_per_second,
            'times_ms': {name: asdict(summary) for name, summary in self.times.items()},
            'ratios': {name: {statistic: self.ratio(name, FLOAT, statistic)
                              for statistic in STATISTICS} for name in self.times},
        }


@dataclass(frozen=True)
class GpuRace:
    """
    One race on a GPU: one network at one size.

    :param gpu: its peaks.
    :param work: what a frame of our engine has to do.
    :param times: of all contestants.
    :param launches: of our engine, by contestant.
    """

    network: str
    size: int
    gpu: Gpu
    work: Work
    times: Mapping[str, GpuSummary]
    launches: Mapping[str, Sequence[LaunchTime]]

    @property
    def opponent(self) -> str | None:
        """The float network that ratios refer to; None if no float network took part."""
        return next((name for name in FLOATS if name in self.times), None)

    def ratio(self, name: str) -> float | None:
        """Return how long a contestant takes in units of the opponent; None without one."""
        if self.opponent is None:
            return None
        return self.times[name].gpu_median / self.times[self.opponent].gpu_median

    def figures(self, name: str) -> dict[str, float]:
        """Return what a frame of our engine comes to."""
        return figures(self.work, self.times[name].gpu_median, self.gpu)

    def as_json(self) -> dict[str, Any]:
        """Return plain data."""
        return {
            'network': self.network, 'size': self.size, 'opponent': self.opponent,
            'times_ms': {name: asdict(summary) for name, summary in self.times.items()},
            'ratios': {name: self.ratio(name) for name in self.times},
            'figures': {name: self.figures(name) for name in OURS.values() if name in self.times},
            'launches': {name: [launch.as_json(self.gpu) for launch in launches]
                         for name, launches in self.launches.items()},
        }
