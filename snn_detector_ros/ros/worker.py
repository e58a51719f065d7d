# SPDX-License-Identifier: Apache-2.0
"""The thread that takes the newest image, or window of events, and makes detections of it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial
from typing import Protocol

from rclpy.clock import Clock
from std_msgs.msg import Header

from snn_detector_ros.detection.detector import Detector
from snn_detector_ros.detection.types import Detections
from snn_detector_ros.errors import SnnDetectorError
from snn_detector_ros.ros import monitor
from snn_detector_ros.ros.cv_bridge_adapter import ImageReader
from snn_detector_ros.ros.frames import EventFrame, Frame
from snn_detector_ros.ros.images import Picture, UnreadableImageError
from snn_detector_ros.ros.mailbox import Mailbox
from snn_detector_ros.ros.monitor import Monitor
from snn_detector_ros.ros.outputs import Outputs
from snn_detector_ros.ros.parameters import Settings


@dataclass(frozen=True)
class Job:
    """What a frame is processed with; replaced as a whole, so a frame never sees half a change."""

    detector: Detector
    settings: Settings
    reader: ImageReader


class Logger(Protocol):
    """The part of a node's logger that the worker needs."""

    def error(self, message: str, *, throttle_duration_sec: float) -> bool: ...


class Worker:
    """
    Works on the newest image until it is stopped.

    :param job: gives the detector and settings for the next frame.
    :param clock: the clock of the node, which image stamps are compared with.
    :param on_crash: called with an error that nobody expected; the worker goes on.
    """

    def __init__(
        self,
        job: Callable[[], Job],
        outputs: Outputs,
        monitor: Monitor,
        *,
        clock: Clock,
        logger: Logger,
        on_crash: Callable[[Exception], None],
    ) -> None:
        self._job = job
        self._outputs = outputs
        self._monitor = monitor
        self._clock = clock
        self._logger = logger
        self._on_crash = on_crash
        self._mailbox: Mailbox[Frame] = Mailbox()
        self._thread = threading.Thread(target=self._run, name='detector', daemon=True)
        self._thread.start()

    def submit(self, frame: Frame) -> None:
        """Hand over an image; one that still waits is dropped for it."""
        if self._mailbox.put(frame):
            self._monitor.count(monitor.REPLACED)

    def stop(self) -> None:
        """Finish the image at hand, and end the thread."""
        self._mailbox.close()
        self._thread.join()

    def _run(self) -> None:
        while (frame := self._mailbox.take()) is not None:
            job = self._job()
            try:
                picture, detections = self._detect(frame, job)
            except _TooOldError:
                self._monitor.count(monitor.TOO_OLD)
                continue
            except UnreadableImageError as error:
                self._drop(monitor.BAD_IMAGE + error.cause, error)
                continue
            except SnnDetectorError as error:
                self._drop(monitor.FAILED + type(error).__name__, error)
                continue
            except Exception as error:
                self._monitor.count(monitor.CRASHED + type(error).__name__)
                self._on_crash(error)
                continue
            try:
                self._afterwards(frame, job, picture, detections)
            except Exception as error:
                self._monitor.count(monitor.AFTERWARDS + type(error).__name__)
                self._on_crash(error)

    def _drop(self, cause: str, error: SnnDetectorError) -> None:
        self._monitor.count(cause)
        self._logger.error(f'image dropped: {error}', throttle_duration_sec=5.0)

    def _detect(self, frame: Frame, job: Job) -> tuple[Callable[[], Picture], Detections]:
        """
        Publish the detections of an image and the times that they took.

        :returns: what gives the picture for people, which a network of events does not look at.
        """
        stamps = [time.perf_counter()]
        wait = (time.time_ns() - frame.received) / 1e6
        header, settings, detector = frame.header, job.settings, job.detector
        if settings.max_age > 0 and self._age(header) > 1e3 * settings.max_age:
            raise _TooOldError
        picture = cache(partial(frame.read, settings, job.reader))
        window = frame.window if isinstance(frame, EventFrame) and detector.reads_events else None
        if window is None:
            picture()
        stamps.append(time.perf_counter())
        detector.score_threshold = settings.score_threshold
        detector.iou_threshold = settings.iou_threshold
        detector.max_detections = settings.max_detections
        if window is None:
            result = detector.detect(picture().pixels, colour=picture().colour)
        else:
            result = detector.detect_events(window.window, window.sensor_size)
        stamps.append(time.perf_counter())
        self._outputs.publish_detections(result.detections, header, settings)
        stamps.append(time.perf_counter())

        taken, converted, detected, published = (1e3 * stamp for stamp in stamps)
        times = {
            'wait': wait,
            'convert': converted - taken,
            **{stage: 1e3 * seconds for stage, seconds in result.stages.items()},
            'publish': published - detected,
            'compute': published - taken,
            'age': self._age(header)}
        if frame.sent:
            times['transport'] = (frame.received - frame.sent) / 1e6
        self._monitor.processed(times)
        return picture, result.detections

    def _afterwards(
        self, frame: Frame, job: Job, picture: Callable[[], Picture], detections: Detections
    ) -> None:
        """Do what nobody waits for: count spikes, draw."""
        firing = job.detector.firing()
        if firing is not None:
            self._monitor.fired(firing)
        self._outputs.publish_drawings(detections, picture, frame.header, job.settings)

    def _age(self, header: Header) -> float:
        """Return the age of an image on the clock of the node, in ms."""
        stamp = header.stamp.sec * 1_000_000_000 + header.stamp.nanosec
        return (self._clock.now().nanoseconds - stamp) / 1e6


class _TooOldError(Exception):
    """The image is older than `max_age`."""
