# SPDX-License-Identifier: Apache-2.0
"""The node with a network that was trained on windows of events."""

from __future__ import annotations

import pytest

pytest.importorskip('rclpy')

import cv2
import numpy as np
from event_messages import burst, packet
from lif_builder import small_lif_detector
from sensor_msgs.msg import Image
from vision_msgs.msg import Detection2DArray

from snn_detector_ros import Detector
from snn_detector_ros.events.types import EVENT
from snn_detector_ros.events.windows import Window
from snn_detector_ros.network.model_file import save

EVENTS = [(3, 4, 1, 120_000), (60, 40, 0, 120_001), (20, 20, 1, 140_000)]
ERROR = b'\x02'
#: Windows are not closed by time: how long that takes is up to the machine.
SETTINGS = {'input_type': 'events', 'event_patience': 10_000.0, 'score_threshold': 0.1}


@pytest.fixture(scope='module')
def event_model(tmp_path_factory):
    path = tmp_path_factory.mktemp('models') / 'events.onnx'
    save(small_lif_detector(coding='binned'), path)
    return path


def publish_window(bench):
    """Publish the events of the window 100..150 ms, and close it."""
    bench.publish('/events', packet(EVENTS, number=1))
    bench.publish('/events', packet(burst(160_000), number=2))


def test_detections_are_those_of_the_bins_of_the_window(bench, event_model):
    bench.start(model=str(event_model), **SETTINGS)
    detections = bench.listen(Detection2DArray, '/detections')
    publish_window(bench)
    bench.until(lambda: detections, 'detections')
    window = Window(100_000, 150_000, np.array(
        [(x, y, p, t) for x, y, p, t in EVENTS], dtype=EVENT))
    detector = Detector(event_model, score_threshold=0.1)
    expected = [(found.class_name, found.score)
                for found in detector.detect_events(window, (48, 64)).detections]
    assert expected, 'the random network finds something'
    assert [(found.results[0].hypothesis.class_id, found.results[0].hypothesis.score)
            for found in detections[0].detections] == pytest.approx(expected)


def test_the_debug_image_shows_the_whole_window(bench, event_model):
    node = bench.start(model=str(event_model), **{**SETTINGS, 'score_threshold': 1.0})
    images = bench.listen(Image, '/debug_image')
    bench.until(lambda: node.count_subscribers('/debug_image'), 'subscription')
    publish_window(bench)
    bench.until(lambda: images, 'picture')
    pixels = np.frombuffer(images[0].data, np.uint8).reshape(48, 64, 3)
    grey = cv2.cvtColor(pixels, cv2.COLOR_BGR2GRAY)
    assert (grey[4, 3], grey[40, 60], grey[20, 20], grey[30, 30]) == (255, 0, 255, 127)


def test_a_network_of_events_is_refused_for_images(bench, event_model):
    bench.start(model=str(event_model))
    status = bench.status('model', lambda status, values: status.level == ERROR)
    assert 'events.onnx was trained on events, but `input_type` is `image`' in status.message
