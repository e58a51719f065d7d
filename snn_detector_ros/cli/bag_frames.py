# SPDX-License-Identifier: Apache-2.0
"""The images of a bag as frames, without ROS."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from snn_detector_ros.media.bags import IMAGE_TYPE, Bag
from snn_detector_ros.media.sources import DEFAULT_RATE, Frame
from snn_detector_ros.ros.compressed_images import read_compressed_image
from snn_detector_ros.ros.images import convert_to_bgr, read_image


class BagFrames:
    """
    The first image topic of a bag.

    :param path: the recording; see :class:`.Bag`.
    :raises SourceError: if it cannot be read or holds no images.
    """

    is_live = False

    def __init__(self, path: Path) -> None:
        topic, kind = Bag(path).image_topic()
        self._bag = Bag(path, topics=[topic])
        self._topic = topic
        self._kind = kind
        self.frame_count = self._bag.counts[topic]
        gaps = self.frame_count - 1
        self.rate = gaps / self._bag.duration if gaps and self._bag.duration else DEFAULT_RATE

    def __iter__(self) -> Iterator[Frame]:
        from rosbags.typesys import Stores, get_typestore

        types = get_typestore(Stores.ROS2_JAZZY)
        read = read_image if self._kind == IMAGE_TYPE else read_compressed_image
        for message in self._bag.messages():
            picture = read(types.deserialize_cdr(message.data, self._kind))
            yield Frame(np.array(convert_to_bgr(picture)),
                        (message.time - self._bag.start) / 1e9, self._topic)
