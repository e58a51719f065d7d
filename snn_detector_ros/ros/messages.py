# SPDX-License-Identifier: Apache-2.0
"""Detections, labels and pictures as ROS messages."""

from __future__ import annotations

import array

import numpy as np
from numpy.typing import NDArray
from sensor_msgs.msg import Image
from std_msgs.msg import Header

from snn_detector_ros.detection.types import Detection, Detections
from snn_detector_ros.errors import ConfigurationError

try:
    from vision_msgs.msg import (
        Detection2D,
        Detection2DArray,
        LabelInfo,
        ObjectHypothesisWithPose,
        VisionClass,
        VisionInfo,
    )
except ImportError as error:
    raise ConfigurationError(
        'the messages of `vision_msgs` are not installed; with ROS from apt: '
        'apt install ros-$ROS_DISTRO-vision-msgs; else build ours: '
        'python interfaces/build_messages.py interfaces/vision_msgs') from error


def detection_array(
    detections: Detections, header: Header, *, class_id_format: str
) -> Detection2DArray:
    """
    Return detections as a message.

    :param header: of the source image; taken over as it is, for the array and each detection.
    :param class_id_format: what `class_id` holds: 'name' or 'index'.
    """
    return Detection2DArray(header=header, detections=[
        _detection(detection, header, class_id_format) for detection in detections])


def _detection(detection: Detection, header: Header, class_id_format: str) -> Detection2D:
    left, top, right, bottom = detection.box
    hypothesis = ObjectHypothesisWithPose()
    hypothesis.hypothesis.class_id = (
        detection.class_name if class_id_format == 'name' else str(detection.class_id))
    hypothesis.hypothesis.score = detection.score
    message = Detection2D(header=header, results=[hypothesis])
    centre = message.bbox.center
    # vision_msgs 2 (Foxy) had the centre's x and y here, without a position.
    position = getattr(centre, 'position', centre)
    position.x = (left + right) / 2
    position.y = (top + bottom) / 2
    message.bbox.size_x = right - left
    message.bbox.size_y = bottom - top
    return message


def label_info(names: tuple[str, ...], header: Header, *, threshold: float) -> LabelInfo:
    """Return the table of class names by index, and the least score of a detection."""
    return LabelInfo(header=header, threshold=threshold, class_map=[
        VisionClass(class_id=index, class_name=name) for index, name in enumerate(names)])


def vision_info(header: Header, *, method: str, labels_topic: str, version: int) -> VisionInfo:
    """
    Return who detects, and where the class names are found.

    :param labels_topic: topic of the `label_info` that belongs to the detections.
    :param version: number of the network, counted from its first loading.
    """
    return VisionInfo(header=header, method=method, database_location=labels_topic,
                      database_version=version)


def bgr_image(pixels: NDArray[np.uint8], header: Header) -> Image:
    """Return a picture, uint8 [H, W, 3] blue-green-red, as a message."""
    height, width = pixels.shape[:2]
    # An array of bytes is taken over as it is; a numpy array would be checked byte by byte.
    data = array.array('B')
    data.frombytes(np.ascontiguousarray(pixels).data.cast('B'))
    return Image(header=header, height=height, width=width, encoding='bgr8', step=3 * width,
                 is_bigendian=0, data=data)
