# SPDX-License-Identifier: Apache-2.0
"""The input of an event network: T last-event frames of a window, fitted into its input size."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from snn_detector_ros.events.representations import NO_EVENT, last_event_frame
from snn_detector_ros.events.windows import Window


def placement(sensor: tuple[int, int], size: tuple[int, int]) -> tuple[int, int, int, int]:
    """
    Fit a sensor into a picture without changing its shape, in the middle.

    :param sensor: height and width in px; ``size`` alike.
    :returns: top, left, height and width of the sensor's part of the picture, px.
    """
    scale = min(size[0] / sensor[0], size[1] / sensor[1])
    height, width = (max(round(side * scale), 1) for side in sensor)
    return (size[0] - height) // 2, (size[1] - width) // 2, height, width


def binned_frames(
        window: Window, bins: int, sensor: tuple[int, int], size: tuple[int, int],
) -> NDArray[np.uint8]:
    """
    Draw a window.

    Larger sensors are reduced event by event, so that none is lost: of the pixels that fall
    together, the last event counts.

    :param window: events of the time to draw.
    :param bins: frames.
    :param sensor: height and width of the sensor in px.
    :param size: height and width of the frames in px; the picture keeps its shape, in the middle.
    :returns: uint8 [bins, height, width].
    """
    top, left, height, width = placement(sensor, size)
    frames = np.full((bins, *size), NO_EVENT, np.uint8)
    for frame, events in zip(frames, window.bins(bins), strict=True):
        if height < sensor[0] or width < sensor[1]:
            reduced = events.copy()
            # Widened first: products of 16-bit coordinates overflow.
            reduced['x'] = events['x'].astype(np.int64) * width // sensor[1]
            reduced['y'] = events['y'].astype(np.int64) * height // sensor[0]
            picture = last_event_frame(reduced, height, width)
        else:
            picture = np.asarray(cv2.resize(
                last_event_frame(events, *sensor), (width, height),
                interpolation=cv2.INTER_NEAREST), np.uint8)
        frame[top:top + height, left:left + width] = picture
    return frames
