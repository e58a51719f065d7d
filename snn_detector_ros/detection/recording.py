# SPDX-License-Identifier: Apache-2.0
"""Write what a detector saw: a video with the boxes drawn in, pictures of it, a contact sheet."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from snn_detector_ros.detection.overlay import draw
from snn_detector_ros.detection.types import Detections
from snn_detector_ros.errors import SnnDetectorError
from snn_detector_ros.media.sources import VideoFile

#: Smaller pictures are enlarged to this many rows, so that labels can be read.
LEAST_HEIGHT = 480
#: A picture is shown for so long at most, s, however long the next one takes to come.
LONGEST_STILL = 2.0
#: Mean difference of grey levels up to which two pictures count as the same.
SAME_PICTURE = 2.0


class RecordingError(SnnDetectorError):
    """A video or picture cannot be written."""


class AnnotatedVideo:
    """
    A video of pictures with their detections, at the pace at which they were taken.

    Pictures of any size are fitted into the frame of the video, whose size the first one decides
    unless it is given.

    :param path: the .mp4 file to write.
    :param rate: frames a second.
    :param size: width and height of the video, px.
    """

    def __init__(self, path: Path, *, rate: float, size: tuple[int, int] | None = None) -> None:
        self.path = path
        self._rate = rate
        self._size = size
        self._writer: cv2.VideoWriter | None = None
        self._start = 0.0
        #: Frames written so far.
        self.frames = 0
        self._last: NDArray[np.uint8] | None = None

    def write(self, image: NDArray[np.uint8], detections: Detections, time: float) -> None:
        """
        Add one picture.

        :param image: uint8 [H, W, 3] in blue, green, red order.
        :param detections: boxes in pixels of the picture.
        :param time: when it was taken, s; the picture before is shown until then.
        :raises RecordingError: if the video cannot be opened.
        """
        if self._writer is None:
            self._size = self._size or video_size(image)
            self._writer = self._open(self._size)
            self._start = time
        assert self._size is not None
        due = round((time - self._start) * self._rate)
        for _ in range(min(due - self.frames, round(LONGEST_STILL * self._rate))):
            self._append(self._last)
        self._last = draw(*fit(image, detections, self._size))
        self._append(self._last)

    def close(self) -> None:
        """Finish the file."""
        if self._writer is not None:
            self._writer.release()

    def _append(self, frame: NDArray[np.uint8] | None) -> None:
        if self._writer is not None and frame is not None:
            self._writer.write(frame)
            self.frames += 1

    def _open(self, size: tuple[int, int]) -> cv2.VideoWriter:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise RecordingError(f'{self.path} cannot be written: its directory cannot be made '
                                 f'({error.strerror}); choose another') from error
        writer = cv2.VideoWriter(
            str(self.path), cv2.VideoWriter.fourcc(*'mp4v'), self._rate, size)
        if not writer.isOpened():
            raise RecordingError(
                f'{self.path} cannot be written as MPEG-4 video; check that the directory can be '
                'written to and that OpenCV was built with FFmpeg (the wheels from PyPI are)')
        return writer


def video_size(image: NDArray[np.uint8]) -> tuple[int, int]:
    """
    Choose the frame size of a video for pictures like this one.

    :param image: uint8 [H, W, 3].
    :returns: even width and height, at least :data:`LEAST_HEIGHT` rows.
    """
    height, width = image.shape[:2]
    scale = max(1.0, LEAST_HEIGHT / height)
    return round(width * scale / 2) * 2, round(height * scale / 2) * 2


def fit(
    image: NDArray[np.uint8], detections: Detections, size: tuple[int, int]
) -> tuple[NDArray[np.uint8], Detections]:
    """
    Scale a picture and its boxes into the middle of a black frame.

    :param image: uint8 [H, W, 3].
    :param size: width and height of the frame, px.
    :returns: uint8 [height, width, 3] and the boxes in its pixels.
    """
    width, height = size
    rows, columns = image.shape[:2]
    scale = min(width / columns, height / rows)
    inner = max(1, round(columns * scale)), max(1, round(rows * scale))
    left, top = (width - inner[0]) // 2, (height - inner[1]) // 2
    frame = np.zeros((height, width, 3), np.uint8)
    method = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    frame[top:top + inner[1], left:left + inner[0]] = cv2.resize(
        image, inner, interpolation=method)
    offset = np.array([left, top, left, top], np.float32)
    return frame, dataclasses.replace(
        detections, boxes=detections.boxes * np.float32(scale) + offset)


def pick_pictures(video: Path, *, count: int = 12) -> list[NDArray[np.uint8]]:
    """
    Read a video back and pick pictures, evenly spaced, without those that look the same.

    :param video: a video file.
    :param count: most pictures to return.
    :returns: pictures, uint8 [H, W, 3].
    :raises SourceError: if the video cannot be read.
    """
    source = VideoFile(video)
    total = source.frame_count or 1
    wanted = {round((index + 0.5) * total / count) for index in range(count)}
    pictures: list[NDArray[np.uint8]] = []
    for index, frame in enumerate(source):
        if index in wanted and not (pictures and _alike(pictures[-1], frame.image)):
            pictures.append(frame.image)
    return pictures


def contact_sheet(
    pictures: list[NDArray[np.uint8]], *, columns: int = 4, width: int = 320
) -> NDArray[np.uint8]:
    """
    Arrange pictures of one size in a grid.

    :param pictures: uint8 [H, W, 3] each, at least one.
    :param columns: most pictures in a row.
    :param width: width of each in the grid, px.
    :returns: uint8 [rows * height, columns * width, 3]; places left over are white.
    """
    height = round(pictures[0].shape[0] * width / pictures[0].shape[1])
    columns = min(columns, len(pictures))
    rows = -(-len(pictures) // columns)
    sheet = np.full((rows * height, columns * width, 3), 255, np.uint8)
    for index, picture in enumerate(pictures):
        top, left = index // columns * height, index % columns * width
        sheet[top:top + height, left:left + width] = cv2.resize(
            picture, (width, height), interpolation=cv2.INTER_AREA)
    return sheet


def write_pictures(video: Path, directory: Path) -> tuple[list[Path], Path]:
    """
    Write pictures of an annotated video and their contact sheet, in place of older ones.

    :param video: the video to pick from.
    :param directory: where to write.
    :returns: the JPEG pictures and the PNG contact sheet.
    :raises RecordingError: if nothing could be written.
    """
    for stale in directory.glob('picture_*.jpg'):
        stale.unlink()
    pictures = pick_pictures(video)
    paths = [directory / f'picture_{index:02d}.jpg' for index in range(1, len(pictures) + 1)]
    sheet = directory / 'contact_sheet.png'
    for path, picture in [*zip(paths, pictures, strict=True), (sheet, contact_sheet(pictures))]:
        if not cv2.imwrite(str(path), picture):
            raise RecordingError(f'{path} cannot be written; is the disk full?')
    return paths, sheet


def _alike(first: NDArray[np.uint8], second: NDArray[np.uint8]) -> bool:
    difference = cv2.absdiff(cv2.resize(first, (32, 24)), cv2.resize(second, (32, 24)))
    return bool(difference.mean() < SAME_PICTURE)
