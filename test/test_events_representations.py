# SPDX-License-Identifier: Apache-2.0
"""Each picture of events equals one that is drawn event by event."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from snn_detector_ros.events import (
    EVENT,
    Window,
    last_event_frame,
    signed_histogram,
    time_surface,
    voxel_grid,
)

HEIGHT, WIDTH, START, END = 480, 640, 1_700_000_000_000_000, 1_700_000_000_050_000


@pytest.fixture(params=[0, 1, 300])
def events(request: pytest.FixtureRequest) -> np.ndarray:
    rng = np.random.default_rng(2)
    events = np.zeros(request.param, EVENT)
    # Few columns, so that pixels repeat; the corners, so that indices are large.
    events['x'] = rng.integers(0, 8, request.param) * (WIDTH - 1) // 7
    events['y'] = rng.integers(0, 4, request.param) * (HEIGHT - 1) // 3
    events['p'] = rng.integers(0, 2, request.param)
    events['t'] = np.sort(rng.integers(START, END, request.param))
    return events


def test_last_event_frame(events: np.ndarray) -> None:
    expected = np.full((HEIGHT, WIDTH), 127, np.uint8)
    for x, y, p, _ in events.tolist():
        expected[y, x] = 255 if p else 0
    frame = last_event_frame(events, HEIGHT, WIDTH)
    assert frame.dtype == np.uint8
    np.testing.assert_array_equal(frame, expected)


def test_signed_histogram(events: np.ndarray) -> None:
    expected = np.zeros((HEIGHT, WIDTH), np.int32)
    for x, y, p, _ in events.tolist():
        expected[y, x] += 1 if p else -1
    histogram = signed_histogram(events, HEIGHT, WIDTH)
    assert histogram.dtype == np.int32
    np.testing.assert_array_equal(histogram, expected)


@pytest.mark.parametrize('bins', [1, 2, 5])
def test_voxel_grid(events: np.ndarray, bins: int) -> None:
    expected = np.zeros((bins, HEIGHT, WIDTH))
    for x, y, p, t in events.tolist():
        scaled = (bins - 1) * (t - START) / (END - START)
        for b in range(bins):
            expected[b, y, x] += (2 * p - 1) * max(0.0, 1 - abs(b - scaled))
    grid = voxel_grid(events, HEIGHT, WIDTH, bins=bins, start=START, end=END)
    assert grid.dtype == np.float32
    # float32 of sums of a few hundred terms below 1.
    np.testing.assert_allclose(grid, expected, atol=1e-5)


def test_an_event_at_the_end_of_a_voxel_grid_lies_in_its_last_bin() -> None:
    events = np.array([(3, 2, 1, END)], EVENT)
    grid = voxel_grid(events, HEIGHT, WIDTH, bins=4, start=START, end=END)
    assert grid[3, 2, 3] == grid.sum() == 1


def test_time_surface(events: np.ndarray) -> None:
    expected = np.zeros((2, HEIGHT, WIDTH))
    for x, y, p, t in events.tolist():
        expected[p, y, x] = math.exp((t - END) / 10_000)
    surface = time_surface(events, HEIGHT, WIDTH, end=END, decay=10_000)
    assert surface.dtype == np.float32
    # One rounding to float32.
    np.testing.assert_allclose(surface, expected, rtol=1e-6)


def test_pictures_do_not_change_the_events(events: np.ndarray) -> None:
    before = events.copy()
    events.flags.writeable = False
    for picture in (last_event_frame, signed_histogram):
        picture(events, HEIGHT, WIDTH)
    voxel_grid(events, HEIGHT, WIDTH, bins=3, start=START, end=END)
    time_surface(events, HEIGHT, WIDTH, end=END, decay=1.0)
    np.testing.assert_array_equal(events, before)


def test_the_bins_of_a_real_window_show_all_its_pixels(shared_data: Path) -> None:
    rows = np.load(shared_data / 'events' / 'pedro' / 'events' / 'frame0000009.npy')
    events = np.zeros(len(rows), EVENT)
    events['t'], events['x'], events['y'], events['p'] = rows.T
    start = int(events['t'][0])
    window = Window(start, int(events['t'][-1]) + 1, events)
    frames = np.stack([last_event_frame(part, 260, 346) for part in window.bins(5)])
    touched = np.zeros((260, 346), bool)
    touched[events['y'], events['x']] = True
    np.testing.assert_array_equal((frames != 127).any(axis=0), touched)
