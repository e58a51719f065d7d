# SPDX-License-Identifier: Apache-2.0
"""The node as users start it: a process of its own, at the other end of DDS."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

pytest.importorskip('rclpy')

from node_bench import DEADLINE, image_message
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import Image
from vision_msgs.msg import Detection2DArray

CONFIG = Path(__file__).resolve().parents[2] / 'config' / 'detector.yaml'


def command(*parameters: str) -> list[str]:
    return [sys.executable, '-m', 'snn_detector_ros.ros.node', '--ros-args', '--params-file',
            str(CONFIG), *(word for parameter in parameters for word in ('-p', parameter))]


@pytest.fixture
def start() -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Return what starts a node in its own process; it is ended with the test."""
    processes = []

    def start(*parameters: str) -> subprocess.Popen[str]:
        processes.append(subprocess.Popen(
            command(*parameters), stderr=subprocess.PIPE, text=True))
        return processes[-1]

    yield start
    for process in processes:
        # A killed process would leave its shared memory behind.
        process.terminate()
        try:
            process.communicate(timeout=DEADLINE)
        finally:
            process.kill()


@pytest.mark.parametrize('numbers', [
    [signal.SIGINT], [signal.SIGTERM], [signal.SIGINT, signal.SIGINT]])
def test_a_process_detects_and_ends_cleanly_on_signals(
        bench, small_model, picture, start, numbers):
    process = start(f'model:={small_model}')
    detections = bench.listen(Detection2DArray, '/detections')
    publisher = bench.probe.create_publisher(Image, '/image', 10)

    def publish():
        publisher.publish(image_message(picture))
        return detections

    bench.until(publish, 'detections from another process')
    for number in numbers:
        process.send_signal(number)
    _, errors = process.communicate(timeout=DEADLINE)
    assert process.returncode == 0, errors
    assert 'Traceback' not in errors


def test_incompatible_qos_is_reported_by_topic_and_policy(bench, small_model, start):
    start(f'model:={small_model}', 'qos_overrides./image.subscription.reliability:=reliable')
    best_effort = QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT)
    publisher = bench.probe.create_publisher(Image, '/image', best_effort)
    status = bench.status('input', lambda status, values: 'incompatible QoS' in status.message)
    assert status.level == b'\x01'
    assert '/image: publisher /probe does not fit' in status.message
    assert 'reliable subscription' in status.message
    assert publisher.get_subscription_count() == 0


@pytest.mark.parametrize('parameter, reason', [
    ('score_threshold:=1.5', 'score_threshold'),
    ('score_threshold:=.nan', 'score_threshold'),
    ('engine:=quantum', 'must be one of auto')])
def test_a_wrong_parameter_at_start_is_one_sentence(parameter, reason):
    done = subprocess.run(
        command(parameter), capture_output=True, text=True, timeout=DEADLINE, check=False)
    assert done.returncode == 1
    assert reason in done.stderr
    assert 'Traceback' not in done.stderr


@pytest.mark.parametrize('words, reason', [
    (['--params-file', 'absent.yaml'], 'absent.yaml'), (['--nonsense'], '--nonsense')])
def test_a_wrong_command_line_is_one_sentence(words, reason):
    done = subprocess.run([*command(), *words], capture_output=True, text=True, timeout=DEADLINE,
                          check=False)
    assert done.returncode == 1
    last = done.stderr.splitlines()[-1]
    assert last.startswith('snn_detector: ROS 2 does not start: ') and reason in last
    assert 'Traceback' not in done.stderr


def test_a_home_that_cannot_be_written_is_named():
    environment = {**os.environ, 'HOME': '/proc'}
    environment.pop('ROS_LOG_DIR', None)
    done = subprocess.run(command(), capture_output=True, text=True, timeout=DEADLINE,
                          check=False, env=environment)
    assert done.returncode == 1
    assert '/proc/.ros/log' in done.stderr and 'ROS_LOG_DIR' in done.stderr
    assert 'Traceback' not in done.stderr


def run_program(prelude: str) -> subprocess.CompletedProcess[str]:
    """Run the program of the node as its installed script does, after some more lines."""
    script = f'import sys\nfrom snn_detector_ros.ros import programs\n{prelude}\n'
    return subprocess.run(
        [sys.executable, '-c', script + 'sys.exit(programs.detector_node())'],
        capture_output=True, text=True, timeout=DEADLINE, check=False)


def test_a_signal_during_the_imports_ends_the_program_cleanly():
    done = run_program(
        'import os, signal\n'
        'import_module = programs.import_module\n'
        'def interrupted(name):\n'
        '    os.kill(os.getpid(), signal.SIGINT)\n'
        '    return import_module(name)\n'
        'programs.import_module = interrupted')
    assert done.returncode == 0, done.stderr
    assert 'Traceback' not in done.stderr


def test_without_ros_the_program_says_where_to_find_it():
    done = run_program('sys.modules["rclpy"] = None')
    assert done.returncode == 1
    assert done.stderr.startswith('node: ROS 2 (rclpy) is not found: source /opt/ros/')
