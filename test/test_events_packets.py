# SPDX-License-Identifier: Apache-2.0
"""Serialised messages of events are read as an independent implementation wrote them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from snn_detector_ros.events import create_decoder
from snn_detector_ros.events.errors import BadPacketError
from snn_detector_ros.events.packets import READERS, read_event_array, read_event_packet

INTERFACES = Path(__file__).resolve().parents[1] / 'interfaces'


@pytest.fixture(scope='module')
def types() -> Any:
    """Return rosbags' serialiser with our message definitions."""
    rosbags = pytest.importorskip('rosbags.typesys')
    store = rosbags.get_typestore(rosbags.Stores.ROS2_JAZZY)
    for name in ('event_camera_msgs/msg/EventPacket', 'dvs_msgs/msg/Event',
                 'dvs_msgs/msg/EventArray'):
        text = (INTERFACES / f'{name}.msg').read_text()
        store.register(rosbags.get_types_from_msg(text, name))
    return store


def header(types: Any, sec: int, nanosec: int, frame_id: str) -> Any:
    return types.types['std_msgs/msg/Header'](
        stamp=types.types['builtin_interfaces/msg/Time'](sec=sec, nanosec=nanosec),
        frame_id=frame_id)


@pytest.mark.parametrize('little', [True, False])
@pytest.mark.parametrize('frame_id', ['', 'camera', 'kamera_ä', 'x' * 61])
@pytest.mark.parametrize('encoding', ['evt3', 'libcaer_cmp', ''])
def test_an_event_packet_is_read(types: Any, frame_id: str, encoding: str, little: bool) -> None:
    kind = 'event_camera_msgs/msg/EventPacket'
    message = types.types[kind](
        header=header(types, 1_700_000_000, 123_456_789, frame_id), height=480, width=640,
        seq=2**40 + 7, time_base=2**60 + 1, encoding=encoding, is_bigendian=True,
        events=np.arange(11, dtype=np.uint8))
    packet = read_event_packet(
        bytes(types.serialize_cdr(message, kind, little_endian=little)))
    assert packet.stamp == 1_700_000_000_123_456_789
    assert (packet.frame_id, packet.encoding) == (frame_id, encoding)
    assert (packet.width, packet.height) == (640, 480)
    assert (packet.number, packet.time_base, packet.is_bigendian) == (2**40 + 7, 2**60 + 1, True)
    assert bytes(packet.data) == bytes(range(11))


def event_array(types: Any, events: list[tuple[int, int, int, int]], **options: Any) -> bytes:
    kind, time = 'dvs_msgs/msg/EventArray', types.types['builtin_interfaces/msg/Time']
    message = types.types[kind](
        header=header(types, 5, 6, 'dvs'), height=480, width=640, events=[
            types.types['dvs_msgs/msg/Event'](
                x=x, y=y, ts=time(sec=t // 1_000_000, nanosec=1000 * (t % 1_000_000) + 999),
                polarity=bool(p)) for x, y, p, t in events])
    return bytes(types.serialize_cdr(message, kind, **options))


@pytest.mark.parametrize('count', [1, 2, 3, 100])
def test_an_event_array_is_read(types: Any, count: int) -> None:
    rng = np.random.default_rng(count)
    events = [(int(rng.integers(640)), int(rng.integers(480)), int(rng.integers(2)),
               1_700_000_000_000_000 + 77 * index) for index in range(count)]
    packet = read_event_array(event_array(types, events))
    assert (packet.width, packet.height, packet.frame_id) == (640, 480, 'dvs')
    assert packet.stamp == 1000 * events[0][3] + 999
    decoder = create_decoder(packet.encoding, 640, 480)
    assert decoder.decode(packet.data).tolist() == events


def test_an_empty_event_array_keeps_its_stamp(types: Any) -> None:
    packet = read_event_array(event_array(types, []))
    assert (packet.stamp, len(packet.data)) == (5_000_000_006, 0)


def test_a_big_endian_array_says_so(types: Any) -> None:
    data = event_array(types, [(1, 2, 1, 1_700_000_000_000_000)], little_endian=False)
    assert read_event_array(data).is_bigendian


@pytest.mark.parametrize('kind', READERS)
@pytest.mark.parametrize('share', [0, 0.1, 0.5, 0.9])
def test_a_message_that_is_cut_off_is_refused(types: Any, kind: str, share: float) -> None:
    if kind.startswith('dvs'):
        whole = event_array(types, [(1, 2, 1, 3)] * 10)
    else:
        whole = bytes(types.serialize_cdr(types.types[kind](
            header=header(types, 1, 2, 'camera'), height=1, width=1, seq=1, time_base=1,
            encoding='evt3', is_bigendian=False, events=np.zeros(100, np.uint8)), kind))
    with pytest.raises(BadPacketError, match='truncated message'):
        READERS[kind](whole[:int(share * len(whole))])


@pytest.mark.parametrize('kind', READERS)
@given(data=st.binary(max_size=200))
def test_arbitrary_bytes_are_read_or_refused(kind: str, data: bytes) -> None:
    try:
        packet = READERS[kind](data)
    except BadPacketError:
        return
    assert len(packet.data) <= len(data) + 3
