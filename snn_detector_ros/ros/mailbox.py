# SPDX-License-Identifier: Apache-2.0
"""A mailbox with one slot: a detector that is slower than its camera works on the newest image."""

from __future__ import annotations

import threading
from typing import Generic, TypeVar

T = TypeVar('T')


class Mailbox(Generic[T]):
    """Hands items from one thread to another; a new item replaces one that nobody took yet."""

    def __init__(self) -> None:
        self._ready = threading.Condition()
        self._item: T | None = None
        self._is_open = True

    def put(self, item: T) -> bool:
        """Store an item, and return whether it replaced one."""
        with self._ready:
            replaced = self._item is not None
            self._item = item if self._is_open else None
            self._ready.notify()
            return replaced

    def take(self) -> T | None:
        """Wait for an item and return it; None once the mailbox is closed."""
        with self._ready:
            self._ready.wait_for(lambda: self._item is not None or not self._is_open)
            item, self._item = self._item, None
            return item

    def close(self) -> None:
        """Drop what was not taken, and release whoever waits."""
        with self._ready:
            self._is_open = False
            self._item = None
            self._ready.notify_all()
