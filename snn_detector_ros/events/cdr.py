# SPDX-License-Identifier: Apache-2.0
"""
Reading the fields of a serialised ROS message (plain CDR) one after the other.

Event messages come thousands of times a second: their bytes are looked at where they lie, and no
message object is made. The same bytes are in a bag and on the wire.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from snn_detector_ros.events.errors import BadPacketError

#: Bytes that say how the rest is encoded; alignment counts from behind them.
ENCAPSULATION = 4


@dataclass(frozen=True)
class Header:
    """
    A `std_msgs/Header`.

    :param stamp: ns.
    """

    stamp: int
    frame_id: str


class CdrReader:
    """
    A place in a serialised message, which every read moves on.

    :param data: the message with its encapsulation header.
    :raises BadPacketError: if it is too short for that; so does every read behind the end.
    """

    def __init__(self, data: bytes) -> None:
        if len(data) < ENCAPSULATION:
            raise BadPacketError('truncated message', f'{len(data)} bytes')
        self._data = memoryview(data)[ENCAPSULATION:]
        self._order = '<' if data[1] & 1 else '>'
        self._position = 0

    @property
    def is_little_endian(self) -> bool:
        """Whether numbers are stored with their low byte first."""
        return self._order == '<'

    def number(self, code: str) -> int:
        """Read a number; ``code`` is its letter in :mod:`struct`."""
        size = struct.calcsize(f'={code}')
        self._position += -self._position % size
        (value,) = struct.unpack(self._order + code, self._take(size))
        return int(value)

    def text(self) -> str:
        """Read a string."""
        return bytes(self._take(self.number('I'))).rstrip(b'\0').decode(errors='replace')

    def header(self) -> Header:
        """Read a `std_msgs/Header`."""
        stamp = 1_000_000_000 * self.number('i') + self.number('I')
        return Header(stamp, self.text())

    def octets(self) -> memoryview:
        """Read a sequence of bytes, as a view of the message."""
        return self._take(self.number('I'))

    def rest(self) -> memoryview:
        """Return all that follows, as a view of the message."""
        return self._data[self._position:]

    def _take(self, size: int) -> memoryview:
        end = self._position + size
        if end > len(self._data):
            raise BadPacketError(
                'truncated message',
                f'{len(self._data) + ENCAPSULATION} bytes; its fields take {end + ENCAPSULATION}')
        part = self._data[self._position:end]
        self._position = end
        return part
