# SPDX-License-Identifier: Apache-2.0
"""How much a network fires on sample pictures; for the commands that report it."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from snn_detector_ros.datasets.image_folder import read_bgr
from snn_detector_ros.detection.letterbox import Letterbox
from snn_detector_ros.engines import FiringStatistics, make_engine
from snn_detector_ros.network.model_file import AnyNetwork


def measure(network: AnyNetwork, pictures: Iterable[Path]) -> list[FiringStatistics]:
    """Return the firing statistics of each picture file."""
    engine = make_engine('auto', network)
    letterbox = Letterbox(engine.input_size)
    frames = []
    for path in pictures:
        engine.run(letterbox(read_bgr(path)))
        frames.append(engine.firing())
    return frames
