# SPDX-License-Identifier: Apache-2.0
"""A request to stop, made by SIGINT or SIGTERM and asked for by loops."""

from __future__ import annotations

import signal
from types import FrameType


class StopRequest:
    """Call it to know whether it was made; nothing is interrupted halfway."""

    def __init__(self) -> None:
        self._made = False
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._make)

    def __call__(self) -> bool:
        return self._made

    def _make(self, number: int, frame: FrameType | None) -> None:
        self._made = True
