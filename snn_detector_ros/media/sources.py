# SPDX-License-Identifier: Apache-2.0
"""
Frame sources: pictures, video files and cameras as plain iterables of colour frames.

A source knows its rate and, unless it is a camera, its length; iterating it again starts anew. Each
frame carries the time at which it is due, so that whoever plays it needs no arithmetic of its own.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

# FFmpeg's own complaints; read when the first video is opened. Ours name the file and the remedy.
os.environ.setdefault('OPENCV_FFMPEG_LOGLEVEL', '-8')
import cv2  # noqa: E402

from snn_detector_ros.datasets.image_folder import (  # noqa: E402
    IMAGE_SUFFIXES,
    list_images,
    read_bgr,
)
from snn_detector_ros.errors import SnnDetectorError  # noqa: E402

#: Frames a second of what has no rate of its own.
DEFAULT_RATE = 10.0
#: OpenCV's log level for nothing at all; ours name the file and the remedy.
SILENT = 0


class SourceError(SnnDetectorError):
    """A picture folder, video, camera or bag cannot be read."""


class TruncatedSourceError(SourceError):
    """A video ended before its announced length; the frames before were delivered."""


@dataclass(frozen=True)
class Frame:
    """
    One frame of a source.

    :param image: uint8 [H, W, 3] in blue, green, red order; owned by whoever receives it.
    :param time: when it is due, s after the first frame.
    :param name: the file it comes from, or the camera.
    """

    image: NDArray[np.uint8]
    time: float
    name: str


class FrameSource(Protocol):
    """What the player and the replay command need of a source."""

    @property
    def rate(self) -> float:
        """Frames a second."""

    @property
    def frame_count(self) -> int | None:
        """Number of frames, as far as it is known beforehand."""

    @property
    def is_live(self) -> bool:
        """Whether frames arrive when they please, so that nobody has to wait for their time."""

    def __iter__(self) -> Iterator[Frame]:
        """Deliver the frames from the start."""


class Pictures:
    """
    Picture files, one after the other.

    :param paths: the files, in order.
    :param rate: frames a second.
    :param hold: how long each picture is shown, s; 0 shows each for one frame.
    """

    is_live = False

    def __init__(
        self, paths: Sequence[Path], *, rate: float = DEFAULT_RATE, hold: float = 0.0
    ) -> None:
        self.rate = rate
        self._paths = list(paths)
        self._repeats = max(1, round(hold * rate))

    @classmethod
    def of_folder(
        cls, folder: Path, *, rate: float = DEFAULT_RATE, hold: float = 0.0
    ) -> Pictures:
        """Take all pictures of a directory, by name."""
        return cls(list_images(folder), rate=rate, hold=hold)

    @property
    def frame_count(self) -> int:
        return len(self._paths) * self._repeats

    def __iter__(self) -> Iterator[Frame]:
        for index, path in enumerate(self._paths):
            image = read_bgr(path)
            for repeat in range(self._repeats):
                yield Frame(image, (index * self._repeats + repeat) / self.rate, path.name)


class VideoFile:
    """
    A video file that OpenCV can decode.

    :param path: the file.
    :param rate: frames a second; None takes the rate written in the file.
    :raises SourceError: if the file is missing or holds no frame that can be decoded.
    """

    is_live = False

    def __init__(self, path: Path, *, rate: float | None = None) -> None:
        self._path = path
        if not path.is_file():
            raise SourceError(
                f'{path} does not exist; give a video, a directory, a camera or a bag')
        capture = _open_capture(str(path))
        if not capture.grab():
            raise SourceError(
                f'{path} is not a video that OpenCV can decode, or it is cut off at the start; '
                'convert it with ffmpeg or fetch it again')
        own_rate = capture.get(cv2.CAP_PROP_FPS)
        announced = int(capture.get(cv2.CAP_PROP_FRAME_COUNT))
        capture.release()
        self.rate = rate or (own_rate if 0.1 <= own_rate <= 1000 else DEFAULT_RATE)
        self.frame_count = announced if announced > 0 else None

    def __iter__(self) -> Iterator[Frame]:
        capture = _open_capture(str(self._path))
        count = 0
        try:
            while True:
                alive, image = capture.read()
                if not alive:
                    break
                yield Frame(image, count / self.rate, self._path.name)
                count += 1
        finally:
            capture.release()
        # Some containers only estimate their length, from duration and rate.
        if self.frame_count is not None and count < 0.95 * self.frame_count - 2:
            raise TruncatedSourceError(
                f'{self._path} announces {self.frame_count} frames but only {count} can be '
                'decoded: the file is cut off or damaged; fetch it again')


class Camera:
    """
    A camera of this machine.

    :param device: index, or path such as ``/dev/video0``.
    :param rate: frames a second to ask the camera for; None keeps its own.
    :raises SourceError: if it cannot be opened.
    """

    is_live = True
    frame_count = None

    def __init__(self, device: int | str, *, rate: float | None = None) -> None:
        self._name = f'camera {device}'
        self._capture = _open_capture(device)
        if not self._capture.isOpened():
            raise SourceError(
                f'{self._name} cannot be opened: check that its /dev/video file exists, that no '
                'other program uses it and that you are in the group `video`')
        # An old frame in the driver's queue would be detected before a new one.
        self._capture.set(cv2.CAP_PROP_BUFFERSIZE, 1)
        if rate is not None:
            self._capture.set(cv2.CAP_PROP_FPS, rate)
        own_rate = self._capture.get(cv2.CAP_PROP_FPS)
        self.rate = own_rate if own_rate > 0 else rate or DEFAULT_RATE

    def __iter__(self) -> Iterator[Frame]:
        start = time.monotonic()
        while True:
            alive, image = self._capture.read()
            if not alive:
                raise SourceError(
                    f'{self._name} stopped delivering frames; is it still plugged in?')
            yield Frame(image, time.monotonic() - start, self._name)


class Playlist:
    """Several sources, one after the other, as one."""

    def __init__(self, sources: Sequence[FrameSource]) -> None:
        self._sources = list(sources)
        self.rate = self._sources[0].rate
        self.is_live = any(source.is_live for source in self._sources)

    @property
    def frame_count(self) -> int | None:
        counts = [source.frame_count for source in self._sources]
        return None if None in counts else sum(count for count in counts if count is not None)

    def __iter__(self) -> Iterator[Frame]:
        offset = 0.0
        for source in self._sources:
            due = offset
            for frame in source:
                due = offset + frame.time
                yield replace(frame, time=due)
            offset = due + 1.0 / source.rate


def open_source(text: str, *, rate: float | None = None, hold: float = 0.0) -> FrameSource:
    """
    Open what a user named.

    :param text: a video file, a picture, a directory of pictures, ``camera:0`` or ``/dev/video0``.
    :param rate: frames a second; None takes the source's own.
    :param hold: how long each picture of a directory is shown, s.
    :raises SourceError: if it cannot be read.
    :raises DatasetError: if a directory holds no picture.
    """
    camera = re.fullmatch(r'camera:(\d+)|(/dev/video\d+)', text)
    if camera:
        return Camera(camera[2] or int(camera[1]), rate=rate)
    path = Path(text)
    if path.is_dir():
        return Pictures.of_folder(path, rate=rate or DEFAULT_RATE, hold=hold)
    if path.is_file() and path.suffix.lower() in IMAGE_SUFFIXES:
        return Pictures([path], rate=rate or DEFAULT_RATE, hold=hold)
    return VideoFile(path, rate=rate)


def open_playlist(
    texts: Sequence[str], *, rate: float | None = None, hold: float = 0.0
) -> FrameSource:
    """Open one or several inputs, as :func:`open_source` does, to be played in turn."""
    if not texts:
        raise SourceError('no input is named; give a video, a directory, a camera or a bag')
    sources = [open_source(text, rate=rate, hold=hold) for text in texts]
    return sources[0] if len(sources) == 1 else Playlist(sources)


def _open_capture(device: int | str) -> cv2.VideoCapture:
    # OpenCV moved these functions between 4.6, which Ubuntu 24.04 has, and 4.7.
    logging: Any = getattr(cv2.utils, 'logging', cv2)
    level = logging.getLogLevel()
    logging.setLogLevel(SILENT)
    try:
        return cv2.VideoCapture(device)
    finally:
        logging.setLogLevel(level)
