# SPDX-License-Identifier: Apache-2.0
"""The real recording of an event camera, played through DDS into the node."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip('rclpy')

from node_bench import Bench
from vision_msgs.msg import Detection2DArray

from snn_detector_ros.events import create_decoder
from snn_detector_ros.events.packets import read_event_packet
from snn_detector_ros.media.bags import Bag

#: The camera's packets reach the host up to 4.4 ms later than the quickest one: so far the stamps
#: of the first windows may be off, until that one has been seen.
WIRE_MS = 5
LENGTH_US = 50_000
#: ON and OFF events by event_camera_py's own test: 125,183 and 218,291.
EVENTS = 343_474
#: Best effort may lose packets on a busy machine; here none may be missing.
RELIABLE = {'qos_overrides./event_camera/events.subscription.reliability': 'reliable'}


@pytest.fixture(scope='module')
def recording(shared_data: Path) -> Path:
    return shared_data / 'events' / 'evt3_bag'


class Times:
    """What the recording says of its own times, read without the code under test but decoder."""

    def __init__(self, recording: Path) -> None:
        first, last, offsets, decoder = 0, 0, [], None
        for message in Bag(recording).messages():
            packet = read_event_packet(message.data)
            decoder = decoder or create_decoder(packet.encoding, packet.width, packet.height)
            times = decoder.decode(packet.data)['t']
            first, last = first or int(times[0]), int(times[-1])
            offsets.append(packet.stamp // 1000 - int(times[0]))
        #: Ends of the windows in us, the open one at the end included.
        self.ends = range((first // LENGTH_US + 1) * LENGTH_US,
                          (last // LENGTH_US + 2) * LENGTH_US, LENGTH_US)
        #: From sensor time to stamps, us.
        self.offset = min(offsets)


@pytest.fixture
def player(recording: Path) -> Iterator[Any]:
    """Return a function that plays the recording once, in a process of its own."""
    running: list[subprocess.Popen[str]] = []

    def play(**parameters: Any) -> subprocess.Popen[str]:
        values = {'input': str(recording), 'restamp': False, 'reliability': 'reliable',
                  **parameters}
        arguments = [f'{name}:={str(value).lower() if type(value) is bool else value}'
                     for name, value in values.items()]
        running.append(subprocess.Popen(
            [sys.executable, '-m', 'snn_detector_ros.ros.player', '--ros-args',
             *(part for argument in arguments for part in ('-p', argument))],
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=dict(os.environ)))
        return running[-1]

    yield play
    for process in running:
        if process.poll() is None:
            process.send_signal(signal.SIGINT)
        process.communicate(timeout=20)


def start(bench: Bench, model: Path, **parameters: Any) -> Any:
    """Start a node that listens to the topic of the recording."""
    return bench.start(model=str(model), input_type='events', remap={
        'events': '/event_camera/events'}, **RELIABLE, **parameters)


def test_every_event_and_window_of_the_recording_arrives(
        bench: Bench, small_model: Path, recording: Path, player: Any) -> None:
    times = Times(recording)
    # Patient, since a busy machine may hold the player up. Windows close by time for 0.2 s after
    # the last packet, then no more: the camera is gone.
    start(bench, small_model, event_patience=1000.0, input_timeout=1.2)
    detections = bench.listen(Detection2DArray, '/detections', 100)
    player()
    status = bench.status(
        'events', lambda status, values: values['events'] == str(EVENTS)
        and int(values['windows']) >= len(times.ends))
    values = {value.key: value.value for value in status.values}
    assert values['packets'] == '517'
    for lost in (
            'lost packets', 'packets dropped before decoding', 'skipped: unknown words',
            'dropped: events beyond the byte budget', 'dropped: events older than their window',
            'skipped: events beyond the sensor', 'skipped: bytes of cut words'):
        assert values[lost] == '0', lost
    assert not [name for name in values if name.startswith(('restarts', 'bad packets'))]
    status = bench.status('input', lambda status, values: status.level == b'\x02')
    assert 'no event packet for' in status.message

    values = {value.key: value.value for value in status.values}
    windows = int(values['received'])
    # Empty ones follow the recording until the input counts as silent.
    assert len(times.ends) <= windows <= len(times.ends) + 4
    bench.until(lambda: len(detections) == int(values['processed']), 'all detections')
    replaced = int(values['dropped: replaced by a newer image'])
    assert len(detections) == windows - replaced
    stamps = [message.header.stamp.sec * 1_000_000 + message.header.stamp.nanosec // 1000
              for message in detections]
    ends = [stamp - times.offset for stamp in stamps]
    for end in ends:
        nearest = round(end / LENGTH_US) * LENGTH_US
        assert 0 <= end - nearest <= 1000 * WIRE_MS
        assert times.ends[0] <= nearest <= times.ends[-1] + 4 * LENGTH_US
    assert len(set(stamps)) == len(stamps)
    assert {message.header.frame_id for message in detections} == {'0293'}
