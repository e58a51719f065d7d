# SPDX-License-Identifier: Apache-2.0
"""Score a network in training as users will run it: exported, and converted if it is for spikes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from snn_detector_ros.conversion import convert, read_onnx
from snn_detector_ros.datasets.labels import LabelledDataset
from snn_detector_ros.detection.detector import Detector
from snn_detector_ros.detection.types import Detections
from snn_detector_ros.engines.statistics import mean_firing
from snn_detector_ros.evaluation.float_detector import FloatDetector
from snn_detector_ros.evaluation.runner import DETECTOR_OPTIONS, Detect, evaluate
from snn_detector_ros.network.model_file import save

if TYPE_CHECKING:
    from snn_detector_ros.training.head import AnchorDetector
    from snn_detector_ros.training.level_steps import LevelSteps


def score(
    model: AnchorDetector, dataset: LabelledDataset, folder: Path, *, size: int, threads: int,
    levels: LevelSteps | None,
) -> dict[str, float]:
    """
    Score a network.

    :param model: the network.
    :param dataset: validation pictures.
    :param folder: the run folder, where the network is exported to.
    :param size: edge of the input in px.
    :param threads: threads of ONNX Runtime; 0 takes its default.
    :param levels: the conversion that it is trained for; None scores the float network.
    :returns: ``map50``, ``map`` and ``ap50`` of each class, and of a spiking network its
        ``firing_rate``: spikes per neuron and time step.
    """
    from snn_detector_ros.training.export import export_onnx

    file = folder / 'average.onnx'
    export_onnx(model, file, names=dataset.names, size=(size, size), training={})
    if levels is None:
        return _scores(FloatDetector(file, threads=threads, **DETECTOR_OPTIONS), dataset)
    spiking = folder / 'average_spikes.onnx'
    save(convert(read_onnx(file), levels.pictures, levels.options), spiking)
    detector = Detector(spiking, threads=threads, **DETECTOR_OPTIONS)
    frames = []

    def detect(image: NDArray[np.uint8]) -> Detections:
        found = detector(image)
        firing = detector.firing()
        assert firing is not None  # statistics are on
        frames.append(firing)
        return found

    scores = _scores(detect, dataset)
    return scores | {'firing_rate': round(mean_firing(frames).rate, 5)}


def _scores(detect: Detect, dataset: LabelledDataset) -> dict[str, float]:
    result = evaluate(detect, dataset)
    ap50 = {f'ap50_{one.name}': round(one.ap50, 4) for one in result.classes}
    return {'map50': round(result.map50, 4), 'map': round(result.map, 4), **ap50}
