# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import cv2
import numpy as np
import pytest

pytest.importorskip('rclpy')

from node_bench import image_message
from rclpy.qos import DurabilityPolicy, QoSProfile
from sensor_msgs.msg import CameraInfo, CompressedImage, Image
from std_msgs.msg import Header
from vision_msgs.msg import Detection2DArray, LabelInfo, VisionInfo
from visualization_msgs.msg import Marker, MarkerArray

from snn_detector_ros import Detections, Detector
from snn_detector_ros.errors import ConfigurationError
from snn_detector_ros.ros.markers import marker_array

LATCHED = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)


def detect(bench, message, topic='/image'):
    """Publish an image and return the detections made of it."""
    messages = bench.received['/detections']
    if not messages:
        bench.listen(Detection2DArray, '/detections')
    count = len(messages)
    bench.publish(topic, message)
    bench.until(lambda: len(messages) > count, 'detections')
    return messages[-1]


def boxes(message):
    """Return left, top, right, bottom of each detection, float [N, 4]."""
    return np.array([
        (box.center.position.x - box.size_x / 2, box.center.position.y - box.size_y / 2,
         box.center.position.x + box.size_x / 2, box.center.position.y + box.size_y / 2)
        for box in (detection.bbox for detection in message.detections)])


@pytest.fixture(scope='module')
def expected(small_model, picture):
    found = Detector(small_model)(picture)
    assert len(found) > 3
    return found


def test_detections_are_those_of_the_detector_in_source_pixels(
        bench, small_model, picture, expected):
    bench.start(model=str(small_model))
    message = detect(bench, image_message(picture))
    # A box's float32 corners become the centre and size in float64.
    np.testing.assert_allclose(boxes(message), expected.boxes, atol=1e-4)
    hypotheses = [detection.results[0].hypothesis for detection in message.detections]
    np.testing.assert_allclose([hypothesis.score for hypothesis in hypotheses], expected.scores)
    assert [hypothesis.class_id for hypothesis in hypotheses] == [
        detection.class_name for detection in expected]


def test_the_header_of_the_image_is_taken_over(bench, small_model, picture):
    bench.start(model=str(small_model))
    image = image_message(picture, stamp=1234)
    message = detect(bench, image)
    assert message.header == image.header
    assert all(detection.header == image.header for detection in message.detections)


def test_class_ids_can_be_indices(bench, small_model, picture, expected):
    bench.start(model=str(small_model), class_id_format='index')
    message = detect(bench, image_message(picture))
    assert [detection.results[0].hypothesis.class_id for detection in message.detections] == [
        str(index) for index in expected.classes]


def test_colour_order_is_heeded(bench, small_model, picture, expected):
    bench.start(model=str(small_model))
    rgb = np.ascontiguousarray(picture[..., ::-1])
    message = detect(bench, image_message(rgb, encoding='rgb8'))
    np.testing.assert_allclose(boxes(message), expected.boxes, atol=1e-4)


def test_compressed_images_are_detected(bench, small_model, picture, expected):
    bench.start(model=str(small_model))
    message = CompressedImage(format='png', data=cv2.imencode('.png', picture)[1].tobytes())
    message.header.stamp.sec = 1
    found = detect(bench, message, '/image/compressed')
    np.testing.assert_allclose(boxes(found), expected.boxes, atol=1e-4)


def test_compressed_images_are_left_alone_where_raw_ones_are_published(
        bench, small_model, picture):
    node = bench.start(model=str(small_model))
    bench.until(lambda: node.count_subscribers('/image/compressed') == 1, 'subscription to both')
    bench.publish('/image', image_message(picture))
    bench.until(lambda: node.count_subscribers('/image/compressed') == 0, 'unsubscribing')
    assert node.count_subscribers('/image') == 1


@pytest.mark.parametrize('transport, other', [('raw', 'compressed'), ('compressed', 'raw')])
def test_one_kind_of_image_can_be_chosen(bench, small_model, transport, other):
    topics = {'raw': '/image', 'compressed': '/image/compressed'}
    node = bench.start(model=str(small_model), image_transport=transport)
    bench.until(lambda: node.count_subscribers(topics[transport]) == 1, 'subscription')
    assert node.count_subscribers(topics[other]) == 0


def test_an_image_without_stamp_gets_one_and_is_counted(bench, small_model, picture):
    node = bench.start(model=str(small_model))
    before = node.get_clock().now().nanoseconds
    stamp = detect(bench, image_message(picture, stamp=0)).header.stamp
    after = node.get_clock().now().nanoseconds
    assert before <= stamp.sec * 10**9 + stamp.nanosec <= after
    status = bench.status('input', lambda status, values: values['zero stamps'] == '1')
    assert status.level == b'\x01' and 'without a stamp' in status.message


def test_labels_are_latched(bench, small_model):
    bench.start(model=str(small_model), score_threshold=0.5)
    labels = bench.listen(LabelInfo, '/label_info', LATCHED)
    vision = bench.listen(VisionInfo, '/vision_info', LATCHED)
    bench.until(lambda: labels and vision, 'latched labels')
    assert [(entry.class_id, entry.class_name) for entry in labels[0].class_map] == [
        (0, 'cat'), (1, 'dog')]
    assert labels[0].threshold == 0.5
    assert vision[0].database_location == '/label_info'
    assert vision[0].database_version == 1
    assert 'small.onnx' in vision[0].method


