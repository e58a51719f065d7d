# SPDX-License-Identifier: Apache-2.0
"""From packets to stamped windows: losses, jumps, silence, other sensors."""

from __future__ import annotations

from pathlib import Path

import event_encoders as encode
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from snn_detector_ros.events import CountWindows, TimeWindows, create_decoder, stream
from snn_detector_ros.events.errors import BadPacketError
from snn_detector_ros.events.packets import EventPacket, read_event_packet
from snn_detector_ros.events.sensor_clock import SensorClock
from snn_detector_ros.events.stream import EventStream
from snn_detector_ros.media.bags import Bag

LENGTH = 50_000
#: Stamps minus sensor time, us.
OFFSET = 1_000_000_000
Event = tuple[int, int, int, int]


def packet(
    events: list[Event], number: int, *, stamp: int | None = None, width: int = 64,
    encoding: str = 'evt3', data: bytes | None = None, **fields: bool,
) -> EventPacket:
    """Return a packet; ``stamp`` in us, by default that of the first event."""
    stamp = OFFSET + events[0][3] if stamp is None else stamp
    return EventPacket(
        1000 * stamp, 'camera', width, 48, number, 0, encoding, fields.get('is_bigendian', False),
        memoryview(encode.evt3(events) if data is None else data))


def burst(start: int, count: int = 10) -> list[Event]:
    return [(index % 64, 5, index % 2, start + 100 * index) for index in range(count)]


def new_stream() -> EventStream:
    return EventStream(TimeWindows(LENGTH))


def test_windows_are_stamped_with_their_end() -> None:
    events = new_stream()
    assert events.add(packet(burst(120_000), 1), now=0) == []
    (closed,) = events.add(packet(burst(160_000), 2), now=0)
    assert (closed.window.start, closed.window.end) == (100_000, 150_000)
    assert closed.stamp == 1000 * (OFFSET + 150_000)
    assert (closed.frame_id, closed.width, closed.height) == ('camera', 64, 48)
    counts = events.take_counts()
    assert (counts[stream.PACKETS], counts[stream.EVENTS], counts[stream.WINDOWS]) == (2, 20, 1)
    assert not +events.take_counts(), 'counted once'


def test_the_quickest_packet_tells_the_clocks_apart() -> None:
    clock = SensorClock()
    for stamp, first in ((OFFSET + 4000, 0), (OFFSET + 9000, 8000), (OFFSET + 14_000, 10_000)):
        clock.observe(1000 * stamp, first, first + 100)
    # 1 ms at best, and 2 us more since: 1 in a thousand.
    assert clock.stamp_at(20_000) == 1000 * (OFFSET + 20_000 + 1000 + 2)


