# SPDX-License-Identifier: Apache-2.0
"""Boxes for rviz: outlines and labels on a plane in front of the camera."""

from __future__ import annotations

import cv2
import numpy as np
from geometry_msgs.msg import Point
from numpy.typing import NDArray
from sensor_msgs.msg import CameraInfo
from std_msgs.msg import ColorRGBA, Header
from visualization_msgs.msg import Marker, MarkerArray

from snn_detector_ros.detection.overlay import class_colour
from snn_detector_ros.detection.types import Detection, Detections
from snn_detector_ros.errors import ConfigurationError

#: Models whose coefficients OpenCV's undistortion takes as they are.
_DISTORTION_MODELS = ('', 'plumb_bob', 'rational_polynomial')


def marker_array(
    detections: Detections, header: Header, camera: CameraInfo, *, depth: float
) -> MarkerArray:
    """
    Return one outline and one label a detection, in the frame of the image.

    The frame is an optical one (REP-103: x right, y down, z forward). Markers of the image before
    are deleted first.

    :param camera: calibration of the camera.
    :param depth: distance of the plane from the camera, in m.
    :raises ConfigurationError: if the camera is not calibrated, or its lens model is unknown.
    """
    corners = detections.boxes[:, [0, 1, 2, 1, 2, 3, 0, 3, 0, 1]].reshape(-1, 2)
    plane = (_rays(corners, camera) * depth).reshape(-1, 5, 2)
    message = MarkerArray(markers=[Marker(header=header, action=Marker.DELETEALL)])
    for index, (detection, outline) in enumerate(zip(detections, plane.tolist(), strict=True)):
        points = [Point(x=x, y=y, z=depth) for x, y in outline]
        message.markers.append(_outline(detection, header, index, points))
        message.markers.append(_label(detection, header, index, points[0]))
    return message


def _rays(pixels: NDArray[np.float32], camera: CameraInfo) -> NDArray[np.float64]:
    """Return x/z and y/z of the rays through pixels, both float [N, 2]."""
    matrix = np.asarray(camera.k, np.float64).reshape(3, 3)
    if not matrix[0, 0] > 0 or not matrix[1, 1] > 0:
        raise ConfigurationError('the camera is not calibrated: `camera_info` has no focal length')
    if camera.distortion_model not in _DISTORTION_MODELS:
        raise ConfigurationError(
            f'lens model `{camera.distortion_model}` is not supported; supported are '
            f'{", ".join(_DISTORTION_MODELS[1:])}')
    if not len(pixels):
        return np.empty((0, 2))
    distortion = np.asarray(camera.d, np.float64)
    points = cv2.undistortPoints(pixels.astype(np.float64)[:, None], matrix, distortion)
    return points[:, 0].astype(np.float64)


def _outline(detection: Detection, header: Header, index: int, points: list[Point]) -> Marker:
    marker = Marker(header=header, ns='boxes', id=index, type=Marker.LINE_STRIP, points=points,
                    color=_colour(detection))
    marker.scale.x = 0.005 * points[0].z
    marker.pose.orientation.w = 1.0
    return marker


def _label(detection: Detection, header: Header, index: int, corner: Point) -> Marker:
    marker = Marker(header=header, ns='labels', id=index, type=Marker.TEXT_VIEW_FACING,
                    text=f'{detection.class_name} {detection.score:.2f}', color=_colour(detection))
    marker.scale.z = 0.04 * corner.z
    marker.pose.position = corner
    marker.pose.orientation.w = 1.0
    return marker


def _colour(detection: Detection) -> ColorRGBA:
    blue, green, red = (channel / 255 for channel in class_colour(detection.class_id))
    return ColorRGBA(r=red, g=green, b=blue, a=1.0)
