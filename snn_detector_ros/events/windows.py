# SPDX-License-Identifier: Apache-2.0
"""
Cut a stream of events into the windows that a network sees.

Time is the sensor's. It moves on with the events, and by :meth:`advance`, so that windows close in
front of a still scene too. A clock that jumps back is the caller's to notice; then ``reset``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from snn_detector_ros.errors import ConfigurationError
from snn_detector_ros.events.buffer import EventBuffer, in_time_order
from snn_detector_ros.events.types import EVENT, Events

#: Events that may wait for their windows, bytes: 4 million events.
DEFAULT_BUDGET = 64 << 20
#: Empty windows in a row that are given out; of a longer row only the last one is.
MOST_EMPTY = 100


@dataclass(frozen=True)
class Window:
    """
    The events of a stretch of time.

    :param start: us; ``end`` alike, and past the last event.
    :param events: EVENT [N]; in time order if the window was cut by time.
    """

    start: int
    end: int
    events: Events

    def bins(self, count: int) -> list[Events]:
        """Cut the window into ``count`` bins of the same time, empty ones included."""
        edges = self.start + (self.end - self.start) * np.arange(count + 1) // count
        events = in_time_order(self.events)
        cuts = np.searchsorted(events['t'], edges[1:-1])
        return np.split(events, cuts)


@dataclass(frozen=True)
class WindowCounters:
    """
    What did not get into a window.

    :param dropped_events: too many for the byte budget; the oldest go first.
    :param late_events: older than any window that is still open.
    :param skipped_windows: empty windows that were not given out, see :data:`MOST_EMPTY`.
    """

    dropped_events: int = 0
    late_events: int = 0
    skipped_windows: int = 0


class EventWindows(Protocol):
    """Anything that cuts a stream into windows."""

    def add(self, events: Events) -> list[Window]:
        """Take the next events; return the windows that they close, oldest first."""

    def advance(self, now: int) -> list[Window]:
        """Note that it is ``now`` us and all events before have come; return what that closes."""

    def reset(self) -> None:
        """Forget all events and the time; counters go on."""

    @property
    def counters(self) -> WindowCounters:
        """What was lost so far."""


class TimeWindows:
    """
    Windows of a fixed time, one after the other or overlapping.

    They end at the multiples of ``stride``. ``TimeWindows(50_000)`` cuts the stream;
    ``TimeWindows(T * B, stride=B)`` gives every B us the latest T bins of B us:
    ``window.bins(T)``.

    :param length: us.
    :param stride: from one window to the next, us; by default, and at most, ``length``.
    :param budget: bytes of events that may be kept.
    :raises ConfigurationError: if a value cannot work.
    """

    def __init__(
        self, length: int, *, stride: int | None = None, budget: int = DEFAULT_BUDGET,
    ) -> None:
        stride = length if stride is None else stride
        if not 0 < stride <= length:
            raise ConfigurationError(
                f'windows of {length} us every {stride} us: 0 < stride <= length must hold')
        self.length, self.stride = length, stride
        self._buffer = EventBuffer(budget)
        self._end: int | None = None
        self._late = self._skipped = 0

    def add(self, events: Events) -> list[Window]:
        if not len(events):
            return []
        events = in_time_order(events)
        t = events['t']
        if self._end is None:
            self._end = (int(t[0]) // self.stride + 1) * self.stride
        done = int(np.searchsorted(t, self._end - self.length))
        self._late += done
        windows: list[Window] = []
        while done < len(events):
            # A window at a time, so that only those of one compete for the budget.
            windows += self._close_until(int(t[done]))
            fit = int(np.searchsorted(t, self._end))
            self._buffer.append(events[done:fit])
            done = fit
        return windows

    def advance(self, now: int) -> list[Window]:
        if self._end is None:
            self._end = (now // self.stride + 1) * self.stride
        return self._close_until(now)

    def reset(self) -> None:
        self._buffer.clear()
        self._end = None

    @property
    def counters(self) -> WindowCounters:
        return WindowCounters(self._buffer.dropped, self._late, self._skipped)

    def _close_until(self, now: int) -> list[Window]:
        """Close the windows that end by ``now``."""
        assert self._end is not None
        windows = []
        while self._end <= now:
            if not len(self._buffer) and (now - self._end) // self.stride > MOST_EMPTY:
                skipped = (now - self._end) // self.stride
                self._skipped += skipped
                self._end += skipped * self.stride
            start = self._end - self.length
            windows.append(Window(start, self._end, self._buffer.between(start, self._end)))
            self._end += self.stride
            self._buffer.drop_before(self._end - self.length)
        return windows


class CountWindows:
    """
    Windows of a fixed number of events, in the order of the stream.

    :param count: events of a window.
    :param timeout: us after which a window closes with fewer events, or none.
    :param budget: bytes of events that may be kept; must hold a window.
    :raises ConfigurationError: if a value cannot work.
    """

    def __init__(self, count: int, *, timeout: int, budget: int = DEFAULT_BUDGET) -> None:
        self._buffer = EventBuffer(budget)
        if not 0 < count <= self._buffer.capacity or timeout <= 0:
            raise ConfigurationError(
                f'windows of {count} events after {timeout} us at most: both must be positive, and '
                f'the budget of {budget} bytes must hold {count * EVENT.itemsize}')
        self.count, self.timeout = count, timeout
        self._start: int | None = None
        self._skipped = 0

    def add(self, events: Events) -> list[Window]:
        windows: list[Window] = []
        while len(events):
            windows += self.advance(int(events['t'][0]))
            assert self._start is not None
            part = events[:self.count - len(self._buffer)]
            expired = part['t'] >= self._start + self.timeout
            if expired.any():
                part = part[:int(np.argmax(expired))]
            self._buffer.append(part)
            events = events[len(part):]
            if len(self._buffer) == self.count:
                windows.append(self._close(None))
        return windows

    def advance(self, now: int) -> list[Window]:
        if self._start is None:
            self._start = now
        windows = []
        while now - self._start >= self.timeout:
            if not len(self._buffer) and (now - self._start) // self.timeout > MOST_EMPTY:
                skipped = (now - self._start) // self.timeout - 1
                self._skipped += skipped
                self._start += skipped * self.timeout
            windows.append(self._close(self._start + self.timeout))
        return windows

    def reset(self) -> None:
        self._buffer.clear()
        self._start = None

    @property
    def counters(self) -> WindowCounters:
        return WindowCounters(self._buffer.dropped, 0, self._skipped)

    def _close(self, end: int | None) -> Window:
        """Close at a time, or after the last event."""
        assert self._start is not None
        events = self._buffer.take(self.count)
        if end is None:
            end = max(self._start, int(events['t'].max()) + 1)
        window = Window(self._start, end, events)
        self._start = end
        return window
