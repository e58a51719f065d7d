# SPDX-License-Identifier: Apache-2.0
"""Tests of the player: in one process against a plain subscriber, and as a process of its own."""

from __future__ import annotations

import dataclasses
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import media_files
import numpy as np
import pytest

pytest.importorskip('rclpy', reason='needs ROS 2')

import rclpy  # noqa: E402
from rclpy.executors import SingleThreadedExecutor  # noqa: E402
from rclpy.node import Node  # noqa: E402
from rclpy.parameter import Parameter  # noqa: E402
from rclpy.qos import QoSProfile, ReliabilityPolicy  # noqa: E402
from rosgraph_msgs.msg import Clock  # noqa: E402
from sensor_msgs.msg import CompressedImage, Image  # noqa: E402

from snn_detector_ros.errors import ConfigurationError  # noqa: E402
from snn_detector_ros.media.bags import Bag  # noqa: E402
from snn_detector_ros.media.schedule import Schedule  # noqa: E402
from snn_detector_ros.media.sources import SourceError  # noqa: E402
from snn_detector_ros.resources import resource  # noqa: E402
from snn_detector_ros.ros.player import open_track, play, run, wait_for_subscribers  # noqa: E402
from snn_detector_ros.ros.player_options import PlayerOptions  # noqa: E402

ALL = QoSProfile(depth=200, reliability=ReliabilityPolicy.RELIABLE)


class Stage:
    """A player node and a listener in one process."""

    def __init__(self) -> None:
        self.listener = Node('listener')
        self.player: Node | None = None
        self._executor = SingleThreadedExecutor()
        self._executor.add_node(self.listener)

    def listen(self, message_type: Any, topic: str) -> list[Any]:
        """Return a list that fills with the messages of a topic."""
        messages: list[Any] = []
        self.listener.create_subscription(message_type, topic, messages.append, ALL)
        return messages

    def make_player(self, **parameters: Any) -> Node:
        parameters = {'rate': 200.0, 'reliability': 'reliable', **parameters}
        self.player = Node('player', start_parameter_services=False, parameter_overrides=[
            Parameter(name, value=value) for name, value in parameters.items()])
        return self.player

    def play(self, **parameters: Any) -> Schedule:
        """Play an input to the end."""
        player = self.make_player(**parameters)
        options = PlayerOptions.declare(player)
        track = open_track(player, options)
        wait_for_subscribers(player, track, options, lambda: False)
        schedule = Schedule()
        play(player, track, options, schedule)
        return schedule

    def spin_until(self, condition: Callable[[], bool]) -> None:
        deadline = time.monotonic() + 20.0
        while not condition():
            assert time.monotonic() < deadline, 'the messages did not arrive within 20 s'
            self._executor.spin_once(timeout_sec=0.1)

    def close(self) -> None:
        for node in (self.player, self.listener):
            if node is not None:
                node.destroy_node()


@pytest.fixture
def stage() -> Iterator[Stage]:
    rclpy.init()
    stage = Stage()
    yield stage
    stage.close()
    rclpy.try_shutdown()


@pytest.fixture
def video(tmp_path: Path) -> Path:
    return media_files.write_video(tmp_path / 'v.avi', frames=12)


def grey(message: Image) -> int:
    """Return the number of a picture of media_files."""
    return round(np.frombuffer(message.data, np.uint8).mean() / 8)


def seconds(stamp: Any) -> float:
    return stamp.sec + stamp.nanosec / 1e9


def test_video_arrives_frame_by_frame(stage, video):
    images = stage.listen(Image, 'image')
    before = time.time()
    schedule = stage.play(input=str(video))
    stage.spin_until(lambda: len(images) == 12)
    assert [grey(image) for image in images] == list(range(12))
    first = images[0]
    assert (first.width, first.height, first.step, first.encoding) == (64, 48, 192, 'bgr8')
    assert first.header.frame_id == 'camera_optical_frame'
    stamps = [seconds(image.header.stamp) for image in images]
    assert before <= stamps[0] < stamps[-1] <= time.time()
    assert schedule.lateness().frames == 12


def test_pictures_of_different_sizes_follow_each_other(stage, tmp_path):
    folder = media_files.write_pictures(tmp_path / 'pictures', count=3)
    images = stage.listen(Image, 'image')
    stage.play(input=str(folder), hold=0.01)
    stage.spin_until(lambda: len(images) == 6)
    assert [(image.height, image.width, len(image.data)) for image in images[::2]] == [
        (size, size + 16, 3 * size * (size + 16)) for size in (48, 64, 80)]
    assert [grey(image) for image in images] == [0, 0, 1, 1, 2, 2]


def test_several_inputs_play_in_turn(stage, video, tmp_path):
    folder = media_files.write_pictures(tmp_path / 'pictures', count=2)
    images = stage.listen(Image, 'image')
    stage.play(input=[str(video), str(folder)])
    stage.spin_until(lambda: len(images) == 14)
    assert images[-1].width == 80


