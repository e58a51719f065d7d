# SPDX-License-Identifier: Apache-2.0
"""The whole way of a picture, without ROS: letterbox, spiking network, boxes in source pixels."""

from __future__ import annotations

import hashlib
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from snn_detector_ros.detection.heads import MembraneDecoder
from snn_detector_ros.detection.letterbox import PADDING, Letterbox
from snn_detector_ros.detection.postprocess import to_detections
from snn_detector_ros.detection.types import Detections
from snn_detector_ros.engines import FiringStatistics, make_engine
from snn_detector_ros.errors import ConfigurationError
from snn_detector_ros.network import SpikeCode, SpikingNetwork
from snn_detector_ros.network.model_file import load
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

    :param model: a model file made by ``snn-detector convert``; None takes the shipped one.
    :param engine: ``auto``, or the name of an engine (:data:`snn_detector_ros.engines.ENGINES`).
    :param input_size: (height, width) of the network's input in px, multiples of its largest
        stride; None takes the model's own.
    :param score_threshold: least score of a detection, 0 to 1.
    :param iou_threshold: largest overlap (intersection over union) of two boxes of one class.
    :param max_detections: most detections of one picture.
    :param threads: threads of the engine; 0 takes one per physical core.
    :param spinning: let idle threads spin: faster on a quiet machine, slower on a shared one.
    :param statistics: keep what :meth:`firing` needs.
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
    ) -> None:
        path = resource(DEFAULT_MODEL) if model is None else Path(model)
        self.network: SpikingNetwork = load(path)
        self.model_name = path.name
        self.model_hash = hashlib.sha256(path.read_bytes()).hexdigest()
        self.input_size = input_size or self.network.input_size
        self._check_input()
        self._decode = MembraneDecoder(self.network)
        self._engine = make_engine(engine, self.network, input_size=self.input_size,
                                   threads=threads, spinning=spinning, statistics=statistics)
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
        :raises ImageError: if the picture has a wrong type, shape or size.
        """
        stamps = [time.perf_counter()]
        pixels = self._letterbox(image, colour=colour)
        stamps.append(time.perf_counter())
        sums = self._engine.run(pixels)
        stamps.append(time.perf_counter())
        detections = to_detections(
            self._decode(sums, self.score_threshold), self._letterbox.geometry, self.class_names,
            iou_threshold=self.iou_threshold, max_detections=self.max_detections)
        stamps.append(time.perf_counter())
        return FrameResult(detections, dict(zip(
            STAGES, np.diff(stamps).tolist(), strict=True)))

    def firing(self) -> FiringStatistics | None:
        """Count the spikes of the last picture; None if the detector keeps no statistics."""
        return self._engine.firing() if self._statistics else None

    def warm_up(self) -> None:
        """Run one grey picture, so that the first real one is as fast as the rest."""
        self.detect(np.full((*self.input_size, 3), PADDING, dtype=np.uint8))

    def _check_input(self) -> None:
        if self.network.image_channels != 3:
            raise ConfigurationError(f'{self.model_name} reads {self.network.image_channels} '
                                     'channels; only networks for colour pictures can be used')
        head = self.network.head
        stride = max((level.stride for level in head.levels), default=1) if head else 1
        if any(side < stride or side % stride for side in self.input_size):
            height, width = self.input_size
            raise ConfigurationError(f'input size {height}x{width}: both sides must be multiples '
                                     f'of {stride}, the largest stride of {self.model_name}')
