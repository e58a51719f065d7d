# SPDX-License-Identifier: Apache-2.0
"""A schedule on the monotonic clock: wait until a frame is due, and remember how late it was."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

#: Longest sleep at once, s: how long a request to stop may go unheard.
LONGEST_SLEEP = 0.05


@dataclass(frozen=True)
class Lateness:
    """How late frames went out, ms."""

    frames: int
    seconds: float
    median: float
    p99: float
    maximum: float

    def __str__(self) -> str:
        rate = (self.frames - 1) / self.seconds if self.frames > 1 and self.seconds > 0 else 0.0
        return (f'{self.frames} frames in {self.seconds:.2f} s ({rate:.1f} Hz), late by '
                f'{self.median:.1f} ms in the median, {self.p99:.1f} ms at p99, '
                f'{self.maximum:.1f} ms at most')


@dataclass
class Schedule:
    """
    When things are due, counted from the first thing that was waited for.

    :param stopped: asked often while waiting; ends the wait when it says so.
    :param tick: called every ``tick_period`` s while waiting, for example to publish the time.
    """

    stopped: Callable[[], bool] = lambda: False
    tick: Callable[[], None] | None = None
    tick_period: float = 0.005
    start: float | None = None
    _late: list[float] = field(default_factory=list)
    _last: float = 0.0

    @property
    def elapsed(self) -> float:
        """Seconds since the first wait."""
        return 0.0 if self.start is None else time.monotonic() - self.start

    def wait(self, due: float) -> bool:
        """
        Sleep until ``due`` s after the first call.

        :returns: False if the wait was ended because of ``stopped``.
        """
        if self.stopped():
            return False
        if self.start is None:
            self.start = time.monotonic() - due
        while (remaining := self.start + due - time.monotonic()) > 0:
            if self.tick is not None:
                self.tick()
                remaining = min(remaining, self.tick_period)
            time.sleep(min(remaining, LONGEST_SLEEP))
            if self.stopped():
                return False
        self._last = time.monotonic()
        self._late.append(self._last - self.start - due)
        return True

    def lateness(self) -> Lateness:
        """Summarise all waits so far."""
        late = 1e3 * np.array(self._late or [0.0])
        seconds = 0.0 if self.start is None else self._last - self.start
        return Lateness(len(self._late), seconds, float(np.median(late)),
                        float(np.percentile(late, 99)), float(late.max()))
