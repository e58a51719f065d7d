# SPDX-License-Identifier: Apache-2.0
"""
The declared descriptions of detection heads: how the readouts of a network become boxes.

A head is data. What it computes stands in its docstring and, once, in its decoder; see
docs/conversion.md for how to add one. All positions are those of a cell (column, row) of a readout.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, TypeAlias


@dataclass(frozen=True)
class HeadLevel:
    """
    One scale of an anchor head.

    :param readout: name of the readout convolution, whose channels are ``anchors * (5 + classes)``.
    :param stride: input pixels per cell.
    :param anchors: (width, height) of each anchor in input pixels.
    """

    readout: str
    stride: int
    anchors: tuple[tuple[float, float], ...]


@dataclass(frozen=True)
class _AnchorHead:
    """
    What heads with anchors share.

    :param levels: the scales, finest first.
    """

    levels: tuple[HeadLevel, ...]

    @property
    def readouts(self) -> tuple[str, ...]:
        """The readouts that the head reads."""
        return tuple(level.readout for level in self.levels)

    @property
    def stride(self) -> int:
        """Sides of the input must be multiples of this many px."""
        return max((level.stride for level in self.levels), default=1)

    def channels(self, classes: int) -> Mapping[str, int]:
        """Return how many channels each readout has."""
        return {level.readout: len(level.anchors) * (5 + classes) for level in self.levels}


@dataclass(frozen=True)
class YoloV5Head(_AnchorHead):
    """
    The YOLOv5 (v6) Detect head.

    ``xy = (2 sigmoid - 0.5 + cell) * stride``, ``wh = (2 sigmoid)^2 * anchor``,
    ``score = sigmoid(objectness) * sigmoid(class)``.
    """

    kind: ClassVar[str] = 'yolov5'


@dataclass(frozen=True)
class YoloV3Head(_AnchorHead):
    """
    The head of YOLOv3, YOLOv4, their Tiny versions and Yolo-Fastest; with softmax, of YOLOv2.

    ``xy = (s * sigmoid - (s - 1) / 2 + cell) * stride`` with s the ``scale_xy`` of YOLOv4,
    ``wh = exp * anchor``, ``score = sigmoid(objectness) * sigmoid(class)``.

    :param scale_xy: 1 in YOLOv3; 1.05 to 1.2 in YOLOv4.
    :param softmax: whether the classes exclude each other, as in YOLOv2.
    """

    scale_xy: float = 1.0
    softmax: bool = False
    kind: ClassVar[str] = 'yolov3'


@dataclass(frozen=True)
class FastestDetHead:
    """
    The anchor-free head of FastestDet, one box a cell.

    ``xy = (tanh + cell) * stride``, ``wh = sigmoid * input size``,
    ``score = sigmoid(objectness)^0.6 * softmax(class)^0.4``.

    :param objectness: readout of one channel.
    :param box: readout of four channels: x, y, width, height.
    :param classes: readout of one channel a class.
    :param stride: input pixels per cell.
    """

    objectness: str
    box: str
    classes: str
    stride: int
    kind: ClassVar[str] = 'fastestdet'

    @property
    def readouts(self) -> tuple[str, ...]:
        """The readouts that the head reads."""
        return self.objectness, self.box, self.classes

    def channels(self, classes: int) -> Mapping[str, int]:
        """Return how many channels each readout has."""
        return {self.objectness: 1, self.box: 4, self.classes: classes}


@dataclass(frozen=True)
class PriorLevel:
    """
    One scale of a head with prior boxes.

    :param scores: readout of ``priors * (1 + classes)`` channels; the first is the background.
    :param boxes: readout of ``priors * 4`` channels.
    :param stride: input pixels per cell.
    :param priors: (width, height) of each prior box in input pixels.
    """

    scores: str
    boxes: str
    stride: int
    priors: tuple[tuple[float, float], ...]


@dataclass(frozen=True)
class SsdHead:
    """
    The head of SSD and UltraFace: offsets to prior boxes in the middle of each cell.

    ``xy = prior + centre_variance * offset * prior size``,
    ``wh = prior size * exp(size_variance * offset)``, ``score = softmax(class)``. Prior centres are
    ``(cell + 0.5) * input size / map size``.

    :param levels: the scales, finest first.
    """

    levels: tuple[PriorLevel, ...]
    centre_variance: float = 0.1
    size_variance: float = 0.2
    kind: ClassVar[str] = 'ssd'

    @property
    def readouts(self) -> tuple[str, ...]:
        """The readouts that the head reads."""
        return tuple(name for level in self.levels for name in (level.scores, level.boxes))

    @property
    def stride(self) -> int:
        """Sides of the input may be any: priors follow the size of the maps."""
        return 1

    def channels(self, classes: int) -> Mapping[str, int]:
        """Return how many channels each readout has."""
        return {
            **{level.scores: len(level.priors) * (1 + classes) for level in self.levels},
            **{level.boxes: len(level.priors) * 4 for level in self.levels}}


@dataclass(frozen=True)
class RawHead:
    """
    The float network's own outputs: what follows its last convolutions, kept as it was.

    :param tail: ONNX model from the readouts (float32 [1, C, h, w]) to the outputs, for one input
        size and in float.
    :param inputs: tensor of the tail that each readout is.
    :param batch: pictures in one run of the float network; each is the same here.
    """

    tail: bytes
    inputs: Mapping[str, str]
    batch: int = 1
    kind: ClassVar[str] = 'raw'

    @property
    def readouts(self) -> tuple[str, ...]:
        """The readouts that the tail reads."""
        return tuple(self.inputs)

    @property
    def stride(self) -> int:
        """The input size is fixed."""
        return 1

    def channels(self, classes: int) -> Mapping[str, int]:
        """Return how many channels each readout has: anything."""
        return {}


#: Heads that become boxes.
BoxHead: TypeAlias = YoloV5Head | YoloV3Head | FastestDetHead | SsdHead
Head: TypeAlias = BoxHead | RawHead
