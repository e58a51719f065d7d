# SPDX-License-Identifier: Apache-2.0
"""The node with an event camera: windows, faults in the stream, clocks that jump, silence."""

from __future__ import annotations

import sys

import cv2
import numpy as np
import pytest

pytest.importorskip('rclpy')

import rclpy
from event_messages import burst, packet, time_message
from rclpy.parameter import Parameter
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import Image
from vision_msgs.msg import Detection2DArray

from snn_detector_ros.events.stream import NUMBERS_FELL, OTHER_SENSOR, TIME_JUMPED
from snn_detector_ros.ros.event_worker import CLOCK_JUMPED

WARN, ERROR = b'\x01', b'\x02'
#: Windows are not closed by time in most tests: how long these take is up to the machine.
PATIENT = {'input_type': 'events', 'event_patience': 10_000.0}


def values_of(status):
    return {value.key: value.value for value in status.values}


def stamp_us(message):
    return message.header.stamp.sec * 1_000_000 + message.header.stamp.nanosec // 1000


def counted(bench, name, times, status='events'):
    """Wait until a count has a value; return the status."""
    return bench.status(
        status, lambda status, values: values.get(name) == str(times))


def test_a_window_becomes_detections_stamped_with_its_end(bench, small_model):
    bench.start(model=str(small_model), **PATIENT)
    detections = bench.listen(Detection2DArray, '/detections')
    bench.publish('/events', packet(burst(120_000), number=1))
    bench.publish('/events', packet(burst(160_000), number=2))
    bench.until(lambda: detections, 'detections')
    # The window 100..150 ms; stamps are 1000 s later than sensor times.
    assert stamp_us(detections[0]) == 1_000_000_000 + 150_000
    assert detections[0].header.frame_id == 'event_camera'
    assert detections[0].detections, 'the random network finds something in every picture'
    assert detections[0].detections[0].header == detections[0].header
    values = values_of(counted(bench, 'packets', 2))
    assert (values['events'], values['windows'], values['lost packets']) == ('20', '1', '0')
    assert values['window'] == '50 ms' and float(values['decode time p50 (ms)']) > 0
    assert 'window age p50 (ms)' in values


def test_detections_are_those_of_the_picture_of_the_window(bench, small_model):
    from snn_detector_ros import Detector

    bench.start(model=str(small_model), **PATIENT)
    detections = bench.listen(Detection2DArray, '/detections')
    bench.publish('/events', packet([(3, 4, 1, 120_000), (60, 40, 0, 120_001)], number=1))
    bench.publish('/events', packet(burst(160_000), number=2))
    bench.until(lambda: detections, 'detections')
    picture = np.full((48, 64), 127, np.uint8)
    picture[4, 3], picture[40, 60] = 255, 0
    expected = [(found.class_name, found.score) for found in Detector(small_model)(picture)]
    assert [(found.results[0].hypothesis.class_id, found.results[0].hypothesis.score)
            for found in detections[0].detections] == pytest.approx(expected)


def test_the_debug_image_shows_the_events(bench, small_model):
    node = bench.start(model=str(small_model), score_threshold=1.0, **PATIENT)
    images = bench.listen(Image, '/debug_image')
    bench.until(lambda: node.count_subscribers('/debug_image'), 'subscription')
    bench.publish('/events', packet([(3, 4, 1, 120_000), (60, 40, 0, 120_001)], number=1))
    bench.publish('/events', packet(burst(160_000), number=2))
    bench.until(lambda: images, 'picture')
    pixels = np.frombuffer(images[0].data, np.uint8).reshape(48, 64, 3)
    grey = cv2.cvtColor(pixels, cv2.COLOR_BGR2GRAY)
    assert (grey[4, 3], grey[40, 60], grey[20, 20]) == (255, 0, 127)


