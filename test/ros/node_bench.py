# SPDX-License-Identifier: Apache-2.0
"""Nodes under test in this process, a probe at the other end, and waiting with a deadline."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from rclpy.executors import SingleThreadedExecutor
from rclpy.parameter import Parameter
from sensor_msgs.msg import Image

from snn_detector_ros.ros.node import SnnDetectorNode

#: Longest time that anything may take, in s; discovery between processes alone may take 4.
DEADLINE = 20.0


class Bench:
    """Nodes under test, a probe node that collects messages, and one executor for all of them."""

    def __init__(self) -> None:
        self.executor = SingleThreadedExecutor()
        self.probe = rclpy.create_node('probe')
        self.executor.add_node(self.probe)
        self.received: dict[str, list[Any]] = defaultdict(list)
        self._nodes: list[Any] = [self.probe]
        self._publishers: dict[str, Any] = {}

    def start(
        self, *, make_detector: Any = None, remap: dict[str, str] | None = None, **parameters: Any
    ) -> Any:
        """Start a node with some parameters; by default it reports five times a second."""
        values = {'diagnostics_period': 0.2, **parameters}
        options: dict[str, Any] = {} if make_detector is None else {'make_detector': make_detector}
        if remap:
            options['cli_args'] = ['--ros-args', *(
                part for name, topic in remap.items() for part in ('-r', f'{name}:={topic}'))]
        node = SnnDetectorNode(**options, parameter_overrides=[
            Parameter(name, value=value) for name, value in values.items()])
        self._nodes.append(node)
        self.executor.add_node(node)
        node.start()
        return node

    def listen(self, message_type: Any, topic: str, qos: Any = 10) -> list[Any]:
        """Subscribe to a topic, and return the list that its messages will be added to."""
        messages = self.received[topic]
        self.probe.create_subscription(message_type, topic, messages.append, qos)
        return messages

    def publish(self, topic: str, message: Any) -> None:
        """Publish a message once somebody listens to it."""
        if topic not in self._publishers:
            self._publishers[topic] = self.probe.create_publisher(type(message), topic, 10)
        publisher = self._publishers[topic]
        self.until(lambda: publisher.get_subscription_count() > 0, f'a subscriber of {topic}')
        publisher.publish(message)

    def until(self, condition: Callable[[], Any], what: str, deadline: float = DEADLINE) -> Any:
        """Let the nodes run until a condition holds, and return what it returned."""
        end = time.monotonic() + deadline
        while time.monotonic() < end:
            result = condition()
            if result:
                return result
            self.executor.spin_once(timeout_sec=0.02)
        pytest.fail(f'no {what} within {deadline} s')

    def status(self, name: str, condition: Callable[[Any, dict[str, str]], Any]) -> Any:
        """Wait for a diagnostic status that meets a condition; return it."""
        if '/diagnostics' not in self.received:
            self.listen(DiagnosticArray, '/diagnostics')
        messages = self.received['/diagnostics']

        def find() -> Any:
            while messages:
                for status in messages.pop(0).status:
                    values = {value.key: value.value for value in status.values}
                    if status.name.endswith(f': {name}') and condition(status, values):
                        return status
            return None

        return self.until(find, f'matching status `{name}`')

    def close(self) -> None:
        for node in self._nodes:
            node.destroy_node()
        self.executor.shutdown()


def image_message(pixels: np.ndarray, *, stamp: int = 7, encoding: str = 'bgr8') -> Any:
    """Return a `sensor_msgs/Image`, uint8 [H, W] or [H, W, C], with a stamp in s."""
    message = Image(height=pixels.shape[0], width=pixels.shape[1], encoding=encoding,
                    step=pixels[0].nbytes, data=pixels.tobytes())
    message.header.frame_id = 'camera_optical'
    message.header.stamp.sec = stamp
    return message
