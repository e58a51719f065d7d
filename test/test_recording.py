# SPDX-License-Identifier: Apache-2.0
"""Tests of the annotated video, its pictures and the tables of a run."""

from __future__ import annotations

import cv2
import media_files
import numpy as np
import pytest

from snn_detector_ros.cli.run_tables import firing_table, latency_table
from snn_detector_ros.detection.recording import (
    AnnotatedVideo,
    RecordingError,
    contact_sheet,
    fit,
    video_size,
    write_pictures,
)
from snn_detector_ros.detection.types import Detections
from snn_detector_ros.media.sources import VideoFile


def one_box(*box: float) -> Detections:
    return Detections(np.array([box], np.float32), np.array([0.9], np.float32),
                      np.array([0]), ('person',))


def test_video_can_be_read_back_at_its_pace(tmp_path):
    video = AnnotatedVideo(tmp_path / 'sub/v.mp4', rate=20.0)
    for number, time in ((0, 5.0), (10, 5.05), (20, 5.5)):
        video.write(media_files.numbered_picture(number), Detections.empty(), time)
    video.close()
    levels = [frame.image.mean() for frame in VideoFile(video.path)]
    # 0.5 s at 20 Hz: the second picture stands until the third was taken.
    assert len(levels) == video.frames == 11
    assert levels == pytest.approx([0] + [80] * 9 + [160], abs=4)


def test_video_shows_boxes(tmp_path):
    video = AnnotatedVideo(tmp_path / 'v.mp4', rate=20.0)
    video.write(media_files.numbered_picture(10), one_box(8, 8, 40, 40), 0.0)
    video.close()
    (frame,) = VideoFile(video.path)
    saturation = cv2.cvtColor(frame.image, cv2.COLOR_BGR2HSV)[..., 1]
    assert frame.image.shape == (480, 640, 3)
    # The left edge of the box, enlarged tenfold, is coloured; the picture is grey.
    assert saturation[200, 76:88].max() > 100
    assert saturation[460, 600] < 30


def test_video_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / 'v.mp4').mkdir()
    video = AnnotatedVideo(tmp_path / 'v.mp4', rate=20.0)
    with pytest.raises(RecordingError, match=r'v\.mp4 cannot be written'):
        video.write(media_files.numbered_picture(0), Detections.empty(), 0.0)


def test_folder_of_a_video_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / 'file').touch()
    video = AnnotatedVideo(tmp_path / 'file' / 'v.mp4', rate=20.0)
    with pytest.raises(RecordingError, match='its directory cannot be made'):
        video.write(media_files.numbered_picture(0), Detections.empty(), 0.0)


def test_boxes_follow_the_picture_into_the_frame():
    picture = np.full((100, 50, 3), 200, np.uint8)
    frame, detections = fit(picture, one_box(0, 0, 50, 100), (300, 200))
    assert frame.shape == (200, 300, 3)
    assert detections.boxes.tolist() == [[100, 0, 200, 200]]
    columns = np.flatnonzero(frame[100, :, 0])
    assert (columns[0], columns[-1]) == (100, 199)


@pytest.mark.parametrize(('shape', 'size'), [
    ((144, 176), (586, 480)), ((720, 1280), (1280, 720)), ((481, 641), (640, 480))])
def test_video_size_is_even_and_large_enough(shape, size):
    assert video_size(np.zeros((*shape, 3), np.uint8)) == size


def test_pictures_show_what_is_different(tmp_path):
    video = AnnotatedVideo(tmp_path / 'v.mp4', rate=20.0, size=(64, 48))
    for number in range(60):
        video.write(media_files.numbered_picture(10 * (number // 20)), Detections.empty(),
                    number / 20)
    video.close()
    (tmp_path / 'picture_09.jpg').write_bytes(b'of an earlier run')
    paths, sheet = write_pictures(video.path, tmp_path)
    assert [path.name for path in paths] == [f'picture_0{index}.jpg' for index in (1, 2, 3)]
    assert sorted(tmp_path.glob('picture_*.jpg')) == paths
    assert cv2.imread(str(sheet)).shape == (240, 960, 3)


def test_contact_sheet_fills_rows():
    pictures = [media_files.numbered_picture(number) for number in range(5)]
    sheet = contact_sheet(pictures, columns=4, width=64)
    assert sheet.shape == (96, 256, 3)
    assert sheet[60, 10].tolist() == [32, 32, 32]
    assert sheet[60, 100].tolist() == [255, 255, 255]


def test_latency_table_has_a_row_for_each_stage():
    table = latency_table({'inference': (1.0, 2.0, 3.0, 4.5), 'own stage': (0, 0, 0, 0.125)})
    assert table.splitlines()[0].split() == ['latency,', 'ms', 'p50', 'p95', 'p99', 'max']
    assert table.splitlines()[1].split()[:5] == ['inference', '1.00', '2.00', '3.00', '4.50']
    assert len({line.index('.') for line in table.splitlines()[1:]}) == 1


def test_firing_table_names_the_busiest_layers():
    rates = {f'layer{index}': index / 10 for index in range(8)}
    lines = firing_table(rates, mean=0.35, spikes=12e3, operations=5e6, energy=0.5,
                         float_energy=2.0).splitlines()
    assert [line.split()[0] for line in lines[1:6]] == [
        f'layer{index}' for index in range(7, 2, -1)]
    assert lines[6].split()[:4] == ['the', 'other', '3', '0.1000']
