# SPDX-License-Identifier: Apache-2.0
"""
Tiny YOLO: a plain stack of 3x3 convolutions and max pools, as Spiking-YOLO converts it.

The layout is that of YOLOv3-tiny (Redmon and Farhadi 2018), with two changes: the 2x2 pool of step
1, whose one-sided padding few runtimes share, is left out; and the head is the one of YOLOv5, so
that the same loss, export and decoding serve.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from snn_detector_ros.training.blocks import ConvBnRelu
from snn_detector_ros.training.head import AnchorDetector, Detect

#: Output channels of the 3x3 convolutions of the backbone, at width 1.
BACKBONE = (16, 32, 64, 128, 256, 512, 1024)


class TinyYolo(AnchorDetector):
    """YOLOv3-tiny with the head of YOLOv5."""

    def __init__(
            self, class_count: int, anchors: Sequence[Sequence[tuple[float, float]]], *,
            width: float, slope: float) -> None:
        """
        Create the network with random weights.

        :param class_count: number of classes.
        :param anchors: width and height in px, [2 levels][anchors a level].
        :param width: multiple of the channels of YOLOv3-tiny.
        :param slope: of the activations below zero: 0.1 in the original, 0 for ReLU.
        """
        super().__init__()
        c0, c1, c2, c3, c4, c5, c6 = (round(c * width) for c in BACKBONE)

        def conv(inputs: int, outputs: int, kernel: int = 3) -> ConvBnRelu:
            return ConvBnRelu(inputs, outputs, kernel, slope=slope)

        self.pool = nn.MaxPool2d(2, 2)
        self.to_p4 = nn.Sequential(
            conv(3, c0), self.pool, conv(c0, c1), self.pool, conv(c1, c2), self.pool,
            conv(c2, c3), self.pool, conv(c3, c4))
        self.to_p5 = nn.Sequential(self.pool, conv(c4, c5), conv(c5, c6), conv(c6, c4, 1))
        self.lateral5 = conv(c4, c3, 1)
        self.upsample = nn.Upsample(scale_factor=2, mode='nearest')
        self.out4 = conv(c3 + c4, c4)
        self.out5 = conv(c4, c5)
        self.head = Detect(class_count, anchors, (c4, c5))

    def forward(self, x: Tensor) -> list[Tensor]:
        """
        Compute the raw maps of a batch.

        :param x: float [N, 3, H, W], red, green, blue in 0..1; H and W multiples of 32.
        :returns: tensors [N, anchors, H / s, W / s, 5 + classes] for the strides s of 16 and 32.
        """
        p4 = self.to_p4(x)
        p5 = self.to_p5(p4)
        n4 = self.out4(torch.cat((self.upsample(self.lateral5(p5)), p4), 1))
        maps: list[Tensor] = self.head((n4, self.out5(p5)))
        return maps
