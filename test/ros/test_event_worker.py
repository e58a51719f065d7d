# SPDX-License-Identifier: Apache-2.0
"""The decoding thread under load: what waits is bounded, and what gives way is counted."""

from __future__ import annotations

import threading
import time

import pytest

pytest.importorskip('rclpy')

from event_messages import burst, packet
from rclpy.clock import Clock
from rclpy.serialization import serialize_message

from snn_detector_ros.events import stream
from snn_detector_ros.events.packets import read_event_packet
from snn_detector_ros.ros import monitor
from snn_detector_ros.ros.event_worker import Arrival, EventWorker
from snn_detector_ros.ros.monitor import Monitor
from snn_detector_ros.ros.parameters import Settings

BUDGET = Settings().changed({
    'input_type': 'events', 'event_budget': 1, 'event_window': 'count', 'event_window_count': 10,
    'event_window_time': 10_000.0})


class Silent:
    def error(self, message, *, throttle_duration_sec):
        return True


class Gate:
    """A detector's mailbox that holds up whoever hands over, until it is opened."""

    def __init__(self):
        self.frames = []
        self.reached = threading.Event()
        self.open = threading.Event()

    def submit(self, frame):
        self.frames.append(frame)
        self.reached.set()
        assert self.open.wait(20)


@pytest.fixture
def gate():
    return Gate()


@pytest.fixture
def record():
    return Monitor()


@pytest.fixture
def crashes():
    return []


@pytest.fixture
def worker(gate, record, crashes):
    worker = EventWorker(gate.submit, record, settings=lambda: BUDGET, clock=Clock(),
                         logger=Silent(), on_crash=crashes.append)
    yield worker
    gate.open.set()
    worker.stop()


def arrival(number, *, size=0, read=read_event_packet):
    """Return a packet of 10 events, made larger by words that mean nothing."""
    message = packet(burst(100_000 + 20_000 * number), number=number)
    message.events.extend([0xff] * size)
    return Arrival(bytes(serialize_message(message)), read, 0, None)


def counts(record, condition):
    """Wait until the counts meet a condition; return them."""
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        totals = record.report().totals
        if condition(totals):
            return totals
        time.sleep(0.005)
    pytest.fail(f'not within 20 s; the last counts were {totals}')


def test_packets_that_wait_are_bounded_and_those_dropped_are_no_losses(worker, gate, record):
    worker.receive(arrival(0))
    assert gate.reached.wait(20)
    for number in range(1, 11):
        worker.receive(arrival(number, size=300_000))
    gate.open.set()
    totals = counts(
        record, lambda totals: totals[stream.PACKETS] == 4 and len(gate.frames) == 4)
    # The first one, and the three newest: those that a MiB holds.
    assert totals[monitor.DROPPED_PACKETS] == 7
    assert totals[stream.LOST_PACKETS] == 0
    assert totals[stream.EVENTS] == 40
    assert [int(frame.window.window.events['t'][0]) for frame in gate.frames] == [
        100_000, 260_000, 280_000, 300_000]


def test_an_unexpected_error_costs_one_packet(worker, gate, record, crashes):
    def broken(data):
        raise ZeroDivisionError('a bug')

    gate.open.set()
    worker.receive(arrival(0, read=broken))
    worker.receive(arrival(1))
    totals = counts(record, lambda totals: totals[stream.EVENTS] == 10)
    assert totals['bad packets: unexpected error, ZeroDivisionError'] == 1
    assert [type(error) for error in crashes] == [ZeroDivisionError]


def test_a_restart_comes_before_the_next_packet(worker, gate, record):
    gate.open.set()
    worker.receive(arrival(5))
    counts(record, lambda totals: totals[stream.PACKETS] == 1)
    worker.restart()
    worker.receive(arrival(4))
    totals = counts(record, lambda totals: totals[stream.PACKETS] == 2)
    assert totals['restarts: the clock of the node jumped'] == 1
    assert totals[stream.NUMBERS_FELL] == 0
