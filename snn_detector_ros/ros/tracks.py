# SPDX-License-Identifier: Apache-2.0
"""
What a player plays: a track is a row of cues, each with its time and how to publish it.

Frames are turned into images; the messages of a bag stay the CDR bytes that were recorded.
"""

from __future__ import annotations

import importlib
import struct
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, NamedTuple, Protocol

from builtin_interfaces.msg import Time
from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy
from rclpy.qos_overriding_options import QoSOverridingOptions

from snn_detector_ros.errors import SnnDetectorError
from snn_detector_ros.media.bags import Bag
from snn_detector_ros.media.sources import Frame, FrameSource, TruncatedSourceError
from snn_detector_ros.ros.image_publisher import JpegPublisher, RawImagePublisher
from snn_detector_ros.ros.player_options import PlayerOptions


class Cue(NamedTuple):
    """
    Something to publish.

    :param time: when, s after the start of the track.
    :param publish: publishes it, with this stamp where the track has none of its own.
    """

    time: float
    publish: Callable[[Time], None]


class Track(Protocol):
    """What the player needs to know of what it plays."""

    @property
    def origin(self) -> int:
        """Simulated time of the start, ns."""

    @property
    def pause(self) -> float:
        """Time between the last cue and the first one when it is played again, s."""

    @property
    def is_live(self) -> bool:
        """Whether the cues come when they are due, by themselves."""

    def cues(self) -> Iterator[Cue]:
        """Deliver the cues from the start."""

    def subscribers(self) -> int:
        """Return how many subscriptions its topics have together."""


class FrameTrack:
    """
    Frames, published on ``image`` or ``image/compressed``.

    :param node: the node that publishes.
    :param source: where the frames come from.
    :param options: how to publish them.
    """

    def __init__(self, node: Node, source: FrameSource, options: PlayerOptions) -> None:
        self.origin = time.time_ns()
        self.pause = 1.0 / source.rate
        self.is_live = source.is_live
        self._node = node
        self._source = source
        self._publishers: list[RawImagePublisher | JpegPublisher] = []
        qos = _profile(options, depth=5)
        if options.transport in ('raw', 'both'):
            self._publishers.append(RawImagePublisher(node, qos=qos, frame_id=options.frame_id))
        if options.transport in ('compressed', 'both'):
            self._publishers.append(JpegPublisher(
                node, qos=qos, frame_id=options.frame_id, quality=options.jpeg_quality))

    def cues(self) -> Iterator[Cue]:
        try:
            for frame in self._source:
                yield Cue(frame.time, partial(self._publish, frame))
        except TruncatedSourceError as error:
            self._node.get_logger().warning(str(error))

    def subscribers(self) -> int:
        return sum(publisher.subscribers() for publisher in self._publishers)

    def _publish(self, frame: Frame, stamp: Time) -> None:
        for publisher in self._publishers:
            publisher.publish(frame.image, stamp)


class BagTrack:
    """
    A bag, published on the topics that it was recorded from.

    :param node: the node that publishes.
    :param bag: the recording.
    :param options: how to publish it.
    :raises SnnDetectorError: if none of its message types is installed.
    """

    is_live = False
    pause = 0.0

    def __init__(self, node: Node, bag: Bag, options: PlayerOptions) -> None:
        self.origin = bag.start
        self._bag = bag
        self._keeps_stamps = options.clock or not options.restamp
        self._publishers: dict[str, Any] = {}
        self._has_header: dict[str, bool] = {}
        for topic, message_type in bag.topics.items():
            message_class = _message_class(message_type)
            if message_class is None:
                node.get_logger().warning(
                    f'{topic} is left out: its type {message_type} is not installed')
                continue
            self._publishers[topic] = node.create_publisher(
                message_class, topic, _profile(options, depth=10),
                qos_overriding_options=QoSOverridingOptions.with_default_policies())
            self._has_header[topic] = starts_with_header(message_class)
        if not self._publishers:
            kinds = ', '.join(sorted(set(bag.topics.values())))
            raise SnnDetectorError(f'no message type of the bag is installed: {kinds}')

    def cues(self) -> Iterator[Cue]:
        for message in self._bag.messages():
            if message.topic in self._publishers:
                yield Cue((message.time - self.origin) / 1e9,
                          partial(self._publish, message.topic, message.data))

    def subscribers(self) -> int:
        return sum(publisher.get_subscription_count() for publisher in self._publishers.values())

    def _publish(self, topic: str, data: bytes, stamp: Time) -> None:
        if self._has_header[topic] and not self._keeps_stamps:
            data = restamp(data, stamp)
        self._publishers[topic].publish(data)


def restamp(data: bytes, stamp: Time) -> bytes:
    """
    Return a message whose first field is a header, with another stamp.

    :param data: CDR bytes; the second one says whether they are little-endian.
    :param stamp: the new stamp.
    """
    copy = bytearray(data)
    struct.pack_into('<iI' if data[1] & 1 else '>iI', copy, 4, stamp.sec, stamp.nanosec)
    return bytes(copy)


def starts_with_header(message_class: Any) -> bool:
    """Whether the first field of a message is a header, so that :func:`restamp` may be used."""
    kinds = message_class.get_fields_and_field_types().values()
    return next(iter(kinds), '') == 'std_msgs/Header'


def _message_class(message_type: str) -> Any:
    package, _, name = message_type.split('/')
    try:
        return getattr(importlib.import_module(f'{package}.msg'), name)
    except (ImportError, AttributeError):
        return None


def _profile(options: PlayerOptions, *, depth: int) -> QoSProfile:
    return QoSProfile(depth=depth, reliability=ReliabilityPolicy[options.reliability.upper()])
