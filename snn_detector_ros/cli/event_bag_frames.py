# SPDX-License-Identifier: Apache-2.0
"""The events of a bag as frames, one a window, without ROS."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from snn_detector_ros.events import TimeWindows, stream
from snn_detector_ros.events.errors import BadPacketError
from snn_detector_ros.events.frames import event_picture
from snn_detector_ros.events.packets import READERS
from snn_detector_ros.events.stream import EventStream, StampedWindow
from snn_detector_ros.media.bags import Bag
from snn_detector_ros.media.sources import Frame


@dataclass(frozen=True)
class WindowFrame(Frame):
    """A picture of a window, and the window."""

    window: StampedWindow


class EventBagFrames:
    """
    The first topic of an event camera in a bag, decoded and cut as by the node.

    What comes after the end of the last whole window is left out.

    :param path: the recording; see :class:`.Bag`.
    :param window: time of a frame, ms.
    :param representation: how it is drawn; see :func:`.event_picture`.
    :raises SourceError: if it cannot be read or holds no events.
    """

    is_live = False

    def __init__(self, path: Path, *, window: float, representation: str) -> None:
        topic, kind = Bag(path).event_topic()
        self._bag = Bag(path, topics=[topic])
        self._topic = topic
        self._read = READERS[kind]
        self._length = round(1e3 * window)
        self._representation = representation
        self._counts: Counter[str] = Counter()
        self.rate = 1e3 / window
        #: Not known before all is decoded.
        self.frame_count = None

    def __iter__(self) -> Iterator[WindowFrame]:
        events = EventStream(TimeWindows(self._length))
        first: int | None = None
        for message in self._bag.messages():
            try:
                windows = events.add(self._read(message.data), now=message.time)
            except BadPacketError as error:
                self._counts[f'bad packets: {error.cause}'] += 1
                continue
            self._counts += events.take_counts()
            for window in windows:
                first = window.stamp if first is None else first
                yield self._frame(window, (window.stamp - first) / 1e9)

    def summary(self) -> str:
        """Return what was decoded, and all that was lost, in a line."""
        counts = +self._counts
        read = f'{counts.pop(stream.EVENTS, 0)} in {counts.pop(stream.PACKETS, 0)} packets'
        counts.pop(stream.WINDOWS, None)
        return f'events         {read}' + ''.join(
            f'\n               {times} {event}' for event, times in sorted(counts.items()))

    def _frame(self, window: StampedWindow, time: float) -> WindowFrame:
        picture = event_picture(window.window, window.height, window.width,
                                representation=self._representation)
        return WindowFrame(
            cv2.cvtColor(picture, cv2.COLOR_GRAY2BGR).astype(np.uint8, copy=False), time,
            self._topic, window)
