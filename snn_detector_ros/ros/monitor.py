# SPDX-License-Identifier: Apache-2.0
"""
What the node knows about its own work: counts, times and spikes, from both of its threads.

Every received image, or closed window of events, ends up in exactly one event: :data:`PROCESSED`,
or one that opens with :data:`DROPPED`.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from snn_detector_ros.engines.statistics import FiringStatistics, mean_firing
from snn_detector_ros.ros.latency import LatencyRecord, Percentiles

RECEIVED = 'received'
PROCESSED = 'processed'
ZERO_STAMPS = 'zero stamps'
LOST_IN_TRANSPORT = 'lost in transport'
REFUSED_PARAMETERS = 'refused parameters'
TIME_JUMPS = 'time jumps'

#: Opens the name of each cause for which a received image was not processed.
DROPPED = 'dropped: '
REPLACED = DROPPED + 'replaced by a newer image'
TOO_OLD = DROPPED + 'older than max_age'
BAD_IMAGE = DROPPED + 'bad image, '
FAILED = DROPPED + 'detector failed, '
CRASHED = DROPPED + 'unexpected error, '
#: Opens the name of each cause for which a packet of events was not decoded.
BAD_PACKET = 'bad packets: '
#: Follows it where nobody expected the error.
UNEXPECTED = 'unexpected error, '
DROPPED_PACKETS = 'packets dropped before decoding'
#: An unexpected error once the detections were out: while counting spikes or drawing.
AFTERWARDS = 'unexpected error after detection, '


@dataclass(frozen=True)
class Report:
    """
    What happened since the last report.

    :param seconds: length of that period.
    :param recent: events of the period.
    :param totals: events since start or the last reset.
    :param latency: percentiles over the last frames, by stage and sum.
    :param firing: of the mean frame; None if no frame was counted in the period.
    :param counted: frames that it is the mean of.
    """

    seconds: float
    recent: Counter[str]
    totals: Counter[str]
    latency: dict[str, Percentiles]
    firing: FiringStatistics | None
    counted: int

    def rate(self, event: str) -> float:
        """Return how often an event happened, in Hz; of several, if it ends in a blank."""
        return _sum(self.recent, event) / self.seconds

    def total(self, event: str) -> int:
        """Return how often an event happened; of several, if it ends in a blank."""
        return _sum(self.totals, event)


class Monitor:
    """
    Collects events, times and spikes; safe for threads.

    :param now: monotonic clock, in seconds.
    """

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._lock = threading.Lock()
        self._now = now
        self._since = self._last_arrival = now()
        self._recent: Counter[str] = Counter()
        self._totals: Counter[str] = Counter()
        self._latency = LatencyRecord()
        self._firing: list[FiringStatistics] = []

    def count(self, event: str, times: int = 1) -> None:
        """Count an event."""
        with self._lock:
            self._recent[event] += times

    def count_all(self, events: Counter[str]) -> None:
        """Count several events."""
        with self._lock:
            self._recent.update(events)

    def arrived(self) -> None:
        """Note that an image, or a packet of events, has arrived just now."""
        with self._lock:
            self._last_arrival = self._now()

    def timed(self, times: Mapping[str, float]) -> None:
        """Add times of something that is not a frame; see :mod:`.latency`."""
        with self._lock:
            self._latency.add(times)

    def processed(self, times: Mapping[str, float]) -> None:
        """Count a processed frame with its times; see :mod:`.latency`."""
        with self._lock:
            self._recent[PROCESSED] += 1
            self._latency.add(times)

    def fired(self, statistics: FiringStatistics) -> None:
        """Add the spikes of a frame."""
        with self._lock:
            self._firing.append(statistics)

    def reset(self, event: str | None = None) -> None:
        """Forget everything, and count an event that says why."""
        with self._lock:
            self._since = self._last_arrival = self._now()
            self._recent = Counter([event] if event else [])
            self._totals = Counter()
            self._latency = LatencyRecord()
            self._firing = []

    @property
    def silence(self) -> float:
        """Seconds since the last image or packet, or since the last reset."""
        with self._lock:
            return self._now() - self._last_arrival

    def report(self) -> Report:
        """Return what happened since the last report, and begin the next period."""
        with self._lock:
            now = self._now()
            self._totals.update(self._recent)
            firing = _of_last_network(self._firing)
            report = Report(
                max(now - self._since, 1e-3), self._recent, self._totals.copy(),
                self._latency.percentiles(), mean_firing(firing) if firing else None,
                len(firing))
            self._since = now
            self._recent = Counter()
            self._firing = []
            return report


def _sum(events: Counter[str], name: str) -> int:
    if name.endswith(' '):
        return sum(times for event, times in events.items() if event.startswith(name))
    return events[name]


def _of_last_network(firing: list[FiringStatistics]) -> list[FiringStatistics]:
    """Leave out the frames of a network that has been swapped for another one."""
    return [frame for frame in firing if _kind(frame) == _kind(firing[-1])]


def _kind(frame: FiringStatistics) -> tuple[tuple[str, ...], list[int], int]:
    return frame.names, frame.neurons_per_layer.tolist(), frame.spikes_per_step.shape[1]
