# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip('rclpy')

from builtin_interfaces.msg import Time

from snn_detector_ros.detection.detector import Detector
from snn_detector_ros.engines.statistics import FiringStatistics
from snn_detector_ros.events import stream
from snn_detector_ros.ros import monitor
from snn_detector_ros.ros.diagnostics import Condition, diagnostics
from snn_detector_ros.ros.latency import WINDOW, LatencyRecord
from snn_detector_ros.ros.monitor import Monitor
from snn_detector_ros.ros.parameters import Settings
from snn_detector_ros.ros.transport_loss import TransportLoss

OK, WARN, ERROR = b'\x00', b'\x01', b'\x02'
ACTIVE = Condition(
    state='active', settings=Settings(), detector=None, version=1, model_problem='', refusal='',
    sources={'/image': 1}, image_bytes=1 << 20, input_problem='', mismatches=[], silence=0.1,
    sim_time=False, cv_bridge='not used', marker_problem='')


@pytest.fixture
def clock():
    """Return a list whose only item is the time in s."""
    return [100.0]


@pytest.fixture
def record(clock):
    return Monitor(now=lambda: clock[0])


def status(record, name, **changes):
    """Return level, message and values of a status, of an active node with changes."""
    message = diagnostics('/node', Time(), replace(ACTIVE, **changes), record.report())
    (found,) = [status for status in message.status if status.name == f'/node: {name}']
    return found.level, found.message, {value.key: value.value for value in found.values}


def firing(*spikes):
    """Return statistics of layers of 10 neurons, 2 steps and 5 synapses a neuron."""
    counts = np.array(spikes)
    return FiringStatistics(
        names=tuple(f'conv{index}' for index in range(len(spikes))),
        neurons_per_layer=np.full(len(spikes), 10), operations_per_layer=5.0 * counts,
        spikes_per_step=np.stack([counts, 0 * counts], 1), pixel_operations=100,
        float_operations=1000)


# Latency -----------------------------------------------------------------------------------------

def test_percentiles_are_those_of_the_last_frames():
    record = LatencyRecord()
    for milliseconds in [1e6, *range(1, WINDOW + 1)]:
        record.add({'compute': milliseconds})
    found = record.percentiles()['compute']
    assert found.max == WINDOW
    assert found.p50 == pytest.approx((WINDOW + 1) / 2)
    assert found.p95 == pytest.approx(1 + 0.95 * (WINDOW - 1))
    assert found.p99 == pytest.approx(1 + 0.99 * (WINDOW - 1))


def test_a_stage_that_never_was_has_no_percentiles():
    record = LatencyRecord()
    record.add({'wait': 1.0})
    assert list(record.percentiles()) == ['wait']


# Transport loss ----------------------------------------------------------------------------------

def test_gaps_are_counted_for_each_publisher():
    loss = TransportLoss()
    numbers = [('a', 5), ('b', 1), ('a', 6), ('a', 9), ('b', 2)]
    assert [loss.observe(*number) for number in numbers] == [0, 0, 0, 2, 0]


def test_a_publisher_that_starts_again_lost_nothing():
    loss = TransportLoss()
    assert [loss.observe('a', number) for number in (100, 1, 2)] == [0, 0, 0]


def test_after_forgetting_the_next_number_is_the_first():
    loss = TransportLoss()
    loss.observe('a', 1)
    loss.forget()
    assert loss.observe('a', 50) == 0


# Monitor -----------------------------------------------------------------------------------------

def test_rates_are_of_the_period_and_counts_of_all_time(record, clock):
    record.count(monitor.RECEIVED, 20)
    clock[0] += 2
    assert record.report().rate(monitor.RECEIVED) == 10
    record.count(monitor.RECEIVED, 5)
    clock[0] += 1
    report = record.report()
    assert report.rate(monitor.RECEIVED) == 5
    assert report.total(monitor.RECEIVED) == 25


def test_a_reset_leaves_only_its_reason(record, clock):
    record.count(monitor.RECEIVED)
    record.processed({'compute': 5.0})
    record.fired(firing(1))
    clock[0] += 50
    record.reset(monitor.TIME_JUMPS)
    report = record.report()
    assert report.totals == {monitor.TIME_JUMPS: 1}
    assert not report.latency and report.firing is None
    assert record.silence == 0


def test_firing_is_the_mean_of_the_frames_of_a_period(record):
    record.fired(firing(2, 8))
    record.fired(firing(4, 0))
    report = record.report()
    mean = report.firing
    assert (report.counted, mean.names, mean.spikes) == (2, ('conv0', 'conv1'), 7)
    assert mean.rates.tolist() == pytest.approx([0.15, 0.2])
    assert record.report().firing is None


def test_frames_of_the_network_before_a_swap_are_left_out(record):
    record.fired(firing(2))
    record.fired(firing(4, 0))
    assert record.report().counted == 1


# Levels ------------------------------------------------------------------------------------------

def test_every_status_is_there_and_idle_is_ok(record):
    message = diagnostics('/node', Time(), ACTIVE, record.report())
    assert [entry.name for entry in message.status] == [
        '/node: model', '/node: input', '/node: latency', '/node: spikes']
    assert {entry.level for entry in message.status} == {OK}


def test_no_network_is_an_error(record):
    level, message, _ = status(record, 'model', model_problem='no such file')
    assert (level, message) == (ERROR, 'no network: no such file')


def test_a_refused_parameter_is_a_warning_once(record):
    record.count(monitor.REFUSED_PARAMETERS)
    assert status(record, 'model', refusal='too large')[:2] == (
        WARN, 'parameters refused: too large')
    level, _, values = status(record, 'model', refusal='too large')
    assert level == OK and values['refused parameters'] == '1'


