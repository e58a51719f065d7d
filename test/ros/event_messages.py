# SPDX-License-Identifier: Apache-2.0
"""Messages of events for tests of the node."""

from __future__ import annotations

import array
from collections.abc import Iterable
from typing import Any

import event_encoders
from builtin_interfaces.msg import Time
from event_camera_msgs.msg import EventPacket

#: Columns x, y, polarity, time in us.
Event = tuple[int, int, int, int]


def time_message(us: int) -> Time:
    return Time(sec=us // 1_000_000, nanosec=us % 1_000_000 * 1000)


def packet(
    events: Iterable[Event] = (), *, number: int = 0, stamp: int | None = None, width: int = 64,
    height: int = 48, encoding: str = 'evt3', data: bytes | None = None, **fields: Any,
) -> EventPacket:
    """
    Return an `EventPacket`.

    :param stamp: us; by default the time of the first event, 1000 s later.
    :param data: the bytes; by default the events in EVT3.
    """
    events = list(events)
    if stamp is None:
        stamp = 1_000_000_000 + (events[0][3] if events else 0)
    message = EventPacket(
        width=width, height=height, seq=number, encoding=encoding,
        events=array.array('B', event_encoders.evt3(events) if data is None else data), **fields)
    message.header.stamp = time_message(stamp)
    message.header.frame_id = 'event_camera'
    return message


def burst(start: int, count: int = 10, spacing: int = 1000) -> list[Event]:
    """Return events along a row, from a time in us on."""
    return [(index % 64, 5, index % 2, start + index * spacing) for index in range(count)]
