# SPDX-License-Identifier: Apache-2.0
"""Windows hold what a plain selection by time or count holds, close by time, and stay in budget."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from snn_detector_ros.errors import ConfigurationError
from snn_detector_ros.events import EVENT, CountWindows, EventWindows, TimeWindows, Window
from snn_detector_ros.events.buffer import PIECE, EventBuffer
from snn_detector_ros.events.windows import MOST_EMPTY


def events_at(*times: int) -> np.ndarray:
    events = np.zeros(len(times), EVENT)
    events['t'] = times
    events['x'] = np.arange(len(times))
    return events


def fed(windows: EventWindows, events: np.ndarray, cuts: list[int]) -> list[Window]:
    """Feed events in packets cut at these places."""
    closed = []
    for packet in np.split(events, sorted(cut % (len(events) + 1) for cut in cuts)):
        closed += windows.add(packet)
    return closed


times = st.lists(st.integers(0, 3000), max_size=60).map(sorted)
cuts = st.lists(st.integers(0, 60), max_size=5)


@given(times=times, cuts=cuts, stride=st.integers(50, 200), bins=st.integers(1, 4))
def test_time_windows_equal_a_selection_by_time(
    times: list[int], cuts: list[int], stride: int, bins: int,
) -> None:
    windows = TimeWindows(bins * stride, stride=stride)
    events = events_at(*times)
    closed = fed(windows, events, cuts) + windows.advance(3000)
    first = (times[0] if times else 3000) // stride + 1
    assert [window.end for window in closed] == [
        k * stride for k in range(first, 3000 // stride + 1)]
    for window in closed:
        assert window.start == window.end - bins * stride
        t = events['t']
        np.testing.assert_array_equal(
            window.events, events[(t >= window.start) & (t < window.end)])
        for k, part in enumerate(window.bins(bins)):
            start = window.start + k * stride
            np.testing.assert_array_equal(part, events[(t >= start) & (t < start + stride)])
    assert windows.counters.dropped_events == windows.counters.late_events == 0


@given(times=times, cuts=cuts, count=st.integers(1, 9))
def test_count_windows_equal_slices(times: list[int], cuts: list[int], count: int) -> None:
    windows = CountWindows(count, timeout=10_000)
    events = events_at(*times)
    closed = fed(windows, events, cuts)
    assert len(closed) == len(times) // count
    for k, window in enumerate(closed):
        np.testing.assert_array_equal(window.events, events[k * count:(k + 1) * count])
        assert window.end == window.events['t'][-1] + 1


@pytest.mark.parametrize('windows', [TimeWindows(100), CountWindows(10, timeout=100)], ids=type)
def test_windows_close_by_time_when_no_events_arrive(windows: EventWindows) -> None:
    assert windows.advance(1000) == []
    assert windows.add(events_at(1010, 1020)) == []
    assert windows.advance(1099) == []
    (window,) = windows.advance(1100)
    assert (window.start, window.end, len(window.events)) == (1000, 1100, 2)
    empty = windows.advance(1350)
    assert [(window.start, len(window.events)) for window in empty] == [(1100, 0), (1200, 0)]


def test_a_count_window_that_waits_too_long_closes_with_fewer_events() -> None:
    windows = CountWindows(3, timeout=100)
    closed = windows.add(events_at(0, 50, 100, 120, 130, 240))
    assert [(window.start, window.events['t'].tolist()) for window in closed] == [
        (0, [0, 50]), (100, [100, 120, 130]), (131, [])]
    assert [window.events['t'].tolist() for window in windows.advance(331)] == [[240]]


@pytest.mark.parametrize('windows', [
    TimeWindows(100), TimeWindows(400, stride=100), CountWindows(10, timeout=100)], ids=str)
def test_a_leap_in_time_does_not_make_windows_without_end(windows: EventWindows) -> None:
    windows.add(events_at(50))
    closed = windows.advance(10**15) + windows.add(events_at(10**17))
    assert sum(len(window.events) for window in closed) >= 1
    assert len(closed) < 10
    assert closed[-1].end <= 10**17 < closed[-1].end + 100
    assert windows.counters.skipped_windows > MOST_EMPTY


def test_jitter_is_sorted_and_late_events_are_counted() -> None:
    windows = TimeWindows(100)
    assert windows.add(events_at(30, 20, 25)) == []
    assert windows.add(events_at(10)) == []
    (window,) = windows.add(events_at(105))
    assert window.events['t'].tolist() == [10, 20, 25, 30]
    assert windows.add(events_at(99, 106)) == []
    assert windows.counters.late_events == 1
    (window,) = windows.advance(200)
    assert window.events['t'].tolist() == [105, 106]


def test_the_oldest_events_are_dropped_and_counted_when_the_budget_is_full() -> None:
    windows = TimeWindows(1000, budget=10 * EVENT.itemsize)
    for start in range(0, 100, 4):
        windows.add(events_at(*range(start, start + 4)))
    (window,) = windows.advance(1000)
    assert window.events['t'].tolist() == list(range(90, 100))
    assert windows.counters.dropped_events == 90
    windows.add(events_at(*range(1000, 1050)))
    (window,) = windows.advance(2000)
    assert window.events['t'].tolist() == list(range(1040, 1050))
    assert windows.counters.dropped_events == 130


def test_windows_of_one_packet_do_not_compete_for_the_budget() -> None:
    windows = TimeWindows(10, budget=10 * EVENT.itemsize)
    closed = windows.add(events_at(*range(1000)))
    assert [len(window.events) for window in closed] == 99 * [10]
    assert windows.counters.dropped_events == 0


@given(st.lists(st.one_of(
    st.tuples(st.just('append'), st.integers(0, 3 * PIECE)),
    st.tuples(st.just('take'), st.integers(0, 2 * PIECE)),
    st.tuples(st.just('drop'), st.integers(0, PIECE))), max_size=8))
def test_a_buffer_behaves_like_a_list(steps: list[tuple[str, int]]) -> None:
    buffer, expected, clock, dropped = EventBuffer(3 * PIECE * EVENT.itemsize), [], 0, 0
    for step, size in steps:
        if step == 'append':
            added = list(range(clock, clock + size))
            clock += size
            expected += added
            dropped += max(0, len(expected) - buffer.capacity)
            expected = expected[-buffer.capacity:]
            buffer.append(events_at(*added))
        elif step == 'take':
            assert buffer.take(size)['t'].tolist() == expected[:size]
            expected = expected[size:]
        elif expected:
            buffer.drop_before(expected[0] + size)
            expected = [t for t in expected if t >= expected[0] + size]
        assert (len(buffer), buffer.dropped) == (len(expected), dropped)
        assert buffer.between(0, clock + 1)['t'].tolist() == expected


def test_a_buffer_keeps_no_more_memory_than_its_events() -> None:
    buffer = EventBuffer(1 << 20)
    large = events_at(*range(100_000))
    buffer.append(large[10:20])
    assert all(piece.base is None for piece in buffer._pieces)
    large['t'] = 0
    assert buffer.between(0, 100)['t'].tolist() == list(range(10, 20))


@pytest.mark.parametrize('windows', [TimeWindows(100), CountWindows(3, timeout=100)], ids=type)
def test_reset_forgets_events_and_time(windows: EventWindows) -> None:
    windows.add(events_at(1040, 1050))
    windows.reset()
    assert windows.add(events_at(40)) == []
    closed = windows.advance(200)
    assert closed[0].events['t'].tolist() == [40]


def test_values_that_cannot_work_are_refused() -> None:
    with pytest.raises(ConfigurationError, match='100 us every 101 us'):
        TimeWindows(100, stride=101)
    with pytest.raises(ConfigurationError, match='0 us every 0 us'):
        TimeWindows(0)
    with pytest.raises(ConfigurationError, match='budget of 3 bytes'):
        TimeWindows(100, budget=3)
    with pytest.raises(ConfigurationError, match='must hold 1600'):
        CountWindows(100, timeout=100, budget=1599)
    with pytest.raises(ConfigurationError, match='0 events'):
        CountWindows(0, timeout=100)
