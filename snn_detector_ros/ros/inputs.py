# SPDX-License-Identifier: Apache-2.0
"""Subscriptions to images, raw or compressed, and what is lost on their way."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from rclpy.node import Node
from rclpy.subscription import Subscription
from sensor_msgs.msg import CompressedImage, Image

from snn_detector_ros.ros import endpoints, monitor
from snn_detector_ros.ros.frames import Frame, ImageFrame
from snn_detector_ros.ros.monitor import Monitor
from snn_detector_ros.ros.parameters import Settings
from snn_detector_ros.ros.transport_loss import TransportLoss

_TYPES = {'raw': Image, 'compressed': CompressedImage}


class Inputs:
    """
    Receives images and hands them on as frames with a stamp.

    Cameras that use image_transport advertise compressed images beside the raw ones, and compress
    only while somebody listens: so the compressed topic is left alone while there is a raw one.

    :param submit: takes each frame; called in the executor's thread.
    :param settings: gives the settings of the moment.
    """

    #: Why what is published cannot be received: images always can.
    problem = ''

    def __init__(
        self, node: Node, monitor: Monitor, submit: Callable[[Frame], None],
        *, settings: Callable[[], Settings],
    ) -> None:
        self._node = node
        self._monitor = monitor
        self._submit = submit
        self._settings = settings
        self._loss = TransportLoss()
        self._subscriptions: dict[str, Subscription] = {}
        self._publishers: dict[str, int] = {}
        #: Size of the last image.
        self.image_bytes = 0
        self._topics = {'raw': node.resolve_topic_name('image'),
                        'compressed': endpoints.compressed_topic(node, 'image')}

    @property
    def sources(self) -> dict[str, int]:
        """Number of publishers of each topic that is subscribed to."""
        return {self._topics[kind]: self._publishers[kind] for kind in self._subscriptions}

    def follow_publishers(self) -> None:
        """Subscribe to what is published, as `image_transport` says."""
        transport = self._settings().image_transport
        self._publishers = {
            kind: self._node.count_publishers(topic) for kind, topic in self._topics.items()}
        if transport == 'auto':
            wanted = {'raw'} if self._publishers['raw'] else {'raw', 'compressed'}
        else:
            wanted = {transport}
        for kind in self._subscriptions.keys() - wanted:
            self._node.destroy_subscription(self._subscriptions.pop(kind))
        for kind in wanted - self._subscriptions.keys():
            self._subscriptions[kind] = self._subscribe(kind)

    def restart(self) -> None:
        """Begin anew: the clock of the node has jumped."""
        self._loss.forget()

    def destroy(self) -> None:
        """Give all subscriptions back."""
        for subscription in self._subscriptions.values():
            self._node.destroy_subscription(subscription)
        self._subscriptions.clear()

    def _subscribe(self, kind: str) -> Subscription:
        # rclpy hands over the message's information only to callbacks that need two arguments.
        def on_image(message: Any, information: dict[str, Any]) -> None:
            self._receive(kind, message, information)

        callback: Any = on_image
        return self._node.create_subscription(
            _TYPES[kind], self._topics[kind], callback, endpoints.IMAGES_IN,
            qos_overriding_options=endpoints.overridable())

    def _receive(self, kind: str, message: Any, information: dict[str, Any]) -> None:
        self._monitor.arrived()
        self._monitor.count(monitor.RECEIVED)
        self.image_bytes = len(message.data)
        self._count_lost(kind, information)
        stamp = message.header.stamp
        if not stamp.sec and not stamp.nanosec:
            self._monitor.count(monitor.ZERO_STAMPS)
            message.header.stamp = self._node.get_clock().now().to_msg()
        # Middlewares that do not know a time say 0.
        self._submit(ImageFrame(message, information.get('source_timestamp', 0),
                                information.get('received_timestamp', 0) or time.time_ns()))

    def _count_lost(self, kind: str, information: dict[str, Any]) -> None:
        number = information.get('publication_sequence_number')
        publisher = information.get('publisher_gid')
        if number is None:
            return
        if publisher is None and self._publishers[kind] > 1:
            # Before ROS 2 Kilted a message does not say who sent it: numbers of several mix.
            self._loss.forget()
            return
        lost = self._loss.observe((kind, str(publisher)), number)
        if lost:
            self._monitor.count(monitor.LOST_IN_TRANSPORT, lost)
