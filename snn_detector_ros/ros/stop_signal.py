# SPDX-License-Identifier: Apache-2.0
"""
Waiting for SIGINT or SIGTERM.

rclpy's own handling shuts the context down under the running callbacks, which then raise anything
from RCLError to KeyboardInterrupt. Here a signal only wakes who waits for it.
"""

from __future__ import annotations

import os
import signal

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class StopSignal:
    """Takes the signals over; make one in the main thread, before rclpy is initialised."""

    def __init__(self) -> None:
        self._reader, self._writer = os.pipe()
        os.set_blocking(self._writer, False)
        # The handler must do nothing: locks taken in one, as of an Event, may be held already.
        for number in _SIGNALS:
            signal.signal(number, lambda *_: None)
        signal.set_wakeup_fd(self._writer, warn_on_full_buffer=False)

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
