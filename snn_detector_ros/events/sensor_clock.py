# SPDX-License-Identifier: Apache-2.0
"""
The clock of the sensor and that of the stamps: what one shows when the other shows something.

Events carry the sensor's time, which starts anywhere; a packet's stamp says when its first bytes
reached the host. Between an event and that lies the time on the wire: short at best, and some
milliseconds more where several packets share a transfer. So the smallest difference tells the two
clocks apart, and is let grow slowly to follow clocks that drift.
"""

from __future__ import annotations

#: A difference that changes more than this from packet to packet is no delay on the wire, us.
MOST_DELAY = 1_000_000
#: Neither time falls more than this but by a jump, us: EVT3 may step back by 41 ms.
MOST_STEP_BACK = 100_000
#: How fast the difference may grow: 1 us in so many. Quartz clocks drift by 1 in 10,000 at most.
DRIFT = 1000


class SensorClock:
    """Compares stamps with sensor times, packet by packet."""

    def __init__(self) -> None:
        self._stamp = self._first = self._last = 0
        self._offset: int | None = None

    @property
    def is_known(self) -> bool:
        """Whether a packet has been observed."""
        return self._offset is not None

    def has_jumped(self, stamp: int, first: int, last: int) -> bool:
        """
        Whether a packet does not fit those before: a clock was set, or the recording began again.

        :param stamp: of the packet, ns.
        :param first: time of its first event, us; ``last`` the latest one.
        """
        if self._offset is None:
            return False
        stamp //= 1000
        delay = abs((stamp - self._stamp) - (first - self._first))
        return delay > MOST_DELAY or min(
            stamp - self._stamp, last - self._last) < -MOST_STEP_BACK

    def observe(self, stamp: int, first: int, last: int) -> None:
        """Take note of a packet; parameters as of :meth:`has_jumped`."""
        stamp //= 1000
        if self._offset is None:
            self._offset = stamp - first
        else:
            grown = self._offset + max(0, first - self._first) // DRIFT
            self._offset = min(stamp - first, grown)
        self._stamp, self._first, self._last = stamp, first, last

    def stamp_at(self, time: int) -> int:
        """Return the stamp in ns that belongs to a sensor time in us; not below 0."""
        assert self._offset is not None
        return max(0, 1000 * (time + self._offset))

    def forget(self) -> None:
        """Take the next packet as the first."""
        self._offset = None