def test_jpeg_pictures_arrive(stage, video):
    images = stage.listen(Image, 'image')
    pictures = stage.listen(CompressedImage, 'image/compressed')
    stage.play(input=str(video), transport='both', subscribers=2)
    stage.spin_until(lambda: len(pictures) == 12 and len(images) == 12)
    decoded = cv2.imdecode(np.frombuffer(pictures[5].data, np.uint8), cv2.IMREAD_COLOR)
    assert decoded.shape == (48, 64, 3)
    assert decoded.mean() == pytest.approx(40, abs=3)
    assert [message.header.stamp for message in pictures] == [
        message.header.stamp for message in images]


def test_loop_ends_at_the_frame_limit(stage, video):
    images = stage.listen(Image, 'image')
    stage.play(input=str(video), loop=True, max_frames=30)
    stage.spin_until(lambda: len(images) == 30)
    assert [grey(image) for image in images] == [number % 12 for number in range(30)]


def test_simulated_time_runs_with_the_frames(stage, video):
    images, times = stage.listen(Image, 'image'), stage.listen(Clock, '/clock')
    stage.play(input=str(video), rate=50.0, clock=True)
    stage.spin_until(lambda: len(images) == 12 and bool(times)
                     and seconds(times[-1].clock) >= seconds(images[-1].header.stamp))
    stamps = [seconds(image.header.stamp) for image in images]
    # Stamps are those of the schedule, whatever the delay; 1 us is for float64 since 1970.
    assert np.diff(stamps) == pytest.approx(0.02, abs=1e-6)
    clock = [seconds(message.clock) for message in times]
    assert clock == sorted(clock)
    assert set(np.round(stamps, 5)) <= set(np.round(clock, 5))


def test_bag_is_played_on_its_topics_with_stamps_of_now(stage, tmp_path):
    bag = media_files.write_bag(tmp_path / 'bag', pictures=5)
    images = stage.listen(Image, '/camera/image_raw')
    before = time.time()
    stage.play(input=str(bag))
    stage.spin_until(lambda: len(images) == 5)
    assert [grey(image) for image in images] == list(range(5))
    assert images[0].header.frame_id == 'recorded'
    assert before <= seconds(images[0].header.stamp) <= time.time()


def test_bag_with_clock_keeps_its_stamps_and_jumps_back_in_a_loop(stage, tmp_path):
    bag = media_files.write_bag(tmp_path / 'bag', pictures=5)
    images = stage.listen(Image, '/camera/image_raw')
    times = stage.listen(Clock, '/clock')
    stage.play(input=str(bag), clock=True, loop=True, max_frames=10)
    stage.spin_until(lambda: len(images) == 10 and bool(times)
                     and bool(np.any(np.diff([seconds(time.clock) for time in times]) < 0))
                     and seconds(times[-1].clock) >= 100.08)
    recorded = [100 + 0.02 * number for number in range(5)]
    assert [seconds(image.header.stamp) for image in images] == pytest.approx(2 * recorded)
    clock = [seconds(message.clock) for message in times]
    assert 99.9 < min(clock) and max(clock) < 100.2
    assert sum(np.diff(clock) < 0) == 1


def test_bag_plays_at_another_speed(stage, tmp_path):
    bag = media_files.write_bag(tmp_path / 'bag', pictures=5)
    images = stage.listen(Image, '/camera/image_raw')
    schedule = stage.play(input=str(bag), speed=0.5)
    stage.spin_until(lambda: len(images) == 5)
    assert schedule.lateness().seconds >= 0.159


def test_damaged_bag_is_one_error(stage, tmp_path):
    bag = media_files.write_bag(tmp_path / 'bag', pictures=20)
    (storage,) = bag.glob('*.db3')
    storage.write_bytes(storage.read_bytes()[:20000])
    with pytest.raises(SourceError, match='cannot be read as a bag'):
        stage.play(input=str(bag), subscribers=0)


def test_bag_among_videos_is_refused(stage, tmp_path, video):
    bag = media_files.write_bag(tmp_path / 'bag')
    assert Bag(bag).topics
    with pytest.raises(SourceError, match='a bag is played alone'):
        stage.play(input=[str(bag), str(video)])


@pytest.mark.parametrize(('parameters', 'message'), [
    ({'rate': -1.0}, 'rate'),
    ({'transport': 'pigeon'}, 'must be one of raw, compressed, both'),
    ({'loop': 'perhaps'}, 'must be true or false'),
    ({'input': []}, 'no input is named'),
])
def test_wrong_parameters_are_named(stage, parameters, message):
    player = stage.make_player(**parameters)
    with pytest.raises((ConfigurationError, SourceError, rclpy.exceptions.ParameterException),
                       match=message):
        run(player, lambda: False)


def test_without_subscribers_it_plays_after_the_wait(stage, video, capfd):
    assert stage.play(input=str(video), wait=0.1).lateness().frames == 12
    assert '0 of 1 subscribers after 0.1 s' in capfd.readouterr().err