def test_clocks_that_drift_apart_are_followed() -> None:
    clock = SensorClock()
    for time in range(0, 100_000_000, 10_000):
        clock.observe(1000 * (OFFSET + time + time // 10_000), time, time)
    assert abs(clock.stamp_at(time) / 1000 - (OFFSET + time + time // 10_000)) < 10


def test_gaps_in_the_numbers_are_losses() -> None:
    events = new_stream()
    for number in (5, 6, 9, 10, 20):
        events.add(packet(burst(120_000 + 2000 * number), number), now=0)
    assert events.take_counts()[stream.LOST_PACKETS] == 2 + 9


def test_what_was_left_out_on_purpose_is_no_loss() -> None:
    events = new_stream()
    events.add(packet(burst(120_000), 1), now=0)
    events.skip(3)
    events.add(packet(burst(130_000), 6), now=0)
    assert events.take_counts()[stream.LOST_PACKETS] == 1


def test_packets_that_are_not_numbered_are_no_loss() -> None:
    events = new_stream()
    for start in range(120_000, 125_000, 1000):
        events.add(packet(burst(start), 0), now=0)
    assert not [name for name in +events.take_counts()
                if name.startswith((stream.LOST_PACKETS, stream.RESTARTS))]


def test_a_row_is_not_guessed_after_a_loss() -> None:
    events = new_stream()
    events.add(packet(burst(120_000), 1), now=0)
    column_alone = encode.words16(0x2000 | 7)
    events.add(packet([], 3, stamp=OFFSET + 130_000, data=column_alone), now=0)
    counts = events.take_counts()
    assert (counts[stream.EVENTS], counts[stream.COLD_START]) == (10, 1)


@pytest.mark.parametrize(('second', 'cause'), [
    (packet(burst(130_000), 3), stream.NUMBERS_FELL),
    (packet(burst(130_000), 11, stamp=OFFSET - 5_000_000), stream.TIME_JUMPED),
    (packet(burst(130_000), 11, stamp=OFFSET + 50_000_000), stream.TIME_JUMPED),
    (packet(burst(130_000), 11, width=32), stream.OTHER_SENSOR)])
def test_what_does_not_go_on_begins_anew(second: EventPacket, cause: str) -> None:
    events = new_stream()
    events.add(packet(burst(120_000), 10), now=0)
    events.add(second, now=0)
    counts = events.take_counts()
    assert [name for name in +counts if name.startswith(stream.RESTARTS)] == [cause]
    # The first packet's events are forgotten, those of the second are all there.
    (closed,) = events.tick(10**9) or events.tick(10**9)[:1]
    expected = [event for event in burst(130_000) if event[0] < second.width]
    assert closed.window.events.tolist() == expected
    assert closed.width == second.width


def test_a_loop_without_numbers_is_noticed_by_stamps() -> None:
    """EVT3 takes a step back for a wrap, so that sensor time seems to leap ahead."""
    events = new_stream()
    events.add(packet(burst(5_000_000), 0), now=0)
    events.add(packet(burst(120_000), 0, stamp=OFFSET + 5_010_000), now=0)
    assert events.take_counts()[stream.TIME_JUMPED] == 1
    (closed,) = events.add(packet(burst(160_000), 0, stamp=OFFSET + 5_050_000), now=0)
    assert (closed.window.end, len(closed.window.events)) == (150_000, 10)


@pytest.mark.parametrize(('changes', 'cause'), [
    ({'encoding': 'evt4'}, 'unknown encoding'), ({'is_bigendian': True}, 'big-endian'),
    ({'width': 0}, 'bad sensor size'), ({'width': 40_000}, 'bad sensor size')])
def test_a_packet_that_cannot_be_decoded_costs_only_itself(changes: dict, cause: str) -> None:
    events = new_stream()
    events.add(packet(burst(120_000), 1), now=0)
    with pytest.raises(BadPacketError) as caught:
        events.add(packet(burst(130_000), 2, **changes), now=0)
    assert caught.value.cause == cause
    (closed,) = events.add(packet(burst(160_000), 3), now=0)
    assert len(closed.window.events) == 10
    assert events.take_counts()[stream.LOST_PACKETS] == 0


# Time without events ---------------------------------------------------------------------------

MS = 1_000_000


def test_windows_close_by_the_hosts_clock_after_patience() -> None:
    events = new_stream()
    events.patience = 30_000
    events.add(packet(burst(120_000, 1), 1), now=500 * MS)
    closed = [(now, window.window.end) for now in range(520, 700, 20)
              for window in events.tick(now * MS)]
    # 150 ms of sensor time are 530 ms of the host's; and 30 ms later.
    assert closed == [(560, 150_000), (620, 200_000), (660, 250_000)]


def test_a_single_tick_without_events_closes_nothing() -> None:
    """The host may have been busy: packets wait, and the tick came first."""
    events = new_stream()
    for number in range(1, 5):
        events.add(packet(burst(120_000 + 200 * number, 1), number), now=number * 200 * MS)
        assert events.tick((number * 200 + 190) * MS) == []


def test_packets_without_events_close_windows_too() -> None:
    events = new_stream()
    events.patience = 30_000
    events.add(packet(burst(120_000, 1), 1), now=500 * MS)
    closed = [(number, window.window.end) for number in range(2, 100)
              for window in events.add(packet([], number, stamp=OFFSET, data=b''),
                                       now=(500 + number) * MS)]
    assert closed == [(60, 150_000)]


def test_nothing_closes_before_the_first_event() -> None:
    events = new_stream()
    assert [events.tick(now * MS) for now in range(0, 1000, 20)] == [[]] * 50


def test_other_windows_may_be_cut_from_now_on() -> None:
    events = new_stream()
    events.add(packet(burst(120_000), 1), now=0)
    events.cut_by(CountWindows(4, timeout=10**6))
    closed = events.add(packet(burst(130_000), 2), now=0)
    assert [len(window.window.events) for window in closed] == [4, 4]


def test_losses_of_windows_are_counted_across_a_change() -> None:
    events = EventStream(TimeWindows(LENGTH, budget=16 * 4))
    events.add(packet(burst(120_000), 1), now=0)
    events.cut_by(TimeWindows(LENGTH, budget=16 * 7))
    events.add(packet(burst(130_000), 2), now=0)
    assert events.take_counts()[stream.DROPPED_EVENTS] == 6 + 3


# Anything --------------------------------------------------------------------------------------

@given(packets=st.lists(st.tuples(
    st.sampled_from(['evt3', 'evt2', 'libcaer', 'mono', 'dat', 'event_array', '?']),
    st.binary(max_size=64), st.integers(0, 3), st.integers(0, 2**62), st.integers(0, 2**64 - 1),
    st.integers(0, 2**64 - 1)), max_size=8))
def test_arbitrary_packets_are_survived(packets: list[tuple]) -> None:
    events = new_stream()
    for encoding, data, width, stamp, number, time_base in packets:
        try:
            closed = events.add(EventPacket(
                stamp, '', width, 48, number, time_base, encoding, False, memoryview(data)), now=0)
        except BadPacketError:
            continue
        closed += events.tick(10**9) + events.tick(10**9)
        assert all(window.stamp >= 0 for window in closed)
        assert all((window.window.events['x'] < window.width).all() for window in closed)
    counts = events.take_counts()
    assert min(counts.values(), default=0) >= 0


def test_the_real_recording_is_cut_without_a_loss(shared_data: Path) -> None:
    events, closed, times = new_stream(), [], []
    for message in Bag(shared_data / 'events' / 'evt3_bag').messages():
        read = read_event_packet(message.data)
        closed += events.add(read, now=message.time)
        times.append(read.stamp)
    counts = events.take_counts()
    assert +counts == {stream.PACKETS: 517, stream.EVENTS: 343_474, stream.WINDOWS: len(closed)}
    # 7.139845 s to 9.218023 s of sensor time.
    assert [window.window.end for window in closed] == list(range(7_150_000, 9_200_001, LENGTH))
    assert all(times[0] < window.stamp < times[-1] for window in closed)
    steps = np.diff([window.stamp for window in closed]) / 1000
    # Exact but for the search of the smallest delay, 4.4 ms, and its growth.
    np.testing.assert_allclose(steps, LENGTH, atol=4400)


def test_the_reader_agrees_with_the_decoder_of_the_library(shared_data: Path) -> None:
    message = next(iter(Bag(shared_data / 'events' / 'evt3_bag').messages()))
    read = read_event_packet(message.data)
    assert (read.encoding, read.width, read.height, read.number) == ('evt3', 640, 480, 5590)
    assert len(create_decoder('evt3', 640, 480).decode(read.data)) == 296
