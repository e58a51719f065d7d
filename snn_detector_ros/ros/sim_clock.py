# SPDX-License-Identifier: Apache-2.0
"""Publish simulated time on `/clock`, for nodes that run with `use_sim_time`."""

from __future__ import annotations

from builtin_interfaces.msg import Time
from rclpy.node import Node
from rosgraph_msgs.msg import Clock


class SimClock:
    """
    A clock that a player drives.

    :param node: the node that publishes.
    :param origin: simulated time at the start of the track, ns.
    :param speed: seconds of simulated time in a second.
    """

    def __init__(self, node: Node, *, origin: int, speed: float = 1.0) -> None:
        self._publisher = node.create_publisher(Clock, '/clock', 10)
        self._origin = origin
        self._speed = speed
        self._started = 0.0

    def restart(self, elapsed: float) -> None:
        """Put the time back to the origin, ``elapsed`` s into playing."""
        self._started = elapsed

    def publish(self, elapsed: float) -> Time:
        """Announce the time, ``elapsed`` s into playing, and return it."""
        now = self._origin + round(max(0.0, elapsed - self._started) * self._speed * 1e9)
        sec, nanosec = divmod(now, 1_000_000_000)
        stamp = Time(sec=sec, nanosec=nanosec)
        self._publisher.publish(Clock(clock=stamp))
        return stamp
