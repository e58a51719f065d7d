# SPDX-License-Identifier: Apache-2.0
"""Labelled windows of events, real ones and simulated ones, and how a detector looks at them."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from snn_detector_ros.datasets.image_folder import evenly_spread
from snn_detector_ros.datasets.labelled_events import read_labelled_events
from snn_detector_ros.datasets.labels import LabelledDataset
from snn_detector_ros.datasets.simulated_windows import (
    Boxes,
    EventWindowOptions,
    fixed_window,
    largest_side,
    read_grey,
)
from snn_detector_ros.detection.detector import Detector
from snn_detector_ros.detection.types import Detections
from snn_detector_ros.errors import ConfigurationError
from snn_detector_ros.evaluation.coco import GroundTruth
from snn_detector_ros.events.windows import Window
from snn_detector_ros.network.model_file import AnyNetwork

#: What an exported network says about its windows; the time of a bin is in ms.
_WINDOW_NOTE = re.compile(r'\d+ bins of (\d+(?:\.\d+)?) ms')


@dataclass(frozen=True, eq=False)
class RealSample:
    """
    A window of a camera.

    :param truth: the objects at its end, in px of the sensor.
    :param sensor: (height, width) in px.
    """

    truth: GroundTruth
    window: Window
    sensor: tuple[int, int]

    def found_by(self, detector: Detector) -> Detections:
        """Return the detections in px of the sensor."""
        return detector.detect_events(self.window, self.sensor).detections


@dataclass(frozen=True, eq=False)
class SimulatedSample:
    """
    A window that was drawn without a camera.

    :param truth: the objects at its end, in px of the frames.
    :param frames: uint8 [T, H, W].
    """

    truth: GroundTruth
    frames: NDArray[np.uint8]

    def found_by(self, detector: Detector) -> Detections:
        """Return the detections in px of the frames."""
        return detector.detect_bins(self.frames[..., None]).detections


EventSample: TypeAlias = RealSample | SimulatedSample


def real_samples(
    folder: str | Path, sensor: tuple[int, int], class_count: int, *, limit: int | None = None,
) -> list[RealSample]:
    """
    Read the labelled windows of a folder.

    :param limit: most windows, evenly spread; all if None. Else see
        :func:`~snn_detector_ros.datasets.labelled_events.read_labelled_events`.
    """
    scale = np.array(sensor[::-1] * 2, np.float32)
    windows = read_labelled_events(folder, sensor, class_count)
    return [RealSample(GroundTruth(one.boxes * scale, one.classes), one.window, sensor)
            for one in evenly_spread(windows, len(windows) if limit is None else limit)]


def simulated_samples(
    dataset: LabelledDataset, size: tuple[int, int], options: EventWindowOptions, *,
    limit: int | None = None, progress: Callable[[Iterable[int]], Iterable[int]] = iter,
) -> list[SimulatedSample]:
    """
    Simulate the fixed window of each picture, as training does of its validation split.

    :param size: (height, width) of the frames in px.
    :param options: what windows look like.
    :param limit: most pictures, evenly spread; all if None. A picture's window stays the same.
    :param progress: shows how far the work is.
    :raises DatasetError: if a picture cannot be read.
    """
    count = len(dataset)
    chosen = evenly_spread(range(count), count if limit is None else limit)
    return [simulated_sample(*fixed_window(
        read_grey(dataset[index], largest_side(size[1])), index, size, options))
        for index in progress(chosen)]


def simulated_sample(frames: NDArray[np.uint8], labels: Boxes) -> SimulatedSample:
    """
    Return a sample of what was simulated.

    :param frames: uint8 [T, H, W].
    :param labels: float32 [N, 5] class, cx, cy, w, h (0..1).
    """
    half = labels[:, 3:5] / 2
    corners = np.concatenate((labels[:, 1:3] - half, labels[:, 1:3] + half), 1)
    scale = np.tile(frames.shape[:0:-1], 2)
    return SimulatedSample(
        GroundTruth((corners * scale).astype(np.float32), labels[:, 0].astype(np.int64)), frames)


def bin_length(network: AnyNetwork) -> int:
    """
    Return the time of a bin in us, as the export noted it.

    :raises ConfigurationError: if the file does not say.
    """
    note = network.provenance.get('window', '')
    match = _WINDOW_NOTE.fullmatch(note)
    if match is None:
        raise ConfigurationError(
            f'network {network.name!r} does not say how long the bins of its windows are '
            f'(window: {note or "nothing"}): give --bin-length')
    return round(float(match[1]) * 1000)