def test_documents_list_every_parameter():
    text = (Path(__file__).parents[2] / 'docs/demo.md').read_text(encoding='utf-8')
    rows = re.findall(r'^\| `(\w+)` \| (\S*) ?\|', text, re.MULTILINE)
    assert [(name, default) for name, default in rows] == [
        (field.name, '' if field.default == () else str(field.default).replace('True', 'true')
         .replace('False', 'false')) for field in dataclasses.fields(PlayerOptions)]


# As a process of its own ------------------------------------------------------------------------

def start_player(**parameters: Any) -> subprocess.Popen[str]:
    assignments = [part for name, value in parameters.items()
                   for part in ('-p', f'{name}:={json.dumps(value)}')]
    return subprocess.Popen(
        [sys.executable, '-m', 'snn_detector_ros.ros.player', '--ros-args', *assignments],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


@pytest.mark.parametrize('number', [signal.SIGINT, signal.SIGTERM])
def test_signal_ends_it_with_its_statistics(stage, video, number):
    images = stage.listen(Image, 'image')
    player = start_player(
        input=str(video), rate=50.0, loop=True, reliability='reliable')
    try:
        stage.spin_until(lambda: len(images) >= 5)
        player.send_signal(number)
        out, err = player.communicate(timeout=10)
    finally:
        player.kill()
    assert player.returncode == 0
    assert 'frames in' in out and 'late by' in out
    assert 'Traceback' not in err


def test_signal_ends_the_wait_for_a_subscriber(stage, video):
    player = start_player(input=str(video), wait=60.0)
    try:
        stage.spin_until(lambda: 'player' in stage.listener.get_node_names())
        player.send_signal(signal.SIGINT)
        _, err = player.communicate(timeout=10)
    finally:
        player.kill()
    assert player.returncode == 0
    assert 'Traceback' not in err


@pytest.mark.parametrize('content', [None, b'no video'])
def test_unreadable_input_is_one_sentence(tmp_path, content):
    path = tmp_path / 'broken.mp4'
    if content is not None:
        path.write_bytes(content)
    player = start_player(input=str(path))
    _, err = player.communicate(timeout=20)
    assert player.returncode == 1
    assert len(err.strip().splitlines()) == 1
    assert 'broken.mp4' in err


def test_truncated_video_is_played_and_named(tmp_path):
    whole = media_files.write_video(tmp_path / 'v.avi', frames=40).read_bytes()
    path = tmp_path / 'cut.avi'
    path.write_bytes(whole[:len(whole) // 2])
    player = start_player(input=str(path), rate=200.0, subscribers=0)
    out, err = player.communicate(timeout=20)
    assert player.returncode == 0
    assert 'announces' in err
    assert 'frames in' in out


_COUNTER = """
import sys, rclpy
from rclpy.executors import SingleThreadedExecutor
from rclpy.qos import qos_profile_sensor_data
from sensor_msgs.msg import Image
from snn_detector_ros.ros.stop_signal import StopSignal
rclpy.init(signal_handler_options=rclpy.signals.SignalHandlerOptions.NO)
stop, count = StopSignal(), []
node = rclpy.create_node('counter')
node.create_subscription(Image, 'image', lambda message: count.append(1), qos_profile_sensor_data)
executor = SingleThreadedExecutor()
executor.add_node(node)
while not stop.came():
    executor.spin_once(timeout_sec=0.1)
print(len(count))
"""


@pytest.mark.slow
def test_profile_saves_the_images_that_default_settings_lose(tmp_path, monkeypatch):
    """720p at 30 Hz, best effort, between two processes: the claim of docs/demo.md."""
    folder = tmp_path / 'pictures'
    folder.mkdir()
    noise = np.random.default_rng(0).integers(0, 256, (720, 1280, 3), dtype=np.uint8)
    assert cv2.imwrite(str(folder / 'noise.png'), noise)
    received = {}
    for name in ('default', 'profile'):
        for variable in ('FASTRTPS_DEFAULT_PROFILES_FILE', 'FASTDDS_DEFAULT_PROFILES_FILE'):
            monkeypatch.delenv(variable, raising=False)
            if name == 'profile':
                monkeypatch.setenv(variable, str(resource('config/fastdds_large_images.xml')))
        counter = subprocess.Popen([sys.executable, '-c', _COUNTER], env=os.environ,
                                   stdout=subprocess.PIPE, text=True)
        player = start_player(input=str(folder), rate=30.0, hold=5.0)
        try:
            out, err = player.communicate(timeout=60)
            assert player.returncode == 0, err
            counter.send_signal(signal.SIGINT)
            received[name] = int(counter.communicate(timeout=10)[0])
        finally:
            player.kill()
            counter.kill()
        print(f'{name}: {received[name]} of 150 images arrived; {out.strip()}')
    # On a loaded machine a few images are replaced in the queue of five; none on an idle one.
    assert received['profile'] >= 145
    assert received['default'] < received['profile']
