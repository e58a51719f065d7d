# SPDX-License-Identifier: Apache-2.0
"""
How long each launch of a plan takes by itself, and how near that is to what the GPU could do.

A launch is timed in a graph that repeats it, less a graph that runs it once: what a frame needs
beside its launches is in both. Its tensors then lie in the GPU's cache, as those of a small network
do in a frame.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from benchmarks.roofline import Gpu, Work
from snn_detector_ros.engines.gpu.driver import Driver
from snn_detector_ros.engines.gpu.plan import Launch, Plan
from snn_detector_ros.engines.gpu.session import GpuSessions
from snn_detector_ros.errors import EngineError

#: How much more often the longer graph runs a launch.
REPEATS = 100
#: Bytes that are copied to learn how fast the GPU's memory is: more than any cache holds.
COPY_BYTES = 1 << 30


@dataclass(frozen=True)
class LaunchTime:
    """
    A launch by itself.

    :param layers: the layers that it computes; none if it only copies.
    :param ms: how long it takes.
    """

    kernel: str
    layers: tuple[str, ...]
    grid: tuple[int, int]
    work: Work
    ms: float

    def as_json(self, gpu: Gpu) -> dict[str, Any]:
        """Return plain data, with rates and the share of the roofline."""
        return {'kernel': self.kernel, 'layers': self.layers, 'grid': self.grid, 'ms': self.ms,
                **figures(self.work, self.ms, gpu)}


def figures(work: Work, ms: float, gpu: Gpu) -> dict[str, float]:
    """Return what work that takes so long comes to."""
    least = 1e3 * max(gpu.seconds(work))
    return {'products': work.products, 'traffic': work.traffic, 'tops': work.tops(ms),
            'gbs': work.gbs(ms), 'least_ms': least, 'share': least / ms}


def repeated(plan: Plan, launch: Launch, times: int) -> Plan:
    """Return a plan of one launch, several times over; buffers and constants are the old ones."""
    return replace(plan, launches=[launch] * times)


def time_launches(sessions: GpuSessions, plan: Plan, *, rounds: int) -> list[LaunchTime]:
    """
    Time each launch of a plan by itself.

    :param rounds: runs of each graph, of which the median counts.
    :raises EngineError: if the GPU's clock cannot tell the two graphs of a launch apart.
    """
    return [LaunchTime(launch.spec.kernel, launch.layers, launch.grid, Work.of([launch]),
                       _time(sessions, plan, launch, rounds)) for launch in plan.launches]


def _time(sessions: GpuSessions, plan: Plan, launch: Launch, rounds: int) -> float:
    once, often = (_median(sessions, repeated(plan, launch, times), rounds)
                   for times in (1, 1 + REPEATS))
    if often <= once:
        raise EngineError(
            f'{launch.spec.kernel} {", ".join(launch.layers)}: {1 + REPEATS} launches took '
            f'{often:.3f} ms and one {once:.3f} ms: use more --rounds on a GPU that is idle')
    return (often - once) / REPEATS


def _median(sessions: GpuSessions, plan: Plan, rounds: int) -> float:
    session = sessions.open(plan, ())
    session.run()
    times = [session.timed_run() for _ in range(rounds)]
    session.close()
    return float(np.median(times))


def copy_speed(driver: Driver, *, rounds: int) -> float:
    """Return 10^9 bytes a second, read and written, of large copies within the GPU's memory."""
    driver.bind()
    stream = driver.stream()
    source, target = (driver.call('cuMemAlloc', COPY_BYTES) for _ in range(2))

    def copy() -> None:
        driver.call('cuMemcpyDtoDAsync', target, source, COPY_BYTES, stream)

    driver.elapsed(stream, copy)
    ms = float(np.median([driver.elapsed(stream, copy) for _ in range(rounds)]))
    for address in (source, target):
        driver.call('cuMemFree', address)
    driver.call('cuStreamDestroy', stream)
    return 2 * COPY_BYTES / ms * 1e-6
