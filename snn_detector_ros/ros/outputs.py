# SPDX-License-Identifier: Apache-2.0
"""Everything a configured node publishes about its images."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from rclpy.node import Node
from rclpy.subscription import Subscription
from sensor_msgs.msg import CameraInfo, Image
from std_msgs.msg import Header
from vision_msgs.msg import Detection2DArray, LabelInfo, VisionInfo
from visualization_msgs.msg import MarkerArray

from snn_detector_ros.detection.detector import Detector
from snn_detector_ros.detection.overlay import draw
from snn_detector_ros.detection.types import Detections
from snn_detector_ros.errors import ConfigurationError
from snn_detector_ros.ros import endpoints
from snn_detector_ros.ros.images import Picture, convert_to_bgr
from snn_detector_ros.ros.markers import marker_array
from snn_detector_ros.ros.messages import bgr_image, detection_array, label_info, vision_info
from snn_detector_ros.ros.parameters import Settings


class Outputs:
    """
    The publishers of detections, labels and pictures.

    Pictures and markers are drawn only while somebody subscribes; so is `camera_info` listened to,
    which markers need.
    """

    def __init__(self, node: Node) -> None:
        self._node = node
        self._detections = endpoints.create_publisher(
            node, Detection2DArray, 'detections', endpoints.RESULTS)
        self._markers = endpoints.create_publisher(
            node, MarkerArray, 'markers', endpoints.RESULTS)
        self._debug_image = endpoints.create_publisher(
            node, Image, 'debug_image', endpoints.PICTURES_OUT)
        self._labels = endpoints.create_publisher(
            node, LabelInfo, 'label_info', endpoints.LATCHED)
        self._vision = endpoints.create_publisher(
            node, VisionInfo, 'vision_info', endpoints.LATCHED)
        self._camera_subscription: Subscription | None = None
        self._camera: CameraInfo | None = None
        self._next_debug_image = 0.0
        #: Why markers are wanted but not drawn; empty if they are.
        self.marker_problem = ''

        self._publishers = (
            self._detections, self._markers, self._debug_image, self._labels, self._vision)

    @property
    def topics(self) -> list[str]:
        """Names of all topics published here."""
        return [publisher.topic_name for publisher in self._publishers]

    def publish_labels(self, detector: Detector, *, threshold: float, version: int) -> None:
        """Publish, latched, what the class ids of coming detections mean."""
        header = Header(stamp=self._node.get_clock().now().to_msg())
        self._labels.publish(label_info(detector.class_names, header, threshold=threshold))
        self._vision.publish(vision_info(
            header, version=version, labels_topic=self._labels.topic_name,
            method=f'{detector.model_name} ({detector.code}) by engine {detector.engine_name}'))

    def publish_detections(
        self, detections: Detections, header: Header, settings: Settings
    ) -> None:
        """Publish the detections of an image."""
        self._detections.publish(detection_array(
            detections, header, class_id_format=settings.class_id_format))

    def publish_drawings(
        self, detections: Detections, picture: Callable[[], Picture], header: Header,
        settings: Settings,
    ) -> None:
        """
        Publish the debug image and the markers, as far as somebody subscribes to them.

        :param picture: gives what to draw on; is called only if there is something to draw.
        """
        now = time.monotonic()
        if self._debug_image.get_subscription_count() and now >= self._next_debug_image:
            self._next_debug_image = now + 1 / settings.debug_image_rate
            self._debug_image.publish(
                bgr_image(draw(convert_to_bgr(picture()), detections), header))
        if self._markers.get_subscription_count():
            self._publish_markers(detections, header, settings.marker_depth)

    def follow_subscribers(self) -> None:
        """Subscribe to `camera_info` while somebody subscribes to the markers."""
        wanted = self._markers.get_subscription_count() > 0
        if wanted and self._camera_subscription is None:
            self._camera_subscription = self._node.create_subscription(
                CameraInfo, 'camera_info', self._on_camera, endpoints.IMAGES_IN,
                qos_overriding_options=endpoints.overridable())
        elif not wanted and self._camera_subscription is not None:
            self._node.destroy_subscription(self._camera_subscription)
            self._camera_subscription = self._camera = None
            self.marker_problem = ''

    def destroy(self) -> None:
        """Give all publishers back."""
        for publisher in self._publishers:
            self._node.destroy_publisher(publisher)
        if self._camera_subscription is not None:
            self._node.destroy_subscription(self._camera_subscription)

    def _on_camera(self, message: Any) -> None:
        self._camera = message

    def _publish_markers(self, detections: Detections, header: Header, depth: float) -> None:
        camera = self._camera
        if camera is None:
            self.marker_problem = (
                f'no message on {self._node.resolve_topic_name("camera_info")}')
            return
        try:
            markers = marker_array(detections, header, camera, depth=depth)
        except ConfigurationError as error:
            self.marker_problem = str(error)
            return
        self.marker_problem = ''
        self._markers.publish(markers)
