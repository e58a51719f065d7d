# SPDX-License-Identifier: Apache-2.0
"""
Pictures of events, as networks and people look at them.

All take EVENT [N] with every x below ``width`` and y below ``height``, as decoders give them. Where
order matters it is the order of the array.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from snn_detector_ros.events.types import Events

#: Values of a frame of last events.
NO_EVENT, POSITIVE, NEGATIVE = 127, 255, 0


def last_event_frame(events: Events, height: int, width: int) -> NDArray[np.uint8]:
    """
    Draw the last event of each pixel: EMS-YOLO's picture of a bin.

    :returns: uint8 [height, width]; 127 where nothing happened, 255 where the last event was
        positive, 0 where it was negative. The network sees it three times, as equal channels.
    """
    # An assignment with repeated indices has no defined winner; the maximum of (order, p) has.
    last = np.zeros(height * width, np.int64)
    np.maximum.at(last, _pixels(events, width), 2 * np.arange(1, len(events) + 1) + events['p'])
    frame = np.where(last & 1, np.uint8(POSITIVE), np.uint8(NEGATIVE))
    frame[last == 0] = NO_EVENT
    return frame.reshape(height, width)


def signed_histogram(events: Events, height: int, width: int) -> NDArray[np.int32]:
    """
    Count positive minus negative events of each pixel.

    :returns: int32 [height, width].
    """
    pixels, size = _pixels(events, width), height * width
    positive = np.bincount(pixels[events['p'] == 1], minlength=size)
    total = np.bincount(pixels, minlength=size)
    return (2 * positive - total).astype(np.int32).reshape(height, width)


def voxel_grid(
    events: Events, height: int, width: int, *, bins: int, start: int, end: int,
) -> NDArray[np.float32]:
    """
    Share each event's sign between the two nearest of ``bins`` points in time (Zhu et al. 2019).

    :param start: time of the first point in us; ``end`` of the last one. Events lie between.
    :returns: float32 [bins, height, width]; an event at s on the scale of points adds
        (2p - 1) max(0, 1 - abs(b - s)) to point b.
    """
    scaled = (events['t'] - start) * ((bins - 1) / max(1, end - start))
    left = np.clip(np.floor(scaled).astype(np.int64), 0, max(0, bins - 2))
    share, sign = scaled - left, 2.0 * events['p'] - 1
    size, pixels = height * width, _pixels(events, width)
    grid = np.bincount(left * size + pixels, sign * (1 - share), minlength=bins * size)
    if bins > 1:
        grid += np.bincount((left + 1) * size + pixels, sign * share, minlength=bins * size)
    return grid.astype(np.float32).reshape(bins, height, width)


def time_surface(
    events: Events, height: int, width: int, *, end: int, decay: float,
) -> NDArray[np.float32]:
    """
    Show how long ago each pixel had its latest event of each polarity (Lagorce et al. 2017).

    :param end: time of the picture in us, not before the events.
    :param decay: time constant in us.
    :returns: float32 [2, height, width]; exp((t - end) / decay) for the latest t, 0 without event;
        negative polarity first.
    """
    size = height * width
    latest = np.full(2 * size, np.iinfo(np.int64).min)
    np.maximum.at(latest, events['p'].astype(np.int64) * size + _pixels(events, width), events['t'])
    seen = latest != np.iinfo(np.int64).min
    surface = np.zeros(2 * size, np.float32)
    surface[seen] = np.exp((latest[seen] - end) / decay)
    return surface.reshape(2, height, width)


def _pixels(events: Events, width: int) -> NDArray[np.int64]:
    # Widened first: numpy 1 would keep uint16, and overflow.
    return events['y'].astype(np.int64) * width + events['x']
