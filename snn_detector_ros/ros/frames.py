# SPDX-License-Identifier: Apache-2.0
"""What the worker works on: an image that arrived, or a window of events that closed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

from builtin_interfaces.msg import Time
from sensor_msgs.msg import CompressedImage
from std_msgs.msg import Header

from snn_detector_ros.events.frames import event_picture
from snn_detector_ros.events.stream import StampedWindow
from snn_detector_ros.ros.compressed_images import read_compressed_image
from snn_detector_ros.ros.cv_bridge_adapter import ImageReader
from snn_detector_ros.ros.images import Picture
from snn_detector_ros.ros.parameters import Settings

#: The latest time that a stamp can hold, ns.
LAST_STAMP = (2**31 - 1) * 1_000_000_000


class Frame(Protocol):
    """Something to find objects in."""

    @property
    def header(self) -> Header:
        """Header of the detections, with a stamp."""

    @property
    def sent(self) -> int:
        """When it was published, system time of the publisher in ns; 0 if unknown."""

    @property
    def received(self) -> int:
        """When it was there, system time in ns."""

    def read(self, settings: Settings, reader: ImageReader) -> Picture:
        """
        Return its pixels.

        :raises SnnDetectorError: if it has none.
        """


@dataclass(frozen=True)
class ImageFrame:
    """
    An image that arrived.

    :param message: `sensor_msgs/Image` or `CompressedImage`, with a stamp.
    """

    message: Any
    sent: int
    received: int

    @property
    def header(self) -> Header:
        return self.message.header

    def read(self, settings: Settings, reader: ImageReader) -> Picture:
        if isinstance(self.message, CompressedImage):
            return read_compressed_image(self.message)
        return reader.read(self.message)


@dataclass(frozen=True)
class EventFrame:
    """A window of events that closed; it is drawn by whoever takes it."""

    window: StampedWindow
    received: int
    sent: int = 0

    @property
    def header(self) -> Header:
        sec, nanosec = divmod(min(self.window.stamp, LAST_STAMP), 1_000_000_000)
        return Header(stamp=Time(sec=sec, nanosec=nanosec), frame_id=self.window.frame_id)

    def read(self, settings: Settings, reader: ImageReader) -> Picture:
        stamped = self.window
        return Picture(
            event_picture(stamped.window, stamped.height, stamped.width,
                          representation=settings.event_representation), 'mono')
