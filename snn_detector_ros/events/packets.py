# SPDX-License-Identifier: Apache-2.0
"""
Packets of events as event cameras publish them, read from the bytes of their ROS messages.

`event_camera_msgs/EventPacket` carries the camera's own bytes. `dvs_msgs/EventArray` carries one
small message an event; its bytes become a packet too, in the encoding ``event_array``, so that only
one kind goes on from here.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass

from snn_detector_ros.events.cdr import CdrReader
from snn_detector_ros.events.errors import BadPacketError
from snn_detector_ros.events.record_decoders import EventArrayDecoder

EVENT_PACKET_TYPE = 'event_camera_msgs/msg/EventPacket'
EVENT_ARRAY_TYPE = 'dvs_msgs/msg/EventArray'


@dataclass(frozen=True)
class EventPacket:
    """
    Undecoded events.

    :param stamp: of the header, ns; 0 if it has none.
    :param width: of the sensor in px; ``height`` alike.
    :param number: rises by one with each packet; 0 in all where they are not numbered.
    :param time_base: ns, for encodings that count from it.
    """

    stamp: int
    frame_id: str
    width: int
    height: int
    number: int
    time_base: int
    encoding: str
    is_bigendian: bool
    data: memoryview


def read_event_packet(data: bytes) -> EventPacket:
    """
    Read a serialised `event_camera_msgs/EventPacket`.

    :raises BadPacketError: if it is cut off.
    """
    reader = CdrReader(data)
    header = reader.header()
    height, width = reader.number('I'), reader.number('I')
    number, time_base = reader.number('Q'), reader.number('Q')
    encoding, is_bigendian = reader.text(), bool(reader.number('B'))
    return EventPacket(header.stamp, header.frame_id, width, height, number, time_base, encoding,
                       is_bigendian, reader.octets())


def read_event_array(data: bytes) -> EventPacket:
    """
    Read a serialised `dvs_msgs/EventArray`.

    Its events carry times of the ROS clock, so that of the first one is the stamp. The first one
    lacks the padding behind y that alignment gives the others, the last one that at its end.

    :raises BadPacketError: if it is cut off.
    """
    reader = CdrReader(data)
    header = reader.header()
    height, width, count = reader.number('I'), reader.number('I'), reader.number('I')
    rest, stamp = reader.rest(), header.stamp
    size = EventArrayDecoder.word_size
    needed = size * count - 3
    if count and len(rest) < needed:
        raise BadPacketError(
            'truncated message', f'{len(rest)} bytes of events; {count} of them take {needed}')
    if count:
        events = memoryview(b''.join((rest[:4], b'\0\0', rest[4:needed], b'\0')))
        order = '<' if reader.is_little_endian else '>'
        seconds, nanoseconds = struct.unpack_from(f'{order}iI', events, 6)
        stamp = 1_000_000_000 * seconds + nanoseconds
    else:
        events = rest[:0]
    return EventPacket(stamp, header.frame_id, width, height, 0, 0, EventArrayDecoder.encoding,
                       not reader.is_little_endian, events)


#: What reads the serialised messages of each type.
READERS: dict[str, Callable[[bytes], EventPacket]] = {
    EVENT_PACKET_TYPE: read_event_packet, EVENT_ARRAY_TYPE: read_event_array}
