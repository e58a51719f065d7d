# SPDX-License-Identifier: Apache-2.0
"""
Where the time of a frame goes, as percentiles over the last frames (or packets).

All values are milliseconds. Stages follow a frame from the camera driver to the subscriber:

| stage | from | to |
|---|---|---|
| `transport` | the publisher hands the image over | the middleware here has received it |
| `decode` | the bytes of a packet of events | its events, cut into windows |
| `window` | the end of a window of events, as stamped | it is closed |
| `wait` | received, or closed | the worker takes it |
| `convert` | taken | pixels at hand (decoded, if compressed; drawn, if events) |
| `preprocess` | pixels | letterboxed input of the network |
| `inference` | input | membranes of the readouts |
| `postprocess` | membranes | boxes in source pixels |
| `publish` | boxes | detections handed to the middleware |

With events, `transport` and `decode` are those of packets; `window`, like `age`, needs clocks that
agree.

Two sums: `compute` is taken to published, on a monotonic clock; `age` is the stamp of the image to
published, on the clock of the node, and so needs a camera whose clock agrees.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

STAGES = ('transport', 'decode', 'window', 'wait', 'convert', 'preprocess', 'inference',
          'postprocess', 'publish')
SUMS = ('compute', 'age')

#: Frames that percentiles are taken over.
WINDOW = 300


@dataclass(frozen=True)
class Percentiles:
    """Distribution of one time over the last frames, in ms."""

    p50: float
    p95: float
    p99: float
    max: float

    def __str__(self) -> str:
        return (f'p50 {self.p50:.2f}, p95 {self.p95:.2f}, p99 {self.p99:.2f}, '
                f'max {self.max:.2f} ms')


class LatencyRecord:
    """The times of the last frames; not safe for threads, see `monitor.py`."""

    def __init__(self, window: int = WINDOW) -> None:
        self._times: dict[str, deque[float]] = {
            name: deque(maxlen=window) for name in (*STAGES, *SUMS)}

    def add(self, times: Mapping[str, float]) -> None:
        """
        Add one frame.

        :param times: milliseconds of the stages and sums that are known of it.
        """
        for name, milliseconds in times.items():
            self._times[name].append(milliseconds)

    def percentiles(self) -> dict[str, Percentiles]:
        """Return the distribution of every stage and sum seen so far, in the order of a frame."""
        return {
            name: Percentiles(*np.percentile(times, (50, 95, 99, 100)).tolist())
            for name, times in self._times.items() if times}