def test_silence_is_an_error_only_while_active(record):
    assert status(record, 'input', silence=6.0)[0] == ERROR
    assert status(record, 'input', silence=6.0, state='inactive')[0] == OK
    assert status(record, 'input', silence=4.0)[0] == OK


@pytest.mark.parametrize('size, lost, remedy', [
    (640 * 480 * 3, 30, 'FASTRTPS_DEFAULT_PROFILES_FILE'),
    (640 * 480 * 3, 15, 'load of the machine'),
    (320 * 240 * 3, 30, 'load of the machine')])
def test_the_remedy_for_losses_depends_on_size_and_share(record, size, lost, remedy):
    record.count(monitor.RECEIVED, 100 - lost)
    record.count(monitor.LOST_IN_TRANSPORT, lost)
    level, message, _ = status(record, 'input', image_bytes=size)
    assert level == WARN and f'{lost} of 100 images were lost' in message and remedy in message


def test_a_loss_below_the_limit_is_only_counted(record):
    record.count(monitor.RECEIVED, 28)
    record.count(monitor.LOST_IN_TRANSPORT, 2)
    level, _, values = status(record, 'input')
    assert level == OK and values['lost in transport'] == '2'


@pytest.mark.parametrize('event, level', [
    (monitor.BAD_IMAGE + 'short buffer', WARN), (monitor.FAILED + 'EngineError', WARN),
    (monitor.CRASHED + 'KeyError', ERROR), (monitor.AFTERWARDS + 'KeyError', ERROR),
    (monitor.ZERO_STAMPS, WARN), (monitor.TOO_OLD, WARN), (monitor.REPLACED, OK)])
def test_levels_of_events(record, event, level):
    record.count(event)
    found, message, values = status(record, 'input')
    assert found == level
    assert values[event] == '1'
    assert status(record, 'input')[0] == OK, 'a complaint lasts one period'


def test_the_engine_is_shown_with_its_reason(record, small_model):
    detector = Detector(small_model, engine='simulator')
    _, _, values = status(
        record, 'model', detector=detector, settings=Settings(engine='simulator'))
    shown = [values[key] for key in ('engine', 'engine asked for', 'engine reason')]
    assert shown == ['simulator', 'simulator', 'as asked']


def test_several_complaints_are_all_said_and_the_worst_counts(record):
    record.count(monitor.ZERO_STAMPS)
    level, message, _ = status(record, 'input', silence=9.0, mismatches=['/image: x'])
    assert level == ERROR
    assert 'no image for 9 s' in message and '/image: x' in message and 'stamp' in message


def test_a_missed_budget_is_a_warning(record):
    record.processed({'compute': 99.0, 'age': 500.0})
    assert status(record, 'latency')[0] == OK
    record.processed({'compute': 200.0})
    level, message, values = status(record, 'latency')
    assert level == WARN and 'exceeds the budget of 100.0 ms' in message
    assert values['compute max (ms)'] == '200.000' and values['age p50 (ms)'] == '500.000'


# Events ------------------------------------------------------------------------------------------

EVENTS = Settings().changed({'input_type': 'events'})


def test_events_have_a_status_of_their_own(record, clock):
    assert stream.EVENTS not in record.report().totals
    record.count(stream.EVENTS, 5000)
    record.timed({'decode': 0.25, 'window': 12.0})
    clock[0] += 2
    level, message, values = status(record, 'events', settings=EVENTS)
    assert (level, message, values['events (1/s)']) == (OK, '2500 events/s', '2500')
    assert values['decode time p95 (ms)'] == '0.250' and values['window age max (ms)'] == '12.000'
    assert status(record, 'input', settings=EVENTS, silence=9.0)[1].startswith(
        'no event packet for 9 s')


@pytest.mark.parametrize('event, level', [
    (stream.LOST_PACKETS, WARN), (monitor.DROPPED_PACKETS, WARN), (stream.DROPPED_EVENTS, WARN),
    (stream.LATE_EVENTS, WARN), (stream.TIME_JUMPED, WARN), (stream.OUT_OF_RANGE, WARN),
    (stream.UNKNOWN_WORDS, WARN), (stream.COLD_START, OK), (stream.SKIPPED_WINDOWS, OK),
    (monitor.BAD_PACKET + 'unknown encoding', WARN),
    (monitor.BAD_PACKET + monitor.UNEXPECTED + 'KeyError', ERROR)])
def test_levels_of_what_happens_to_events(record, event, level):
    record.count(event)
    found, message, values = status(record, 'events', settings=EVENTS)
    assert found == level
    assert values[event] == '1'
    assert level == OK or f'1 {event}' in message or f'1x {event}' in message
    assert status(record, 'events', settings=EVENTS)[0] == OK, 'a complaint lasts one period'


@pytest.mark.parametrize('event', [stream.OUT_OF_RANGE, stream.UNKNOWN_WORDS])
def test_a_few_skipped_events_are_only_counted(record, event):
    record.count(stream.EVENTS, 1000)
    record.count(event, 10)
    assert status(record, 'events', settings=EVENTS)[0] == OK


def test_a_message_that_is_not_installed_is_a_warning(record):
    level, message, _ = status(record, 'input', input_problem='dvs_msgs is not installed')
    assert (level, message) == (WARN, 'dvs_msgs is not installed')


def test_energy_is_given_with_its_constants(record):
    record.fired(firing(2, 8))
    level, _, values = status(record, 'spikes')
    assert level == OK
    # 100 MACs of the picture at 4.6 pJ and 50 accumulates at 0.9 pJ, far below the last digit.
    assert values['estimated energy (mJ/frame)'] == '0.0000'
    assert '0.9 pJ' in values['energy estimate'] and '4.6 pJ' in values['energy estimate']
