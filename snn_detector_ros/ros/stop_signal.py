# SPDX-License-Identifier: Apache-2.0
"""
SIGINT and SIGTERM as a request to stop.

rclpy's own handling shuts the context down under the running callbacks, which then raise anything
from RCLError to KeyboardInterrupt. Here a signal interrupts nothing: a loop asks whether one came,
or a thread waits for it.
"""

from __future__ import annotations

import os
import signal
from types import FrameType

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class StopSignal:
    """Takes the signals over; make one in the main thread, before rclpy is initialised."""

    def __init__(self) -> None:
        self._reader, self._writer = os.pipe()
        os.set_blocking(self._writer, False)
        self._came = False
        for number in _SIGNALS:
            signal.signal(number, self._note)
        signal.set_wakeup_fd(self._writer, warn_on_full_buffer=False)

    def came(self) -> bool:
        """Whether a signal has come."""
        return self._came

    def wait(self) -> None:
        """Wait until a signal has come, or :meth:`send` was called."""
        os.read(self._reader, 1)

    def send(self) -> None:
        """Wake who waits, from any thread."""
        os.write(self._writer, b'\0')

    def ignore_further(self) -> None:
        """
        Ignore the signals from now on.

        A second one, as from `ros2 launch` beside the terminal, would kill the interpreter's end.
        """
        for number in _SIGNALS:
            signal.signal(number, signal.SIG_IGN)

    def _note(self, number: int, frame: FrameType | None) -> None:
        # No more than this: locks taken in a handler, as of an Event, may be held already.
        self._came = True
