# SPDX-License-Identifier: Apache-2.0
"""Tests of ``snn-detector replay`` on small inputs with a small random network."""

from __future__ import annotations

import itertools
from pathlib import Path

import media_files
import numpy as np
import pytest
from lif_builder import small_lif_detector
from network_builder import small_detector

from snn_detector_ros import Detector
from snn_detector_ros.cli.bag_frames import BagFrames
from snn_detector_ros.cli.event_bag_frames import EventBagFrames
from snn_detector_ros.cli.main import main
from snn_detector_ros.media.sources import VideoFile
from snn_detector_ros.network.model_file import save


@pytest.fixture(scope='module')
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp('models') / 'small.onnx'
    save(small_detector(), path)
    return str(path)


def replay(model: str, source: Path, out: Path, *options: str) -> int:
    return main(['replay', str(source), '-o', str(out), '--model', model, *options])


def test_video_gives_a_video_and_a_table(tmp_path, capsys, model):
    source = media_files.write_video(tmp_path / 'street.avi', frames=10)
    assert replay(model, source, tmp_path / 'out') == 0
    assert len(list(VideoFile(tmp_path / 'out/street.mp4'))) == 10
    printed = capsys.readouterr().out
    for text in ('frames         10', ' (auto: ', 'inference', 'p99', 'firing rate', 'mJ a frame'):
        assert text in printed


def test_directory_goes_to_the_named_file(tmp_path, capsys, model):
    folder = media_files.write_pictures(tmp_path / 'pictures', count=3)
    assert replay(model, folder, tmp_path / 'own.mp4', '--frames', '2') == 0
    assert len(list(VideoFile(tmp_path / 'own.mp4'))) == 2
    assert str(tmp_path / 'own.mp4') in capsys.readouterr().out


@pytest.mark.parametrize('plugin', ['sqlite3', 'mcap'])
def test_bag_gives_a_video(tmp_path, model, plugin):
    bag = media_files.write_bag(tmp_path / 'bag', pictures=5, plugin=plugin)
    assert replay(model, bag, tmp_path) == 0
    assert len(list(VideoFile(tmp_path / 'bag.mp4'))) == 5


def test_bag_frames_are_those_recorded(tmp_path):
    source = BagFrames(media_files.write_bag(tmp_path / 'bag', pictures=5))
    frames = list(source)
    assert source.frame_count == 5
    assert source.rate == pytest.approx(50, rel=0.01)
    assert [frame.image[0, 0, 0] // 8 for frame in frames] == [0, 1, 2, 3, 4]
    assert [frame.time for frame in frames] == pytest.approx([0, 0.02, 0.04, 0.06, 0.08])


def test_bag_of_events_gives_a_video_of_its_windows(tmp_path, capsys, model, shared_data):
    bag = shared_data / 'events' / 'evt3_bag'
    assert replay(model, bag, tmp_path, '--window', '100', '--representation', 'histogram') == 0
    # Sensor time 7.14 s to 9.22 s: the windows that end at 7.2 s, 7.3 s ... 9.2 s.
    assert len(list(VideoFile(tmp_path / 'evt3_bag.mp4'))) == 21
    printed = capsys.readouterr().out
    assert 'frames         21' in printed
    assert 'events         343474 in 517 packets\n' in printed


def test_a_network_of_events_replays_the_bins_of_each_window(tmp_path, capsys, shared_data):
    bag = shared_data / 'events' / 'evt3_bag'
    save(small_lif_detector(coding='binned'), tmp_path / 'events.onnx')
    assert replay(str(tmp_path / 'events.onnx'), bag, tmp_path, '--window', '40', '--frames', '5',
                  '--score', '0.05') == 0
    detector = Detector(tmp_path / 'events.onnx', score_threshold=0.05)
    frames = itertools.islice(EventBagFrames(bag, window=40, representation='last_event'), 5)
    found = sum(len(detector.detect_events(frame.window.window, (480, 640)).detections)
                for frame in frames)
    boxes = next(line for line in capsys.readouterr().out.splitlines() if line.startswith('boxes'))
    assert found == sum(int(word) for word in boxes.split() if word.isdigit()) > 0


def test_event_frames_come_at_the_times_of_their_windows(shared_data):
    source = EventBagFrames(
        shared_data / 'events' / 'evt3_bag', window=50.0, representation='last_event')
    frames = list(source)
    assert [frame.image.shape for frame in frames] == [(480, 640, 3)] * 42
    assert {0, 127, 255} == set(np.unique(frames[5].image))
    # 4.4 ms: see the stamps of the recording in test_events_stream.py.
    assert [frame.time for frame in frames] == pytest.approx(
        [0.05 * index for index in range(42)], abs=0.0044)


def test_truncated_video_is_replayed_as_far_as_it_goes(tmp_path, capsys, model):
    whole = media_files.write_video(tmp_path / 'v.avi', frames=40).read_bytes()
    cut = tmp_path / 'cut.avi'
    cut.write_bytes(whole[:len(whole) // 2])
    assert replay(model, cut, tmp_path) == 0
    printed = capsys.readouterr()
    assert 'announces' in printed.err
    assert 5 < len(list(VideoFile(tmp_path / 'cut.mp4'))) < 35


@pytest.mark.parametrize(('source', 'options', 'message'), [
    ('missing.mp4', (), 'missing.mp4 does not exist'),
    ('v.avi', ('--frames', '-1'), '--frames must be 0 or more'),
    ('v.avi', ('--rate', '0'), '--rate above 0'),
    ('v.avi', ('--window', '0'), '--window 0 must be 1 to 10000 ms'),
])
def test_what_cannot_work_is_one_sentence(tmp_path, capsys, model, source, options, message):
    media_files.write_video(tmp_path / 'v.avi')
    assert replay(model, tmp_path / source, tmp_path / 'out', *options) == 1
    error = capsys.readouterr().err
    assert message in error
    assert len(error.splitlines()) == 1
