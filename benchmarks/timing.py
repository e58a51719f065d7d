# SPDX-License-Identifier: Apache-2.0
"""
Times contestants in turns, so that whatever else the machine does hits all of them alike.

Each visit of a contestant is a pause, one call that is not timed and a few that are. The pause lets
the threads of the one before come to rest, the untimed call fills the caches. Wall time is what a
robot waits for; the processor time of the process does not count the time that other programs had
the cores, so on a busy machine its ratios are the ones to trust (with one thread).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

#: Seconds between two contestants.
PAUSE = 0.015


@dataclass(frozen=True)
class Contestant:
    """
    Something to be timed.

    :param run: does the work of one frame; on a GPU it returns how long that took there, ms.
    :param every: is visited in every n-th round only, because it is slow.
    """

    run: Callable[[], Any]
    every: int = 1


@dataclass(frozen=True)
class Summary:
    """Times of one contestant in ms; ``wall`` of the clock, ``cpu`` of all threads together."""

    samples: int
    wall_median: float
    wall_min: float
    wall_p90: float
    cpu_median: float
    cpu_min: float

    @classmethod
    def of(cls, samples: NDArray[np.float64]) -> Summary:
        """
        Summarise samples.

        :param samples: float64 [N, 2], wall and processor time in ms.
        """
        wall, cpu = samples.T
        return cls(len(samples), *(float(value) for value in (
            np.median(wall), wall.min(), np.percentile(wall, 90), np.median(cpu), cpu.min())))


@dataclass(frozen=True)
class GpuSummary:
    """Times of one contestant in ms; ``gpu`` between two events around a frame."""

    samples: int
    gpu_median: float
    gpu_min: float
    gpu_p90: float
    wall_median: float

    @classmethod
    def of(cls, samples: NDArray[np.float64]) -> GpuSummary:
        """
        Summarise samples.

        :param samples: float64 [N, 2], wall time and the GPU's in ms.
        """
        wall, gpu = samples.T
        return cls(len(samples), *(float(value) for value in (
            np.median(gpu), gpu.min(), np.percentile(gpu, 90), np.median(wall))))


def race(
    contestants: Mapping[str, Contestant], *, rounds: int, calls: int = 3,
) -> dict[str, Summary]:
    """
    Time all contestants in turns.

    :param rounds: visits of each contestant.
    :param calls: timed calls of a visit; a slow contestant has one.
    """
    return {name: Summary.of(samples) for name, samples in _samples(
        contestants, _time, rounds, calls).items()}


def race_on_gpu(
    contestants: Mapping[str, Contestant], *, rounds: int, calls: int = 20,
) -> dict[str, GpuSummary]:
    """Do the same where contestants return how long a frame took the GPU."""
    return {name: GpuSummary.of(samples) for name, samples in _samples(
        contestants, _time_on_gpu, rounds, calls).items()}


def _samples(
    contestants: Mapping[str, Contestant],
    measure: Callable[[Callable[[], Any]], tuple[float, float]], rounds: int, calls: int,
) -> dict[str, NDArray[np.float64]]:
    samples: dict[str, list[tuple[float, float]]] = {name: [] for name in contestants}
    for round_index in range(rounds):
        for name, contestant in contestants.items():
            if round_index % contestant.every:
                continue
            time.sleep(PAUSE)
            contestant.run()
            samples[name] += [
                measure(contestant.run) for _ in range(1 if contestant.every > 1 else calls)]
    return {name: np.array(values) for name, values in samples.items()}


def _time(run: Callable[[], Any]) -> tuple[float, float]:
    wall, cpu = time.perf_counter(), time.process_time()
    run()
    return 1e3 * (time.perf_counter() - wall), 1e3 * (time.process_time() - cpu)


def _time_on_gpu(run: Callable[[], Any]) -> tuple[float, float]:
    wall = time.perf_counter()
    gpu = float(run())
    return 1e3 * (time.perf_counter() - wall), gpu
