# SPDX-License-Identifier: Apache-2.0
"""The declared description of a detection head: how readout membranes become boxes."""

from __future__ import annotations

from dataclasses import dataclass


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
class YoloV5Head:
    """
    The YOLOv5 (v6) Detect head.

    ``xy = (2 sigmoid - 0.5 + cell) * stride``, ``wh = (2 sigmoid)^2 * anchor``,
    ``score = sigmoid(objectness) * sigmoid(class)``.

    :param levels: the scales, finest first.
    """

    levels: tuple[HeadLevel, ...]
