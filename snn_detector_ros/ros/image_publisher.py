# SPDX-License-Identifier: Apache-2.0
"""
Publish frames as `sensor_msgs/Image` or JPEG `CompressedImage`, at the least cost Python allows.

Assigning pixels to a message copies them byte by byte, except through one buffer: the message and
its `array.array` are kept and refilled by numpy (0.2 ms for 1280x720, instead of 240 ms for an
assigned ndarray).
"""

from __future__ import annotations

from array import array

import cv2
import numpy as np
from builtin_interfaces.msg import Time
from numpy.typing import NDArray
from rclpy.node import Node
from rclpy.qos import QoSProfile
from rclpy.qos_overriding_options import QoSOverridingOptions
from sensor_msgs.msg import CompressedImage, Image


class RawImagePublisher:
    """
    Publishes `bgr8` images on ``image``.

    :param node: the node that publishes.
    :param qos: profile of the topic; users override it through ``qos_overrides`` parameters.
    :param frame_id: coordinate frame in the headers.
    """

    def __init__(self, node: Node, *, qos: QoSProfile, frame_id: str) -> None:
        self._publisher = node.create_publisher(
            Image, 'image', qos,
            qos_overriding_options=QoSOverridingOptions.with_default_policies())
        self._message = Image(encoding='bgr8')
        self._message.header.frame_id = frame_id
        self._pixels: NDArray[np.uint8] = np.empty((0, 0, 3), np.uint8)

    def publish(self, image: NDArray[np.uint8], stamp: Time) -> None:
        """
        Publish one picture.

        :param image: uint8 [H, W, 3] in blue, green, red order.
        :param stamp: stamp of the header.
        """
        if image.shape != self._pixels.shape:
            self._resize(image)
        np.copyto(self._pixels, image)
        self._message.header.stamp = stamp
        self._publisher.publish(self._message)

    def subscribers(self) -> int:
        """Return how many subscriptions are matched."""
        return int(self._publisher.get_subscription_count())

    def _resize(self, image: NDArray[np.uint8]) -> None:
        message = self._message
        message.height, message.width, channels = image.shape
        message.step = message.width * channels
        message.data = array('B', bytes(image.nbytes))
        # A view of what the message holds now: the setter may have made a copy.
        self._pixels = np.frombuffer(message.data, np.uint8).reshape(image.shape)


class JpegPublisher:
    """
    Publishes JPEG pictures on ``image/compressed``: a tenth of the bytes, and any rmw carries them.

    :param node: the node that publishes.
    :param qos: profile of the topic; users override it through ``qos_overrides`` parameters.
    :param frame_id: coordinate frame in the headers.
    :param quality: JPEG quality, 1 to 100.
    """

    def __init__(self, node: Node, *, qos: QoSProfile, frame_id: str, quality: int) -> None:
        self._publisher = node.create_publisher(
            CompressedImage, 'image/compressed', qos,
            qos_overriding_options=QoSOverridingOptions.with_default_policies())
        self._message = CompressedImage(format='bgr8; jpeg compressed bgr8')
        self._message.header.frame_id = frame_id
        self._options = [cv2.IMWRITE_JPEG_QUALITY, quality]

    def publish(self, image: NDArray[np.uint8], stamp: Time) -> None:
        """
        Encode and publish one picture.

        :param image: uint8 [H, W, 3] in blue, green, red order.
        :param stamp: stamp of the header.
        """
        _, encoded = cv2.imencode('.jpg', image, self._options)
        data = array('B')
        data.frombytes(encoded.tobytes())
        self._message.data = data
        self._message.header.stamp = stamp
        self._publisher.publish(self._message)

    def subscribers(self) -> int:
        """Return how many subscriptions are matched."""
        return int(self._publisher.get_subscription_count())
