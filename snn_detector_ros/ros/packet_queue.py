# SPDX-License-Identifier: Apache-2.0
"""A queue between two threads that holds no more bytes than allowed: the oldest give way."""

from __future__ import annotations

import threading
from collections import deque
from dataclasses import dataclass
from typing import Generic, TypeVar

T = TypeVar('T')


@dataclass(frozen=True)
class Taken(Generic[T]):
    """
    An item from the queue.

    :param dropped: items that gave way since the last one was taken.
    """

    item: T
    dropped: int


class PacketQueue(Generic[T]):
    """Hands items on in their order; see the module's text."""

    def __init__(self) -> None:
        self._ready = threading.Condition()
        self._items: deque[tuple[T, int]] = deque()
        self._bytes = 0
        self._dropped = 0
        #: Whether it was not closed yet.
        self.is_open = True

    def put(self, item: T, size: int, *, budget: int) -> None:
        """
        Add an item.

        :param size: its bytes.
        :param budget: most bytes of all items; an item that is larger is held alone.
        """
        with self._ready:
            if not self.is_open:
                return
            while self._items and self._bytes + size > budget:
                self._bytes -= self._items.popleft()[1]
                self._dropped += 1
            self._items.append((item, size))
            self._bytes += size
            self._ready.notify()

    def take(self, timeout: float) -> Taken[T] | None:
        """
        Wait for an item and return it; None if there is none in time, or the queue is closed.

        :param timeout: longest wait, s.
        """
        with self._ready:
            self._ready.wait_for(lambda: self._items or not self.is_open, timeout)
            if not self._items:
                return None
            item, size = self._items.popleft()
            self._bytes -= size
            dropped, self._dropped = self._dropped, 0
            return Taken(item, dropped)

    def close(self) -> None:
        """Drop what was not taken, and release whoever waits."""
        with self._ready:
            self.is_open = False
            self._items.clear()
            self._ready.notify_all()