def test_windows_close_by_time_when_no_events_come(bench, small_model):
    bench.start(
        model=str(small_model), input_type='events', event_patience=20.0, input_timeout=3600.0)
    detections = bench.listen(Detection2DArray, '/detections', 100)
    bench.publish('/events', packet(burst(120_000), number=1))
    bench.until(lambda: len(detections) >= 5, 'detections of empty windows')
    stamps = [stamp_us(message) - 1_000_000_000 for message in detections]
    assert stamps[0] == 150_000
    assert all(stamp % 50_000 == 0 for stamp in stamps)
    assert stamps == sorted(set(stamps))


def test_no_windows_of_a_camera_that_is_gone(bench, small_model):
    bench.start(model=str(small_model), input_type='events', event_patience=20.0, input_timeout=0.3)
    bench.publish('/events', packet(burst(120_000), number=1))
    status = bench.status('input', lambda status, values: status.level == ERROR)
    assert 'no event packet for' in status.message and '/events has 1 publisher' in status.message
    before = values_of(status)['received']
    for _ in range(3):
        status = bench.status('input', lambda status, values: True)
    assert values_of(status)['received'] == before


def test_lost_packets_are_counted_and_warned_of(bench, small_model):
    bench.start(model=str(small_model), **PATIENT)
    for number in (7, 8, 12, 13):
        bench.publish('/events', packet(burst(120_000 + 1000 * number), number=number))
    status = counted(bench, 'lost packets', 3)
    assert status.level == WARN and '3 lost packets' in status.message
    assert values_of(counted(bench, 'packets', 4))['events'] == '40'


BAD_PACKETS = {
    'unknown encoding': {'encoding': 'evt4'},
    'no encoding': {'encoding': ''},
    'big-endian': {'is_bigendian': True},
    'no size': {'width': 0},
    'huge size': {'height': 2**32 - 1},
}
CAUSES = {'no encoding': 'unknown encoding', 'no size': 'bad sensor size',
          'huge size': 'bad sensor size'}


@pytest.mark.parametrize('fault', BAD_PACKETS)
def test_a_bad_packet_is_counted_and_the_next_good_one_decoded(bench, small_model, fault):
    bench.start(model=str(small_model), **PATIENT)
    bench.publish('/events', packet(burst(120_000), number=1))
    bench.publish('/events', packet(burst(130_000), number=2, **BAD_PACKETS[fault]))
    status = counted(bench, f'bad packets: {CAUSES.get(fault, fault)}', 1)
    assert status.level == WARN
    bench.publish('/events', packet(burst(140_000), number=3))
    assert values_of(counted(bench, 'events', 20))['packets'] == '2'


@pytest.mark.parametrize('encoding', [
    'evt3', 'evt2', 'evt21', 'evt21_legacy', 'libcaer', 'libcaer_cmp', 'mono', 'dat'])
def test_garbage_is_survived_in_every_encoding(bench, small_model, encoding):
    bench.start(model=str(small_model), **PATIENT)
    rng = np.random.default_rng(0)
    for number in range(1, 9):
        garbage = packet(number=number, encoding=encoding, data=rng.bytes(4001),
                         stamp=1_000_000_000, time_base=int(rng.integers(2**63)))
        bench.publish('/events', garbage)
    values = values_of(counted(bench, 'packets', 8))
    assert int(values['skipped: events beyond the sensor']) > 0
    assert not [name for name in values if 'unexpected' in name]
    # Whatever time the garbage told, a stream that makes sense is taken from its first packet on.
    before = int(values['events'])
    bench.publish('/events', packet(burst(120_000), number=9))
    counted(bench, 'events', before + 10)
    windows = int(values_of(counted(bench, 'packets', 9))['windows'])
    bench.publish('/events', packet(burst(160_000), number=10))
    bench.status('events', lambda status, values: int(values['windows']) > windows)


@pytest.mark.parametrize('second, cause', [
    # A bag that starts again, or a driver.
    ({'number': 1}, NUMBERS_FELL),
    # EVT3 shows a step back as one forward, by its wrap: stamps tell.
    ({'number': 11}, TIME_JUMPED),
    # Another camera.
    ({'number': 11, 'width': 80}, OTHER_SENSOR)])
