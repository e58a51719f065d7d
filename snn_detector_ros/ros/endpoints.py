# SPDX-License-Identifier: Apache-2.0
"""
Topics of the node: their quality of service, and who at the other end does not fit.

Images come best effort and one at a time: a detector has no use for the image before the newest.
Every endpoint can be overridden with `qos_overrides.<topic>...` parameters.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from rclpy.node import Node
from rclpy.publisher import Publisher
from rclpy.qos import (
    DurabilityPolicy,
    QoSCompatibility,
    QoSProfile,
    ReliabilityPolicy,
    qos_check_compatible,
)
from rclpy.qos_overriding_options import QoSOverridingOptions

IMAGES_IN = QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT)
#: Packets belong together, so that none may be left out: a second's, as drivers keep them.
EVENTS_IN = QoSProfile(depth=1000, reliability=ReliabilityPolicy.BEST_EFFORT)
RESULTS = QoSProfile(depth=10)
PICTURES_OUT = QoSProfile(depth=1)
LATCHED = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)


def overridable() -> QoSOverridingOptions:
    """Return options by which parameters override depth, history and reliability."""
    return QoSOverridingOptions.with_default_policies()


def create_publisher(node: Node, message_type: Any, topic: str, qos: QoSProfile) -> Publisher:
    """Create a publisher whose quality of service can be overridden."""
    return node.create_publisher(
        message_type, topic, qos, qos_overriding_options=overridable())


def compressed_topic(node: Node, topic: str) -> str:
    """
    Return the topic of the compressed images that belong to a raw topic.

    Remapping `image` moves `image/compressed` along, unless that is remapped itself.
    """
    name = f'{topic}/compressed'
    resolved = node.resolve_topic_name(name)
    if resolved != node.resolve_topic_name(name, only_expand=True):
        return resolved
    return f'{node.resolve_topic_name(topic)}/compressed'


def mismatches(node: Node, topics: Iterable[str]) -> list[str]:
    """
    Return one sentence for each foreign endpoint whose quality of service excludes ours.

    :param topics: full names of the topics to look at.
    """
    found = []
    for topic in topics:
        for publisher in node.get_publishers_info_by_topic(topic):
            for subscriber in node.get_subscriptions_info_by_topic(topic):
                ours = [_owner(end) == node.get_fully_qualified_name()
                        for end in (publisher, subscriber)]
                verdict, reason = qos_check_compatible(
                    publisher.qos_profile, subscriber.qos_profile)
                if any(ours) and verdict == QoSCompatibility.ERROR:
                    other = f'publisher {_owner(publisher)}' if ours[1] else (
                        f'subscriber {_owner(subscriber)}')
                    found.append(f'{topic}: {other} does not fit: {reason.rstrip(";")}')
    return found


def _owner(endpoint: Any) -> str:
    return f'{endpoint.node_namespace.rstrip("/")}/{endpoint.node_name}'
