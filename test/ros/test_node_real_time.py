# SPDX-License-Identifier: Apache-2.0
"""A slow network, old images, lost images, a clock that jumps, silence."""

from __future__ import annotations

import threading

import pytest

pytest.importorskip('rclpy')

from node_bench import image_message
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import Image
from vision_msgs.msg import Detection2DArray

from snn_detector_ros import Detector


class SlowDetector(Detector):
    """Detects an image only when it is let."""

    def __init__(self, *arguments, **options):
        super().__init__(*arguments, **options)
        self.may_go = threading.Event()
        self.has_begun = threading.Event()

    def warm_up(self):
        pass

    def detect(self, image, *, colour='bgr'):
        self.has_begun.set()
        assert self.may_go.wait(20)
        return super().detect(image, colour=colour)


def test_a_slow_network_works_on_the_newest_image_and_counts_the_rest(
        bench, small_model, picture):
    made = []

    def make(*arguments, **options):
        made.append(SlowDetector(*arguments, **options))
        return made[-1]

    bench.start(model=str(small_model), make_detector=make)
    detections = bench.listen(Detection2DArray, '/detections')
    bench.publish('/image', image_message(picture, stamp=1))
    bench.until(made[0].has_begun.is_set, 'work on the first image')
    for stamp in (2, 3, 4):
        bench.publish('/image', image_message(picture, stamp=stamp))
        bench.status('input', lambda status, values, stamp=stamp: values['received'] == str(stamp))
    made[0].may_go.set()
    bench.until(lambda: len(detections) == 2, 'detections of two images')
    assert [message.header.stamp.sec for message in detections] == [1, 4]
    bench.status('input', lambda status, values:
                 values['dropped: replaced by a newer image'] == '2' and values['processed'] == '2')


def test_images_older_than_max_age_are_dropped(bench, small_model, picture):
    node = bench.start(model=str(small_model), max_age=5.0)
    detections = bench.listen(Detection2DArray, '/detections')
    bench.publish('/image', image_message(picture, stamp=1))
    status = bench.status(
        'input', lambda status, values: values['dropped: older than max_age'] == '1')
    assert 'all images were older than max_age' in status.message
    fresh = node.get_clock().now().to_msg().sec
    bench.publish('/image', image_message(picture, stamp=fresh))
    bench.until(lambda: detections, 'detections of a fresh image')
    assert [message.header.stamp.sec for message in detections] == [fresh]


def test_a_clock_that_jumps_back_resets_the_statistics(bench, small_model, picture):
    node = bench.start(model=str(small_model), use_sim_time=True)

    def set_clock(seconds):
        message = Clock()
        message.clock.sec = seconds
        bench.publish('/clock', message)
        bench.until(lambda: node.get_clock().now().nanoseconds == seconds * 10**9, 'time')

    set_clock(100)
    bench.publish('/image', image_message(picture))
    bench.status('input', lambda status, values: values['processed'] == '1')
    set_clock(50)
    status = bench.status('input', lambda status, values: values['time jumps'] == '1')
    values = {value.key: value.value for value in status.values}
    assert values['processed'] == '0'
    assert values['clock'] == 'simulated, by /clock'
    bench.publish('/image', image_message(picture))
    bench.status('input', lambda status, values: values['processed'] == '1')


def test_lost_images_are_diagnosed(bench, small_model, picture):
    node = bench.start(model=str(small_model))
    publisher = bench.probe.create_publisher(Image, '/image', 10)
    bench.until(lambda: publisher.get_subscription_count() == 1, 'subscription')
    publisher.publish(image_message(picture))
    bench.status('input', lambda status, values: values['received'] == '1')
    # Depth 1 keeps the last of these only: to the node the others are lost like any other.
    for _ in range(5):
        publisher.publish(image_message(picture))
    status = bench.status('input', lambda status, values: values['lost in transport'] == '4')
    assert status.level == b'\x01'
    assert '4 of ' in status.message
    assert node.count_publishers('/image') == 1


def test_the_numbers_of_several_publishers_are_not_taken_for_losses(bench, small_model, picture):
    bench.start(model=str(small_model))
    publishers = [bench.probe.create_publisher(Image, '/image', 10) for _ in range(2)]
    bench.status('input', lambda status, values: values.get('publishers of /image') == '2')
    for count, index in enumerate((0, 0, 0, 1, 0, 1), start=1):
        publishers[index].publish(image_message(picture))
        status = bench.status(
            'input', lambda status, values, count=count: values['received'] == str(count))
    assert {value.key: value.value for value in status.values}['lost in transport'] == '0'


def test_silence_is_an_error_that_names_the_topics(bench, small_model, picture):
    bench.start(model=str(small_model), input_timeout=0.5)
    status = bench.status('input', lambda status, values: status.level == b'\x02')
    assert '/image has no publishers' in status.message
    assert '/image/compressed has no publishers' in status.message
    bench.publish('/image', image_message(picture))
    bench.status('input', lambda status, values: status.level == b'\x00')
    status = bench.status('input', lambda status, values: status.level == b'\x02')
    assert '/image has 1 publisher' in status.message


def test_a_missed_latency_budget_is_a_warning(bench, small_model, picture):
    bench.start(model=str(small_model), latency_budget=0.1)
    bench.publish('/image', image_message(picture))
    status = bench.status('latency', lambda status, values: 'compute p95 (ms)' in values)
    assert status.level == b'\x01' and 'exceeds the budget of 0.1 ms' in status.message


def test_spikes_are_reported_unless_switched_off(bench, small_model, picture):
    node = bench.start(model=str(small_model))
    bench.publish('/image', image_message(picture))
    status = bench.status('spikes', lambda status, values: 'frames' in values)
    detector = Detector(small_model)
    detector(picture)
    values = {value.key: value.value for value in status.values}
    assert values['spikes per frame'] == str(detector.firing().spikes)
    assert values['firing rate of conv0'] == f'{detector.firing().layers[0].rate:.5f}'
    assert '0.9 pJ' in values['energy estimate']

    from rclpy.parameter import Parameter
    assert node.set_parameters([Parameter('statistics', value=False)])[0].successful
    bench.publish('/image', image_message(picture))
    bench.status('spikes', lambda status, values: status.message == 'not counted')