def test_a_stream_that_does_not_go_on_begins_anew(bench, small_model, second, cause):
    bench.start(model=str(small_model), **PATIENT)
    detections = bench.listen(Detection2DArray, '/detections')
    bench.publish('/events', packet(burst(5_020_000), number=10))
    counted(bench, 'events', 10)
    bench.publish('/events', packet(burst(120_000), stamp=1_005_030_000, **second))
    status = counted(bench, cause, 1)
    assert status.level == WARN and cause in status.message
    bench.publish('/events', packet(burst(160_000), stamp=1_005_070_000, **(
        second | {'number': second['number'] + 1})))
    bench.until(lambda: detections, 'detections')
    # Only of the new stream: the window at 5 s was never closed.
    assert stamp_us(detections[0]) == 1_005_030_000 + 30_000
    assert values_of(counted(bench, 'events', 30))['windows'] == '1'


def test_stamps_that_jump_back_begin_anew(bench, small_model):
    bench.start(model=str(small_model), **PATIENT)
    bench.publish('/events', packet(burst(120_000), number=1, stamp=1_000_000_000))
    bench.publish('/events', packet(burst(130_000), number=2, stamp=900_000_000))
    assert counted(bench, TIME_JUMPED, 1).level == WARN


def test_a_clock_that_jumps_back_resets_stream_and_statistics(bench, small_model):
    node = bench.start(model=str(small_model), use_sim_time=True, **PATIENT)

    def set_clock(seconds):
        message = Clock()
        message.clock.sec = seconds
        bench.publish('/clock', message)
        bench.until(lambda: node.get_clock().now().nanoseconds == seconds * 10**9, 'time')

    set_clock(100)
    bench.publish('/events', packet(burst(120_000), number=1))
    counted(bench, 'events', 10)
    set_clock(50)
    counted(bench, 'time jumps', 1, status='input')
    bench.publish('/events', packet(burst(130_000), number=2))
    values = values_of(counted(bench, CLOCK_JUMPED, 1))
    assert (values['events'], values['windows']) == ('10', '0')


def test_packets_without_a_stamp_are_stamped_at_reception(bench, small_model):
    node = bench.start(model=str(small_model), **PATIENT)
    detections = bench.listen(Detection2DArray, '/detections')
    before = node.get_clock().now().nanoseconds // 1000
    bench.publish('/events', packet(burst(120_000), number=1, stamp=0))
    bench.publish('/events', packet(burst(160_000), number=2, stamp=0))
    bench.until(lambda: detections, 'detections')
    # The window ended 10 ms before the second packet's first event.
    assert before - 10_000 <= stamp_us(detections[0]) < before + 20_000_000
    assert counted(bench, 'zero stamps', 2, status='input')


def test_windows_are_cut_anew_when_their_parameters_change(bench, small_model):
    node = bench.start(model=str(small_model), **PATIENT)
    bench.publish('/events', packet(burst(120_000), number=1))
    counted(bench, 'events', 10)
    assert node.set_parameters([Parameter('event_window', value='count'),
                                Parameter('event_window_count', value=5),
                                Parameter('event_window_time', value=1000.0)])[1].successful
    bench.publish('/events', packet(burst(130_000, 12), number=2))
    values = values_of(counted(bench, 'windows', 2))
    assert values['window'] == '5 events, or 1000 ms'
    assert node.set_parameters([Parameter('event_window', value='bins'),
                                Parameter('event_window_time', value=10.0)])[0].successful
    bench.publish('/events', packet(burst(200_000, 3, 10_000), number=3))
    values = values_of(counted(bench, 'windows', 4))
    assert values['window'] == 'the latest 5 bins of 10 ms'


def test_a_budget_that_no_window_fits_is_refused(bench, small_model):
    node = bench.start(model=str(small_model), **PATIENT)
    result, = node.set_parameters([Parameter('event_window_count', value=10_000_000)])
    assert not result.successful and '`event_budget` of 64 MiB holds 4194304' in result.reason