def test_the_debug_image_shows_the_boxes(bench, small_model, picture):
    bench.start(model=str(small_model))
    images = bench.listen(Image, '/debug_image')
    source = image_message(picture)
    bench.publish('/image', source)
    bench.until(lambda: images, 'debug image')
    assert images[0].header == source.header
    assert (images[0].encoding, images[0].height, images[0].width) == ('bgr8', 48, 64)
    drawn = np.frombuffer(images[0].data, np.uint8).reshape(48, 64, 3)
    assert (drawn != picture).any() and (drawn == picture).any()


def test_the_rate_of_debug_images_is_limited(bench, small_model, picture):
    bench.start(model=str(small_model), debug_image_rate=0.1)
    images = bench.listen(Image, '/debug_image')
    for _ in range(3):
        detect(bench, image_message(picture))
    bench.status('input', lambda status, values: values['processed'] == '3')
    assert len(images) == 1


def test_markers_outline_the_boxes_on_a_plane(bench, small_model, picture, expected):
    bench.start(model=str(small_model), marker_depth=2.0)
    markers = bench.listen(MarkerArray, '/markers')
    calibration = CameraInfo(
        height=48, width=64, k=[100.0, 0.0, 32.0, 0.0, 50.0, 24.0, 0.0, 0.0, 1.0])
    bench.publish('/camera_info', calibration)

    def look():
        bench.publish('/camera_info', calibration)
        detect(bench, image_message(picture))
        return markers

    bench.until(look, 'markers')
    message = markers[-1].markers
    assert message[0].action == Marker.DELETEALL
    assert len(message) == 1 + 2 * len(expected)
    left, top, right, bottom = (float(edge) for edge in expected.boxes[0])
    outline = [(left, top), (right, top), (right, bottom), (left, bottom), (left, top)]
    for point, (x, y) in zip(message[1].points, outline, strict=True):
        assert (point.x, point.y, point.z) == pytest.approx(
            (2 * (x - 32) / 100, 2 * (y - 24) / 50, 2.0))
    assert message[1].header.frame_id == 'camera_optical'


@pytest.mark.parametrize('camera, problem', [
    (CameraInfo(), 'not calibrated'),
    (CameraInfo(k=[100.0, 0.0, 32.0, 0.0, 50.0, 24.0, 0.0, 0.0, 1.0],
                distortion_model='equidistant'), '`equidistant` is not supported')])
def test_a_camera_that_markers_cannot_use_is_named(camera, problem, expected):
    with pytest.raises(ConfigurationError, match=problem):
        marker_array(expected, Header(), camera, depth=1.0)


def test_markers_undo_the_distortion_of_the_lens():
    camera = CameraInfo(k=[100.0, 0.0, 32.0, 0.0, 100.0, 24.0, 0.0, 0.0, 1.0],
                        distortion_model='plumb_bob', d=[0.1, 0.0, 0.0, 0.0, 0.0])
    # A ray at x/z = 0.2 lands at 0.2 (1 + 0.1 * 0.2^2) = 0.2008: pixel 52.08.
    found = Detections(np.array([[52.08, 24, 60, 30]], np.float32), np.ones(1, np.float32),
                       np.zeros(1, np.int64), ('cat',))
    corner = marker_array(found, Header(), camera, depth=5.0).markers[1].points[0]
    assert (corner.x, corner.y, corner.z) == pytest.approx((1.0, 0.0, 5.0), abs=1e-4)


def test_markers_without_calibration_are_explained(bench, small_model, picture):
    bench.start(model=str(small_model))
    bench.listen(MarkerArray, '/markers')
    detect(bench, image_message(picture))
    status = bench.status('input', lambda status, values: 'no markers' in status.message)
    assert '/camera_info' in status.message


def test_nothing_is_drawn_for_nobody(bench, small_model, picture, monkeypatch):
    def draw(*_):
        raise AssertionError('drawn without a subscriber')

    monkeypatch.setattr('snn_detector_ros.ros.outputs.draw', draw)
    monkeypatch.setattr('snn_detector_ros.ros.outputs.marker_array', draw)
    bench.start(model=str(small_model))
    detect(bench, image_message(picture))
    status = bench.status('input', lambda status, values: values['processed'] == '1')
    assert not any('AssertionError' in value.key for value in status.values)


def test_the_compressed_topic_follows_a_remapped_image_topic(bench, small_model):
    import rclpy

    from snn_detector_ros.ros.endpoints import compressed_topic

    def topic(*rules):
        node = rclpy.create_node(
            'remapped', cli_args=['--ros-args', *(word for rule in rules for word in ('-r', rule))])
        name = compressed_topic(node, 'image')
        node.destroy_node()
        return name

    assert topic() == '/image/compressed'
    assert topic('image:=/camera/image_raw') == '/camera/image_raw/compressed'
    assert topic('image:=/camera/image_raw', 'image/compressed:=/jpeg') == '/jpeg'
