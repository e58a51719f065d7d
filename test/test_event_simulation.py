# SPDX-License-Identifier: Apache-2.0
"""Simulated events: right polarity, place and number, and frames that equal those of the events."""

import numpy as np
import pytest

from snn_detector_ros.events import Window, last_event_frame
from snn_detector_ros.events.binned_frames import binned_frames
from snn_detector_ros.events.simulation import (
    EventSensor,
    Motion,
    log_brightness,
    simulate_events,
    simulate_frames,
)
from snn_detector_ros.events.types import EVENT

BINS, BIN = 4, 10_000
QUIET = {'mismatch': 0.0, 'leak_rate': 0.0, 'shot_rate': 0.0}


def scene(seed: int = 0, height: int = 64, width: int = 80) -> np.ndarray:
    random = np.random.default_rng(seed)
    blocks = random.integers(0, 256, (height // 8, width // 8), np.uint8)
    return log_brightness(np.kron(blocks, np.ones((8, 8), np.uint8)))


def test_still_camera_in_front_of_a_still_scene_sends_nothing() -> None:
    sensor = EventSensor(48, 64, **QUIET)
    events = simulate_events(
        scene(), sensor, Motion(), bins=BINS, bin_length=BIN, random=np.random.default_rng(0))
    assert len(events) == 0


def test_an_edge_sends_events_of_its_polarity_where_it_passes() -> None:
    grey = np.full((48, 64), 50, np.uint8)
    grey[:, 32:] = 200
    sensor = EventSensor(48, 64, **QUIET, refractory=0)
    # The bright half moves 8 px to the left: pixels 32..39 of before turn dark to bright.
    motion = Motion(pan=(-8 / (BINS * BIN * 1e-6), 0))
    events = simulate_events(
        log_brightness(grey), sensor, motion, bins=BINS, bin_length=BIN,
        random=np.random.default_rng(0))
    assert events['p'].all()
    assert set(events['x'].tolist()) == set(range(32, 40))
    # ln(208 / 58) = 1.277 is 5.1 thresholds; the first one comes early or late by the memory.
    assert 4 < len(events) / (48 * 8) < 6.2
    # It passes from right to left.
    times = [events['t'][events['x'] == x].mean() for x in range(32, 40)]
    assert (np.diff(times) < 0).all()


@pytest.mark.parametrize('seed', range(5))
def test_frames_equal_the_last_events(seed: int) -> None:
    random = np.random.default_rng(seed)
    motion = Motion.draw(random, 64)
    sensor = EventSensor(48, 64, shot_rate=20.0, leak_rate=5.0)
    options = {'bins': BINS, 'bin_length': BIN}
    frames = simulate_frames(
        scene(seed), sensor, motion, **options, random=np.random.default_rng(seed))
    events = simulate_events(
        scene(seed), sensor, motion, **options, random=np.random.default_rng(seed))
    assert (np.diff(events['t']) >= 0).all() and events['t'].max() < BINS * BIN
    window = Window(0, BINS * BIN, events)
    drawn = np.stack([last_event_frame(part, 48, 64) for part in window.bins(BINS)])
    np.testing.assert_array_equal(frames, drawn)
    assert (frames != 127).any()


def test_a_rest_limits_the_rate_of_a_pixel() -> None:
    sensor = EventSensor(48, 64, **QUIET, threshold=0.05, refractory=2000)
    events = simulate_events(
        scene(), sensor, Motion(pan=(500, 0)), bins=BINS, bin_length=BIN,
        random=np.random.default_rng(0))
    counts = np.bincount(events['y'].astype(int) * 64 + events['x'])
    # Eight drawings a bin are 1250 us apart: one event each, at most.
    assert 0 < counts.max() <= BINS * 8


def test_leak_sends_positive_events_at_its_rate() -> None:
    sensor = EventSensor(48, 64, mismatch=0.0, leak_rate=5.0, shot_rate=0.0)
    events = simulate_events(
        scene(), sensor, Motion(), bins=BINS, bin_length=BIN, random=np.random.default_rng(0))
    # Memories start evenly spread over both thresholds, so half of the first events come.
    expected = 48 * 64 * 5.0 * BINS * BIN * 1e-6 / 2
    assert events['p'].all()
    # A binomial number of pixels crosses; six standard deviations.
    assert abs(len(events) - expected) < 6 * np.sqrt(expected)


def test_noise_is_rarer_in_the_light() -> None:
    grey = np.zeros((48, 64), np.uint8)
    grey[:, 32:] = 255
    sensor = EventSensor(48, 64, mismatch=0.0, leak_rate=0.0, shot_rate=5.0)
    events = simulate_events(
        log_brightness(grey), sensor, Motion(), bins=BINS, bin_length=BIN,
        random=np.random.default_rng(0))
    dark = np.count_nonzero(events['x'] < 32)
    # Two random events of a pixel in one drawing are one; that is far below the tolerance.
    expected = 48 * 32 * 5.0 * BINS * BIN * 1e-6
    assert abs(dark - expected) < 6 * np.sqrt(expected)
    assert abs(len(events) - dark - expected / 4) < 6 * np.sqrt(expected / 4)
    assert 0.4 < events['p'].mean() < 0.6


def test_motion_ends_where_the_labels_are() -> None:
    motion = Motion.draw(np.random.default_rng(1), 256)
    np.testing.assert_allclose(motion.matrix(0, 192, 256), np.eye(2, 3), atol=1e-12)
    before = motion.matrix(-40_000, 192, 256)
    assert np.abs(before - np.eye(2, 3)).max() > 0.1


def test_frames_of_a_larger_sensor_keep_every_lonely_event() -> None:
    events = np.zeros(3, EVENT)
    events['x'], events['y'], events['p'] = [0, 345, 100], [0, 259, 50], [1, 0, 1]
    events['t'] = [0, 10, 39_999]
    frames = binned_frames(Window(0, 40_000, events), 4, (260, 346), (192, 256))
    assert frames.shape == (4, 192, 256)
    assert (frames[0] != 127).sum() == 2 and frames[0, 0, 0] == 255 and frames[0, 191, 255] == 0
    assert frames[3, 50 * 192 // 260, 100 * 256 // 346] == 255
    assert (frames[1:3] == 127).all()


def test_frames_of_a_smaller_sensor_grow() -> None:
    events = np.zeros(1, EVENT)
    events['x'], events['y'], events['p'] = 3, 2, 1
    frames = binned_frames(Window(0, 1000, events), 1, (4, 8), (12, 16))
    # Twice as large, 2 px of nothing above and below.
    np.testing.assert_array_equal(np.argwhere(frames[0] == 255), [[6, 6], [6, 7], [7, 6], [7, 7]])