def test_events_beyond_the_budget_are_dropped_and_counted(bench, small_model):
    bench.start(model=str(small_model), event_budget=1, event_window_time=10_000.0, **PATIENT)
    capacity = (1 << 20) // 16
    for number in range(8):
        bench.publish('/events', packet(burst(120_000 + 10_000 * number, 10_000, 1), number=number))
        counted(bench, 'packets', number + 1)
    status = counted(bench, 'dropped: events beyond the byte budget', 80_000 - capacity)
    assert status is not None


def test_it_stops_and_starts_as_a_managed_node(bench, small_model):
    node = bench.start(model=str(small_model), **PATIENT)
    bench.publish('/events', packet(burst(120_000), number=1))
    counted(bench, 'events', 10)
    node.trigger_deactivate()
    node.trigger_cleanup()
    node.trigger_configure()
    node.trigger_activate()
    bench.publish('/events', packet(burst(120_000), number=1))
    status = counted(bench, 'events', 10)
    assert status.level == b'\x00', status.message


def test_images_are_not_listened_to(bench, small_model):
    node = bench.start(model=str(small_model), **PATIENT)
    assert node.count_subscribers('/events') == 1
    assert node.count_subscribers('/image') == 0


@pytest.fixture
def missing(monkeypatch):
    """Return a function that makes a package of messages look uninstalled."""
    def hide(package):
        monkeypatch.setitem(sys.modules, f'{package}.msg', None)

    return hide


def test_without_the_messages_of_packets_it_says_what_to_install(
        bench, small_model, missing, capfd):
    missing('event_camera_msgs')
    node = bench.start(model=str(small_model), **PATIENT)
    assert node.state == 'inactive'
    assert 'apt install ros-$ROS_DISTRO-event-camera-msgs' in capfd.readouterr().err


@pytest.fixture
def other_participant():
    """Return a node as if of another process: within one, a topic has one type only."""
    context = rclpy.Context()
    rclpy.init(context=context)
    node = rclpy.create_node('driver', context=context)
    yield node
    node.destroy_node()
    rclpy.shutdown(context=context)


def test_without_the_messages_of_arrays_it_waits_for_packets(
        bench, small_model, missing, other_participant):
    other_participant.create_publisher(type(event_array([])), '/events', 10)
    missing('dvs_msgs')
    node = bench.start(model=str(small_model), **PATIENT)
    assert node.state == 'active'
    status = bench.status('input', lambda status, values: 'dvs_msgs' in status.message)
    assert status.level == WARN and 'interfaces/dvs_msgs' in status.message


def event_array(events):
    messages = pytest.importorskip(
        'dvs_msgs.msg', reason='needs dvs_msgs: interfaces/build_messages.py interfaces/dvs_msgs')
    message = messages.EventArray(width=64, height=48, events=[
        messages.Event(x=x, y=y, polarity=bool(p), ts=time_message(t)) for x, y, p, t in events])
    message.header.frame_id = 'dvs'
    return message


def test_event_arrays_are_taken_where_only_they_are_published(
        bench, small_model, other_participant):
    bench.start(model=str(small_model), **PATIENT)
    detections = bench.listen(Detection2DArray, '/detections')
    # It listens to packets already when the driver of the arrays comes.
    publisher = other_participant.create_publisher(type(event_array([])), '/events', 10)
    bench.until(lambda: publisher.get_subscription_count(), 'subscription')
    for events in (burst(1_700_000_020_000), [], burst(1_700_000_060_000)):
        publisher.publish(event_array(events))
    bench.until(lambda: detections, 'detections')
    assert stamp_us(detections[0]) == 1_700_000_050_000
    assert detections[0].header.frame_id == 'dvs'
    values = values_of(counted(bench, 'packets', 3))
    assert (values['events'], values['lost packets']) == ('20', '0')
