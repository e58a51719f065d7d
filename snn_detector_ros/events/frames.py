# SPDX-License-Identifier: Apache-2.0
"""
A window as one picture of 8 bits: what people see of events, and a detector of pictures.

All are grey, dark where it became darker, bright where brighter, 127 where nothing happened.
Networks that were trained on events see several, see :mod:`snn_detector_ros.events.binned_frames`.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from snn_detector_ros.errors import ConfigurationError
from snn_detector_ros.events.representations import (
    NO_EVENT,
    last_event_frame,
    signed_histogram,
    time_surface,
)
from snn_detector_ros.events.windows import Window

#: Grey values of one event in a histogram: four of a polarity are black or white.
GREY_PER_EVENT = 32


def _last_event(window: Window, height: int, width: int) -> NDArray[np.uint8]:
    return last_event_frame(window.events, height, width)


def _histogram(window: Window, height: int, width: int) -> NDArray[np.uint8]:
    # Limited before it is scaled: a pixel may have any number of events.
    counts = np.clip(signed_histogram(window.events, height, width), -4, 4)
    return np.clip(NO_EVENT + GREY_PER_EVENT * counts, 0, 255).astype(np.uint8)


def _time_surface(window: Window, height: int, width: int) -> NDArray[np.uint8]:
    """Draw both polarities in one picture; an event fades to 1/e over the window."""
    negative, positive = time_surface(
        window.events, height, width, end=window.end, decay=max(1, window.end - window.start))
    grey = NO_EVENT + 128 * (positive - negative)
    return np.clip(np.rint(grey), 0, 255).astype(np.uint8)


#: What draws a window, by name.
REPRESENTATIONS: dict[str, Callable[[Window, int, int], NDArray[np.uint8]]] = {
    'last_event': _last_event, 'histogram': _histogram, 'time_surface': _time_surface}


def event_picture(
    window: Window, height: int, width: int, *, representation: str = 'last_event',
) -> NDArray[np.uint8]:
    """
    Draw a window as one picture.

    :param height: of the sensor in px; ``width`` alike.
    :param representation: one of :data:`REPRESENTATIONS`: 'last_event' is EMS-YOLO's picture,
        'histogram' counts, 'time_surface' fades.
    :returns: uint8 [H, W].
    :raises ConfigurationError: if there is no such representation.
    """
    if representation not in REPRESENTATIONS:
        raise ConfigurationError(
            f'event representation `{representation}`: must be one of '
            f'{", ".join(REPRESENTATIONS)}')
    return REPRESENTATIONS[representation](window, height, width)
