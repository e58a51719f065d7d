# SPDX-License-Identifier: Apache-2.0
"""The detectors that can be trained, by the name that a user types."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TypeAlias

from snn_detector_ros.training.anchors import Anchors
from snn_detector_ros.training.head import AnchorDetector
from snn_detector_ros.training.tiny_yolo import TinyYolo
from snn_detector_ros.training.yolov5 import YoloV5

Build: TypeAlias = Callable[[int, Sequence[Sequence[tuple[float, float]]]], AnchorDetector]


@dataclass(frozen=True)
class Architecture:
    """
    How a detector is made.

    :param build: makes one from the number of classes and the anchors.
    :param levels: how many maps its head has.
    """

    build: Build
    levels: int = 3


MODELS = {
    'yolov5n-relu': Architecture(partial(YoloV5, depth=1 / 3, width=0.25)),
    'yolov5s-relu': Architecture(partial(YoloV5, depth=1 / 3, width=0.5)),
    'tiny-yolo-leaky': Architecture(partial(TinyYolo, width=0.5, slope=0.1), levels=2),
    'tiny-yolo-relu': Architecture(partial(TinyYolo, width=0.5, slope=0.0), levels=2),
}


def create_model(name: str, class_count: int, anchors: Anchors) -> AnchorDetector:
    """
    Make a detector with random weights.

    :param name: a key of ``MODELS``.
    :param class_count: number of classes.
    :param anchors: width and height in px, [levels][anchors a level].
    """
    return MODELS[name].build(class_count, anchors)
