# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import numpy as np
import pytest

from snn_detector_ros.errors import ConfigurationError
from snn_detector_ros.events import EVENT, Window, last_event_frame
from snn_detector_ros.events.binned_frames import binned_frames
from snn_detector_ros.events.frames import REPRESENTATIONS, event_picture

HEIGHT, WIDTH = 12, 20
rng = np.random.default_rng(0)
EVENTS = np.zeros(500, EVENT)
EVENTS['x'], EVENTS['y'] = rng.integers(0, WIDTH, 500), rng.integers(0, HEIGHT, 500)
EVENTS['p'], EVENTS['t'] = rng.integers(0, 2, 500), np.sort(rng.integers(0, 50_000, 500))
WINDOW = Window(0, 50_000, EVENTS)


def one(*events: tuple[int, int, int, int]) -> Window:
    return Window(0, 50_000, np.array(list(events), EVENT))


@pytest.mark.parametrize('representation', REPRESENTATIONS)
def test_a_window_is_a_grey_picture(representation: str) -> None:
    picture = event_picture(WINDOW, HEIGHT, WIDTH, representation=representation)
    assert (picture.shape, picture.dtype) == ((HEIGHT, WIDTH), np.uint8)


def test_each_bin_holds_its_own_events() -> None:
    frames = binned_frames(WINDOW, 5, (HEIGHT, WIDTH), (HEIGHT, WIDTH))
    for index in range(5):
        part = EVENTS[(EVENTS['t'] >= 10_000 * index) & (EVENTS['t'] < 10_000 * (index + 1))]
        np.testing.assert_array_equal(frames[index], last_event_frame(
            part, HEIGHT, WIDTH))


@pytest.mark.parametrize('representation', REPRESENTATIONS)
def test_nothing_is_grey_brighter_is_bright_darker_is_dark(representation: str) -> None:
    frame = event_picture(one((3, 4, 1, 49_000), (5, 6, 0, 49_500)), HEIGHT, WIDTH,
                          representation=representation)
    assert frame[4, 3] > 127 > frame[6, 5]
    frame[4, 3] = frame[6, 5] = 127
    assert (frame == 127).all()
    assert (event_picture(one(), HEIGHT, WIDTH, representation=representation) == 127).all()


def test_a_histogram_counts_until_it_is_black_or_white() -> None:
    events = [(1, 1, 1, 10)] * 3 + [(2, 1, 0, 10)] * 2 + [(3, 1, 1, 10)] * 1000
    frame = event_picture(one(*events), HEIGHT, WIDTH, representation='histogram')
    assert frame[1, 1:4].tolist() == [127 + 96, 127 - 64, 255]


def test_a_surface_fades_to_a_third_over_the_window() -> None:
    frame = event_picture(one((1, 1, 1, 0), (2, 1, 1, 49_999)), HEIGHT, WIDTH,
                          representation='time_surface')
    assert frame[1, 1] == round(127 + 128 * np.exp(-1))
    assert frame[1, 2] == 255


def test_an_unknown_representation_is_refused() -> None:
    with pytest.raises(ConfigurationError, match='`voxels`'):
        event_picture(WINDOW, HEIGHT, WIDTH, representation='voxels')
