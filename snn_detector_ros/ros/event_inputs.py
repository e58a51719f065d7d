# SPDX-License-Identifier: Apache-2.0
"""The subscription to an event camera."""

from __future__ import annotations

import importlib
from typing import Any

from rclpy.node import Node
from rclpy.subscription import Subscription

from snn_detector_ros.errors import ConfigurationError
from snn_detector_ros.events.packets import EVENT_ARRAY_TYPE, EVENT_PACKET_TYPE, READERS
from snn_detector_ros.ros import endpoints
from snn_detector_ros.ros.event_worker import Arrival, EventWorker
from snn_detector_ros.ros.monitor import Monitor

_REMEDIES = {
    EVENT_PACKET_TYPE:
        'with ROS from apt: apt install ros-$ROS_DISTRO-event-camera-msgs; else build ours: '
        'python interfaces/build_messages.py interfaces/event_camera_msgs',
    EVENT_ARRAY_TYPE:
        'build ours: python interfaces/build_messages.py interfaces/dvs_msgs; or the port to '
        'ROS 2 in your workspace',
}


class EventInputs:
    """
    Receives packets of events and hands them on as they are.

    The messages are not turned into objects here: the worker reads their bytes. A topic on which
    only `dvs_msgs/EventArray` is published is subscribed to as such.

    :param worker: what decodes; stopped with the subscription.
    """

    #: Packets are small; images alone outgrow the shared memory of the middleware.
    image_bytes = 0

    def __init__(self, node: Node, monitor: Monitor, worker: EventWorker) -> None:
        self._node = node
        self._monitor = monitor
        self._worker = worker
        self._topic = node.resolve_topic_name('events')
        self._type = ''
        self._publishers = 0
        self._subscription: Subscription | None = None
        #: Why what is published cannot be received; empty if it can.
        self.problem = ''

    @property
    def sources(self) -> dict[str, int]:
        """Number of publishers of the topic."""
        return {self._topic: self._publishers}

    def follow_publishers(self) -> None:
        """
        Subscribe to the type of message that is published.

        :raises ConfigurationError: if `event_camera_msgs` is not installed.
        """
        published = {publisher.topic_type
                     for publisher in self._node.get_publishers_info_by_topic(self._topic)}
        self._publishers = self._node.count_publishers(self._topic)
        wanted, self.problem = EVENT_PACKET_TYPE, ''
        if EVENT_ARRAY_TYPE in published and EVENT_PACKET_TYPE not in published:
            try:
                _message_class(EVENT_ARRAY_TYPE)
                wanted = EVENT_ARRAY_TYPE
            except ConfigurationError as error:
                self.problem = str(error)
        if wanted != self._type:
            self._unsubscribe()
            try:
                self._subscription = self._subscribe(wanted)
            except RuntimeError as error:
                # rclpy's RCLError: another node of this process uses the topic with another type.
                self.problem = f'{self._topic} cannot be subscribed to as {wanted}: {error}'
            else:
                self._type = wanted

    def restart(self) -> None:
        """Begin anew: the clock of the node has jumped."""
        self._worker.restart()

    def destroy(self) -> None:
        """Give everything back, and stop the worker."""
        self._unsubscribe()
        self._worker.stop()

    def _unsubscribe(self) -> None:
        if self._subscription is not None:
            self._node.destroy_subscription(self._subscription)
            self._subscription, self._type = None, ''

    def _subscribe(self, message_type: str) -> Subscription:
        read = READERS[message_type]

        # rclpy hands over the message's information only to callbacks that need two arguments.
        def on_packet(data: bytes, information: dict[str, Any]) -> None:
            self._monitor.arrived()
            sent, received = (information.get(f'{name}_timestamp', 0)
                              for name in ('source', 'received'))
            # Middlewares that do not know a time say 0.
            transport = (received - sent) / 1e6 if sent and received else None
            self._worker.receive(
                Arrival(data, read, self._node.get_clock().now().nanoseconds, transport))

        callback: Any = on_packet
        return self._node.create_subscription(
            _message_class(message_type), self._topic, callback, endpoints.EVENTS_IN, raw=True,
            qos_overriding_options=endpoints.overridable())


def _message_class(message_type: str) -> Any:
    package, _, name = message_type.split('/')
    try:
        return getattr(importlib.import_module(f'{package}.msg'), name)
    except ImportError as error:
        raise ConfigurationError(
            f'the messages of `{package}` are not installed; {_REMEDIES[message_type]}') from error
