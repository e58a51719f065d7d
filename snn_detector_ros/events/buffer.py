# SPDX-License-Identifier: Apache-2.0
"""Events that wait for their window to close, in no more memory than allowed."""

from __future__ import annotations

from collections import deque

import numpy as np

from snn_detector_ros.errors import ConfigurationError
from snn_detector_ros.events.types import EVENT, Events

#: Events that are kept in one array: what a drop of a few costs to copy at most.
PIECE = 4096


def in_time_order(events: Events) -> Events:
    """Return the events sorted by time, equal times in their old order; themselves if they are."""
    t = events['t']
    return events if (t[1:] >= t[:-1]).all() else events[np.argsort(t, kind='stable')]


class EventBuffer:
    """
    A queue of events; when it is full, the oldest are dropped and counted.

    :param budget: most bytes of events.
    :raises ConfigurationError: if not one event fits.
    """

    def __init__(self, budget: int) -> None:
        self.capacity = budget // EVENT.itemsize
        if self.capacity < 1:
            raise ConfigurationError(
                f'a budget of {budget} bytes holds no event; one needs {EVENT.itemsize}')
        #: Events that were dropped because the buffer was full.
        self.dropped = 0
        self._pieces: deque[Events] = deque()
        self._size = 0

    def __len__(self) -> int:
        return self._size

    def append(self, events: Events) -> None:
        """
        Keep copies of these events.

        :param events: EVENT [N], in time order.
        """
        excess = max(0, self._size + len(events) - self.capacity)
        self.dropped += excess
        self._remove(min(excess, self._size))
        events = events[max(0, len(events) - self.capacity):]
        for start in range(0, len(events), PIECE):
            self._pieces.append(events[start:start + PIECE].copy())
        self._size += len(events)

    def take(self, count: int) -> Events:
        """Remove and return the first ``count`` events, or all there are."""
        taken, missing = [], min(count, self._size)
        for piece in self._pieces:
            if not missing:
                break
            taken.append(piece[:missing])
            missing -= len(taken[-1])
        events = np.concatenate([np.empty(0, EVENT), *taken])
        self._remove(len(events))
        return events

    def between(self, start: int, end: int) -> Events:
        """Return the events of [start, end) us in time order; they stay in the buffer."""
        pieces = [piece if piece['t'][0] >= start and piece['t'][-1] < end
                  else piece[slice(*np.searchsorted(piece['t'], (start, end)))]
                  for piece in self._pieces if piece['t'][-1] >= start and piece['t'][0] < end]
        return in_time_order(np.concatenate([np.empty(0, EVENT), *pieces]))

    def drop_before(self, start: int) -> None:
        """Remove the events before a time; they have served."""
        kept = [piece if piece['t'][0] >= start
                else piece[np.searchsorted(piece['t'], start):].copy()
                for piece in self._pieces if piece['t'][-1] >= start]
        self._pieces = deque(kept)
        self._size = sum(map(len, kept))

    def clear(self) -> None:
        """Remove all events; they do not count as dropped."""
        self._pieces.clear()
        self._size = 0

    def _remove(self, count: int) -> None:
        self._size -= count
        while count:
            piece = self._pieces.popleft()
            if len(piece) > count:
                self._pieces.appendleft(piece[count:].copy())
            count -= min(count, len(piece))
