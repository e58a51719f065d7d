# SPDX-License-Identifier: Apache-2.0
"""
Recorder node: what a subscriber sees of the detector, as a video with boxes and a summary.

It puts each array of detections on the image with the same stamp, and keeps the diagnostic reports.
On SIGINT or SIGTERM it waits for the last report, finishes the video and writes `run.json`.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from diagnostic_msgs.msg import DiagnosticArray
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import CompressedImage, Image

from snn_detector_ros.detection.recording import AnnotatedVideo, write_pictures
from snn_detector_ros.detection.types import Detections
from snn_detector_ros.ros.compressed_images import read_compressed_image
from snn_detector_ros.ros.images import convert_to_bgr, read_image
from snn_detector_ros.ros.messages import Detection2DArray
from snn_detector_ros.ros.session import run_program
from snn_detector_ros.ros.stop_signal import StopSignal

#: Images that may wait for their detections; older ones were dropped by the detector.
PENDING = 60
#: Longest wait for the report on the last images, s.
LAST_REPORT = 2.5
#: Recording must not slow the detector that it watches.
NICENESS = 5
#: Node whose reports are kept.
REPORTER = 'snn_detector'


class Recorder:
    """
    Collects images, detections and diagnostics.

    :param node: the node that subscribes.
    :param video: where the annotated images go.
    """

    def __init__(self, node: Node, video: AnnotatedVideo) -> None:
        self._video = video
        self._images: dict[tuple[int, int], tuple[Callable[[Any], Any], Any]] = {}
        self._names: list[str] = []
        self._stamps: list[float] = []
        self._ages: list[float] = []
        self._reports: list[dict[str, Any]] = []
        self._objects: Counter[str] = Counter()
        self._frames_with_objects = 0
        self.reported_all = True
        self._node = node
        self._watches_images = False
        every = QoSProfile(depth=50, reliability=ReliabilityPolicy.BEST_EFFORT)
        node.create_subscription(Detection2DArray, 'detections', self._on_detections, every)
        node.create_subscription(DiagnosticArray, '/diagnostics', self._on_diagnostics, every)

    def __str__(self) -> str:
        """Return the progress so far in one line."""
        seconds = self._stamps[-1] - self._stamps[0] if self._stamps else 0.0
        found = ', '.join(f'{times} {name}' for name, times in self._objects.most_common(3))
        return (f'{seconds:5.1f} s: {len(self._stamps)} images, {len(self._ages)} detected; '
                f'boxes so far: {found or "none"}')

    @property
    def has_images(self) -> bool:
        """Whether an image has arrived."""
        return bool(self._stamps)

    def watch_images(self) -> None:
        """
        Subscribe to the images, once the detector has been found.

        Whoever plays them waits for this subscription. Were it there earlier, a short show might be
        over before the detector and the recorder have found each other.
        """
        if self._watches_images or not self._node.count_publishers('detections'):
            return
        self._watches_images = True
        newest = QoSProfile(depth=5, reliability=ReliabilityPolicy.BEST_EFFORT)
        self._node.create_subscription(
            Image, 'image', lambda message: self._on_image(read_image, message), newest)
        self._node.create_subscription(
            CompressedImage, 'image/compressed',
            lambda message: self._on_image(read_compressed_image, message), newest)

    def summary(self) -> dict[str, Any]:
        """Return all counts, and the percentiles of the age at which detections arrived, ms."""
        ages = np.percentile(self._ages, (50, 95, 99, 100)).tolist() if self._ages else None
        return {
            'seconds': self._stamps[-1] - self._stamps[0] if self._stamps else 0.0,
            'images': len(self._stamps),
            'detected': len(self._ages),
            'frames_with_objects': self._frames_with_objects,
            'objects': dict(self._objects.most_common()),
            'age_ms': ages,
            'reports': self._reports,
        }

    def _on_image(self, read: Callable[[Any], Any], message: Any) -> None:
        stamp = message.header.stamp
        self._images[stamp.sec, stamp.nanosec] = (read, message)
        self._stamps.append(stamp.sec + stamp.nanosec / 1e9)
        while len(self._images) > PENDING:
            del self._images[next(iter(self._images))]

    def _on_detections(self, message: Any) -> None:
        stamp = message.header.stamp
        taken = stamp.sec + stamp.nanosec / 1e9
        self._ages.append(1e3 * (time.time() - taken))
        self.reported_all = False
        detections = self._read(message)
        self._objects.update(detection.class_name for detection in detections)
        self._frames_with_objects += bool(len(detections))
        read, image = self._images.pop((stamp.sec, stamp.nanosec), (None, None))
        if read is not None:
            self._video.write(convert_to_bgr(read(image)), detections, taken)

    def _on_diagnostics(self, message: Any) -> None:
        for status in message.status:
            node, _, subject = status.name.partition(': ')
            if node.endswith(REPORTER):
                self._reports.append({
                    'subject': subject, 'level': status.level[0], 'message': status.message,
                    'values': {entry.key: entry.value for entry in status.values}})
                self.reported_all = True

    def _read(self, message: Any) -> Detections:
        """Turn a message back into detections; classes are numbered as they appear."""
        boxes, scores, classes = [], [], []
        for detection in message.detections:
            hypothesis = detection.results[0].hypothesis
            if hypothesis.class_id not in self._names:
                self._names.append(hypothesis.class_id)
            classes.append(self._names.index(hypothesis.class_id))
            scores.append(hypothesis.score)
            centre, half_x = detection.bbox.center.position, detection.bbox.size_x / 2
            half_y = detection.bbox.size_y / 2
            boxes.append((centre.x - half_x, centre.y - half_y,
                          centre.x + half_x, centre.y + half_y))
        return Detections(
            np.array(boxes, np.float32).reshape(-1, 4), np.array(scores, np.float32),
            np.array(classes, np.int64), tuple(self._names))


def record(node: Node, recorder: Recorder, stopped: Callable[[], bool]) -> None:
    """Collect until asked to stop and the last images are reported on; print progress."""
    executor = SingleThreadedExecutor()
    executor.add_node(node)
    shown = time.monotonic()
    deadline = None
    while deadline is None or (not recorder.reported_all and time.monotonic() < deadline):
        recorder.watch_images()
        executor.spin_once(timeout_sec=0.1)
        if deadline is None and stopped():
            deadline = time.monotonic() + LAST_REPORT
        if deadline is None and recorder.has_images and time.monotonic() - shown >= 1.0:
            shown = time.monotonic()
            print(f'  {recorder}', flush=True)


def run(stop: StopSignal) -> None:
    """
    Read the parameters, record until asked to stop, and write everything.

    :raises SnnDetectorError: if the video cannot be written.
    """
    node = Node('recorder', start_parameter_services=False)
    try:
        directory = Path(node.declare_parameter('directory', '.').value)
        width, height = node.declare_parameter('size', [0, 0]).value
        rate = node.declare_parameter('rate', 30.0).value
        video = AnnotatedVideo(
            directory / 'detections.mp4', rate=rate, size=(width, height) if width else None)
        recorder = Recorder(node, video)
        record(node, recorder, stop.came)
        video.close()
        summary = recorder.summary()
        if video.frames:
            pictures, sheet = write_pictures(video.path, directory)
            summary |= {'video': str(video.path), 'contact_sheet': str(sheet),
                        'pictures': [str(path) for path in pictures]}
        (directory / 'run.json').write_text(json.dumps(summary, indent=1), encoding='utf-8')
    finally:
        node.destroy_node()


def main() -> int:
    """
    Record until SIGINT or SIGTERM.

    :returns: exit status: 0, or 1 if the video could not be written.
    """
    os.nice(NICENESS)
    return run_program('recorder', run)


if __name__ == '__main__':
    sys.exit(main())
