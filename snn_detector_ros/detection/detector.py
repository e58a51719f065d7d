# SPDX-License-Identifier: Apache-2.0
"""
The whole way of a picture, without ROS: letterbox, spiking network, boxes in source pixels.

A window of events goes the same way to a network that was trained on events: it is drawn, bin by
bin, instead of being letterboxed.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from snn_detector_ros.detection.heads import MembraneDecoder
from snn_detector_ros.detection.letterbox import PADDING, Geometry, Letterbox, check_picture
from snn_detector_ros.detection.postprocess import to_detections
from snn_detector_ros.detection.types import Detections
from snn_detector_ros.engines import EngineOptions, FiringStatistics, choose_engine
from snn_detector_ros.engines.base import FittingEngine, StatefulEngine
from snn_detector_ros.engines.picture import Fit
from snn_detector_ros.errors import ConfigurationError, ImageError
from snn_detector_ros.events.binned_frames import binned_frames
from snn_detector_ros.events.representations import NO_EVENT
from snn_detector_ros.events.windows import Window
from snn_detector_ros.network import LifNetwork, SpikeCode
from snn_detector_ros.network.model_file import AnyNetwork, load
from snn_detector_ros.resources import DEFAULT_MODEL, resource

#: Stages of a frame, in order.
STAGES = ('preprocess', 'inference', 'postprocess')


@dataclass(frozen=True)
class FrameResult:
    """
    What became of one picture.

    :param detections: the objects found, best first.
    :param stages: seconds spent in each of :data:`STAGES`.
    """

    detections: Detections
    stages: dict[str, float]


class Detector:
    """
    Finds objects in pictures with a spiking network.

    Not thread-safe: one detector belongs to one thread at a time. The thresholds are plain
    attributes and may be changed between pictures.

    :param model: a model file, converted or of a network that was trained with spikes; None takes
        the shipped one.
    :param engine: ``auto``, or the name of an engine (:data:`snn_detector_ros.engines.ENGINES`).
    :param input_size: (height, width) of the network's input in px, multiples of its largest
        stride; None takes the model's own.
    :param score_threshold: least score of a detection, 0 to 1.
    :param iou_threshold: largest overlap (intersection over union) of two boxes of one class.
    :param max_detections: most detections of one picture.
    :param threads: threads of the engine; 0 takes one per physical core.
    :param spinning: let idle threads spin: faster on a quiet machine, slower on a shared one.
    :param statistics: keep what :meth:`firing` needs.
    :param carry_state: start each picture, or window, with the membranes that the one before left;
        only networks that were trained with spikes can.
    :raises ModelFileError: if the model cannot be read, or does not fit ``input_size``.
    :raises ConfigurationError: if an option cannot work, or the model has no detection head.
    :raises EngineError: if the engine cannot run the model on this machine.
    """

    def __init__(
        self,
        model: str | Path | None = None,
        *,
        engine: str = 'auto',
        input_size: tuple[int, int] | None = None,
        score_threshold: float = 0.25,
        iou_threshold: float = 0.45,
        max_detections: int = 100,
        threads: int = 0,
        spinning: bool = False,
        statistics: bool = True,
        carry_state: bool = False,
    ) -> None:
        path = resource(DEFAULT_MODEL) if model is None else Path(model)
        self.network: AnyNetwork = load(path)
        self.model_name = path.name
        self.model_hash = hashlib.sha256(path.read_bytes()).hexdigest()
        self.input_size = input_size or self.network.input_size
        self._check_input()
        self._decode = MembraneDecoder(self.network, self.input_size)
        choice = choose_engine(engine, self.network, EngineOptions(
            input_size=self.input_size, threads=threads, spinning=spinning, statistics=statistics,
            carry_state=carry_state, model_path=path))
        self._engine = choice.engine
        # Found out once: looking for the methods of a protocol is not for the path of a frame.
        self._fitting = choice.engine if isinstance(choice.engine, FittingEngine) else None
        #: Why this engine runs: as asked for, or what ``auto`` found here.
        self.engine_reason = choice.reason
        self._letterbox = Letterbox(self.input_size)
        self._statistics = statistics
        self.score_threshold = score_threshold
        self.iou_threshold = iou_threshold
        self.max_detections = max_detections

    @property
    def class_names(self) -> tuple[str, ...]:
        """Names of the classes, by index."""
        return self.network.class_names

    @property
    def code(self) -> SpikeCode:
        """The spike code of the network."""
        return self.network.code

    @property
    def reads_events(self) -> bool:
        """Whether the network was trained on windows of events, instead of pictures."""
        return isinstance(self.network, LifNetwork) and self.network.coding == 'binned'

    @property
    def engine_name(self) -> str:
        """Name of the engine in use."""
        return self._engine.name

    def __call__(self, image: NDArray[np.uint8], *, colour: str = 'bgr') -> Detections:
        """
        Return the objects in a picture; see :meth:`detect`.

        :raises ImageError: if the picture has a wrong type, shape or size.
        """
        return self.detect(image, colour=colour).detections

    def detect(self, image: NDArray[np.uint8], *, colour: str = 'bgr') -> FrameResult:
        """
        Find the objects in a picture, and take the time of each stage.

        :param image: uint8 [H, W, 3], or [H, W] for a grey picture.
        :param colour: order of the channels: ``bgr``, ``rgb`` or ``mono``.
        :raises ImageError: if the picture has a wrong type, shape or size, or the network was
            trained on events.
        """
        if self.reads_events:
            raise ImageError(f'{self.model_name} was trained on events: give it windows of events, '
                             'or choose a model for pictures')
        start = time.perf_counter()
        if self._fitting is not None:
            colour = check_picture(image, colour)
            height, width = image.shape[:2]
            geometry = Geometry.fit((height, width), self.input_size)
            fit = Fit(geometry.source_size, geometry.size, geometry.top, geometry.left, colour,
                      PADDING)
            return self._find(partial(self._fitting.run_picture, image, fit), geometry, start)
        pixels = self._letterbox(image, colour=colour)
        return self._find(partial(self._engine.run, pixels), self._letterbox.geometry, start)

    def detect_events(self, window: Window, sensor_size: tuple[int, int]) -> FrameResult:
        """
        Find the objects in a window of events, and take the time of each stage.

        :param window: events of as much time as the T bins had in training.
        :param sensor_size: (height, width) of the sensor in px.
        :returns: boxes in pixels of the sensor, at the end of the window.
        :raises ConfigurationError: if the network was not trained on events.
        """
        start = time.perf_counter()
        self._require_events()
        frames = binned_frames(window, self.code.steps, sensor_size, self.input_size)
        return self._find(partial(self._engine.run, frames[..., None]),
                          Geometry.fit(sensor_size, self.input_size), start)

    def detect_bins(self, frames: NDArray[np.uint8]) -> FrameResult:
        """
        Find the objects in the pictures of a window of events, oldest first.

        :param frames: uint8 [T, H, W, 1] of the detector's input size, as
            :func:`~snn_detector_ros.events.binned_frames.binned_frames` draws them.
        :returns: boxes in pixels of the pictures.
        :raises ConfigurationError: if the network was not trained on events.
        :raises ImageError: if the pictures have a wrong type or shape.
        """
        self._require_events()
        return self._find(
            partial(self._engine.run, frames), Geometry.fit(self.input_size, self.input_size),
            time.perf_counter())

    def reset(self) -> None:
        """Forget the membranes that earlier pictures, or windows, left."""
        if isinstance(self._engine, StatefulEngine):
            self._engine.reset()

    def firing(self) -> FiringStatistics | None:
        """Count the spikes of the last picture; None if the detector keeps no statistics."""
        return self._engine.firing() if self._statistics else None

    def warm_up(self) -> None:
        """Run one grey picture, or empty window, so that the first real one is not slower."""
        if self.reads_events:
            shape = (self.code.steps, *self.input_size, 1)
            self.detect_bins(np.full(shape, NO_EVENT, dtype=np.uint8))
        else:
            self.detect(np.full((*self.input_size, 3), PADDING, dtype=np.uint8))
        self.reset()

    def _find(
        self, run: Callable[[], Mapping[str, NDArray[Any]]], geometry: Geometry, start: float,
    ) -> FrameResult:
        """Run the network, and return what it found and the stages since ``start``."""
        stamps = [start, time.perf_counter()]
        readouts = run()
        stamps.append(time.perf_counter())
        detections = to_detections(
            self._decode(readouts, self.score_threshold), geometry, self.class_names,
            iou_threshold=self.iou_threshold, max_detections=self.max_detections)
        stamps.append(time.perf_counter())
        return FrameResult(detections, dict(zip(
            STAGES, np.diff(stamps).tolist(), strict=True)))

    def _require_events(self) -> None:
        if not self.reads_events:
            raise ConfigurationError(f'{self.model_name} was not trained on windows of events: '
                                     'draw them as pictures, or choose another model')

    def _check_input(self) -> None:
        channels = self.network.image_channels
        if channels != (1 if self.reads_events else 3):
            raise ConfigurationError(
                f'{self.model_name} reads {channels} channels; only networks for colour pictures, '
                'or for events in one channel, can be used')
        stride = self.network.head.stride if self.network.head else 1
        if any(side < stride or side % stride for side in self.input_size):
            height, width = self.input_size
            raise ConfigurationError(f'input size {height}x{width}: both sides must be multiples '
                                     f'of {stride}, the largest stride of {self.model_name}')
