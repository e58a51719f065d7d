# SPDX-License-Identifier: Apache-2.0
"""Tests of the demo: its three processes with a small random network."""

from __future__ import annotations

import json
import os
import random
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import cv2
import media_files
import pytest

from snn_detector_ros.cli import demo
from snn_detector_ros.cli.demo_processes import Child, ProcessError, free_domain
from snn_detector_ros.cli.main import main
from snn_detector_ros.media.sources import VideoFile

pytest.importorskip('rclpy', reason='needs ROS 2')


@pytest.fixture
def sigterm() -> None:
    """Give the test run its own handling of SIGTERM back: the demo sets it."""
    before = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, before)


def run_demo(source: Path, out: Path, model: Path, *options: str) -> int:
    return main(['demo', '--input', str(source), '--out', str(out), '--model', str(model),
                 *options])


@pytest.mark.usefixtures('sigterm')
def test_demo_ends_with_tables_a_video_and_pictures(tmp_path, small_model, capfd):
    source = media_files.write_video(tmp_path / 'street.avi', frames=45)
    out = tmp_path / 'out'
    assert run_demo(source, out, small_model) == 0
    run = json.loads((out / 'run.json').read_text())
    # The newest image wins, so a loaded machine detects on fewer; an idle one on all 45.
    assert 45 >= run['images'] >= run['detected'] >= 15
    assert len(list(VideoFile(out / 'detections.mp4'))) >= run['detected']
    assert cv2.imread(str(out / 'contact_sheet.png')).shape[1] > 300
    printed = capfd.readouterr().out
    for text in ('inference', 'p99', 'subscriber', 'processed', 'firing rate', 'mJ a frame',
                 'late by', str(out / 'detections.mp4'), str(out / 'contact_sheet.png')):
        assert text in printed
    assert '[WARN]' not in printed


@pytest.mark.usefixtures('sigterm')
def test_demo_plays_the_images_of_a_bag(tmp_path, small_model):
    bag = media_files.write_bag(tmp_path / 'bag', pictures=50)
    assert run_demo(bag, tmp_path / 'out', small_model) == 0
    # 50 on an idle machine; the newest image wins, so a loaded one detects on fewer.
    assert json.loads((tmp_path / 'out/run.json').read_text())['detected'] >= 15


@pytest.mark.parametrize('number', [signal.SIGTERM, signal.SIGKILL])
def test_no_process_outlives_the_demo(tmp_path, small_model, number):
    source = media_files.write_video(tmp_path / 'v.avi', frames=100)
    process = subprocess.Popen(
        [sys.executable, '-m', 'snn_detector_ros.cli.main', 'demo', '--input', str(source),
         '--out', str(tmp_path / 'out'), '--model', str(small_model), '--rate', '5'])
    try:
        wait_until(lambda: len(children_of(process.pid)) == 3, 'three processes')
        children = children_of(process.pid)
        process.send_signal(number)
        process.wait(timeout=30)
        wait_until(lambda: not any(map(is_alive, children)), 'their end')
    finally:
        process.kill()


@pytest.mark.parametrize(('options', 'message'), [
    (('--input', 'missing.mp4'), 'missing.mp4 does not exist'),
    (('--frames', '-1'), '--frames -1: must be 0 or more'),
    (('--rate', '-1'), '--rate -1.0: must be in 0 to 1000 Hz'),
])
@pytest.mark.usefixtures('sigterm')
def test_what_cannot_work_is_one_sentence(tmp_path, small_model, capsys, options, message):
    assert main(['demo', '--out', str(tmp_path), '--model', str(small_model), *options]) == 1
    error = capsys.readouterr().err
    assert message in error
    assert len(error.splitlines()) == 1


@pytest.mark.usefixtures('sigterm')
def test_bad_model_is_named_before_anything_starts(tmp_path, capsys):
    model = tmp_path / 'bad.onnx'
    model.write_bytes(b'no model')
    assert main(['demo', '--out', str(tmp_path / 'out'), '--model', str(model)]) == 1
    assert 'bad.onnx' in capsys.readouterr().err
    assert not (tmp_path / 'out').exists()


def test_domain_in_use_is_avoided(monkeypatch):
    monkeypatch.setattr(random, 'sample', lambda numbers, count: [7, 8])
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as participant:
        participant.bind(('', 7410 + 250 * 7))
        assert free_domain() == 8


def test_without_ros_it_names_the_way_out(monkeypatch, capsys):
    monkeypatch.setattr(demo, 'find_spec', lambda name: None)
    assert main(['demo']) == 1
    error = capsys.readouterr().err
    assert 'make demo' in error and 'snn-detector replay' in error


def test_failed_process_shows_the_end_of_its_log(tmp_path):
    child = Child('node', 'snn_detector_ros.no_such_module', [], log=tmp_path / 'node.log',
                  environment=os.environ)
    with pytest.raises(ProcessError, match=r'the node ended with status 1[^|]*\|.*no_such_module'):
        wait_until(child.ended, 'the end of the process')


def test_process_that_does_not_end_is_killed(tmp_path, monkeypatch):
    monkeypatch.setattr('snn_detector_ros.cli.demo_processes.PATIENCE', 0.3)
    (tmp_path / 'stubborn.py').write_text(
        'import signal, time\n'
        'signal.signal(signal.SIGINT, signal.SIG_IGN)\n'
        'print("ready", flush=True)\n'
        'time.sleep(60)\n')
    child = Child('stubborn process', 'stubborn', [], log=tmp_path / 'log',
                  environment={**os.environ, 'PYTHONPATH': str(tmp_path)})
    wait_until(lambda: 'ready' in (tmp_path / 'log').read_text(), 'the process')
    assert child.stop() is None


def wait_until(condition, what: str) -> None:
    deadline = time.monotonic() + 30.0
    while not condition():
        assert time.monotonic() < deadline, f'waited 30 s for {what}'
        time.sleep(0.02)


def children_of(pid: int) -> list[int]:
    try:
        return [int(child) for child in
                Path(f'/proc/{pid}/task/{pid}/children').read_text().split()]
    except FileNotFoundError:
        return []


def is_alive(pid: int) -> bool:
    try:
        return Path(f'/proc/{pid}/stat').read_text().rpartition(')')[2].split()[0] != 'Z'
    except (FileNotFoundError, ProcessLookupError):
        return False
