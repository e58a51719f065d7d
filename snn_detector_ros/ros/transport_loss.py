# SPDX-License-Identifier: Apache-2.0
"""
Images that were sent but never arrived, found by the publisher's sequence numbers.

Best-effort images larger than the shared-memory segment of the middleware vanish without an error
anywhere; the gap in the numbers is the only trace.
"""

from __future__ import annotations

from collections.abc import Hashable


class TransportLoss:
    """Counts gaps in the sequence numbers of each publisher."""

    def __init__(self) -> None:
        self._last: dict[Hashable, int] = {}

    def observe(self, publisher: Hashable, sequence_number: int) -> int:
        """
        Take note of an arrived message.

        :param publisher: who sent it.
        :param sequence_number: its number; the publisher adds 1 for each message.
        :returns: messages lost since the last one of this publisher; 0 for its first, and where
            the numbers start again.
        """
        last = self._last.get(publisher)
        self._last[publisher] = sequence_number
        return 0 if last is None else max(0, sequence_number - last - 1)

    def forget(self) -> None:
        """Take the next message of every publisher as its first."""
        self._last.clear()
