# SPDX-License-Identifier: Apache-2.0
"""What all experiments of a study share: the pictures, the classes, and how networks are run."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from snn_detector_ros.conversion.calibration import Pictures
from snn_detector_ros.datasets.image_folder import read_bgr
from snn_detector_ros.datasets.labels import LabelledDataset, limited
from snn_detector_ros.detection.heads import MembraneDecoder
from snn_detector_ros.detection.letterbox import Letterbox
from snn_detector_ros.detection.postprocess import to_detections
from snn_detector_ros.detection.types import Detections
from snn_detector_ros.engines.base import Engine
from snn_detector_ros.engines.concurrent import ConcurrentEngine
from snn_detector_ros.evaluation.comparison import Comparison, compare
from snn_detector_ros.evaluation.contestants import Contestant, from_network
from snn_detector_ros.evaluation.runner import (
    DETECTOR_OPTIONS,
    EvaluationResult,
    Progress,
    evaluate,
)
from snn_detector_ros.network import SpikingNetwork


@dataclass(frozen=True, eq=False)
class Bench:
    """
    The conditions that are equal for all networks of a study.

    :param dataset: the labelled pictures.
    :param slow_limit: how many of them the engines that run every time step get to see.
    :param calibration: makes the calibration pictures of an input size.
    :param classes: names of the classes to look at; all if None.
    :param threads: threads of the engines; 0 takes their default.
    :param progress: makes what shows how far a network is, from its name.
    """

    dataset: LabelledDataset
    slow_limit: int
    calibration: Callable[[tuple[int, int]], Pictures]
    classes: Sequence[str] | None = None
    threads: int = 0
    progress: Callable[[str], Progress] = field(default=lambda name: iter)

    @property
    def few(self) -> LabelledDataset:
        """The pictures for the slow engines."""
        return limited(self.dataset, self.slow_limit)

    def compare(self, networks: Mapping[str, SpikingNetwork], *floats: Contestant) -> Comparison:
        """Evaluate networks in one pass a picture, after the given float detectors."""
        contestants = [*floats, *(
            from_network(network, name, threads=self.threads)
            for name, network in networks.items())]
        return compare(
            contestants, self.dataset, classes=self.classes, progress=self.progress)

    def evaluate(self, detect: Callable[[NDArray[np.uint8]], Detections],
                 name: str) -> EvaluationResult:
        """Evaluate one detector on the few pictures."""
        return evaluate(detect, self.few, classes=self.classes, progress=self.progress(name))


class EngineDetector:
    """
    A detector around an engine that is at hand, for engines that have no name of their own.

    :param engine: runs a network with a detection head.
    """

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.letterbox = Letterbox(engine.input_size)
        self._decode = MembraneDecoder(engine.network, engine.input_size)

    def __call__(self, image: NDArray[np.uint8]) -> Detections:
        """Return the objects in a picture, uint8 [H, W, 3] blue-green-red."""
        return self.detections(self.engine.run(self.letterbox(image)))

    def detections(self, sums: Mapping[str, NDArray[Any]]) -> Detections:
        """Return the objects that outputs stand for, in the picture letterboxed last."""
        return to_detections(
            self._decode(sums, DETECTOR_OPTIONS['score_threshold']), self.letterbox.geometry,
            self.engine.network.class_names, iou_threshold=DETECTOR_OPTIONS['iou_threshold'],
            max_detections=DETECTOR_OPTIONS['max_detections'])


@dataclass(frozen=True)
class CurvePoint:
    """
    What a rate code had reached after some steps.

    :param map50: mean average precision at an overlap of 0.5.
    :param spikes: spikes of a frame until then, in the mean over the pictures.
    """

    map50: float
    spikes: float


def rate_curve(
    bench: Bench, network: SpikingNetwork, steps: Sequence[int], name: str,
) -> dict[int, CurvePoint]:
    """
    Run a Spiking-YOLO network on the few pictures, and read it after several numbers of steps.

    :param network: of concurrent dynamics and ``max(steps)`` steps.
    :param steps: increasing divisors of ``max(steps)``.
    :param name: for the progress.
    :returns: the point reached after each number of steps.
    """
    engine = ConcurrentEngine(network, threads=bench.threads)
    detector = EngineDetector(engine)
    found: dict[int, list[Detections]] = {step: [] for step in steps}
    spikes = dict.fromkeys(steps, 0.0)
    for sample in bench.progress(name)(bench.few):
        pixels = detector.letterbox(read_bgr(sample.path))
        for step, sums in engine.curve(pixels, steps):
            found[step].append(detector.detections(sums))
            spikes[step] += float(engine.firing().spikes_per_step.sum())
    return {step: CurvePoint(_score(bench, seen).map50, spikes[step] / len(seen))
            for step, seen in found.items()}


def _score(bench: Bench, found: Sequence[Detections]) -> EvaluationResult:
    """Score what was found in the few pictures."""
    remembered = iter(found)
    return evaluate(lambda _: next(remembered), bench.few, classes=bench.classes)
