# SPDX-License-Identifier: Apache-2.0
"""The YOLOv5 v6 detector with ReLU: backbone, feature pyramid, path aggregation, anchor head."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from snn_detector_ros.training.blocks import C3, SPPF, ConvBnRelu
from snn_detector_ros.training.head import AnchorDetector, Detect


class YoloV5(AnchorDetector):
    """YOLOv5 v6 with ReLU; ``forward`` gives raw maps, ``BoxDecoder`` makes boxes of them."""

    def __init__(
            self, class_count: int, anchors: Sequence[Sequence[tuple[float, float]]], *,
            depth: float, width: float) -> None:
        """
        Create the network with random weights.

        :param class_count: number of classes.
        :param anchors: width and height in px, [3 levels][anchors a level].
        :param depth: multiple of the bottlenecks of YOLOv5l.
        :param width: multiple of its channels.
        """
        super().__init__()
        c1, c2, c3, c4, c5 = (
            math.ceil(c * width / 8) * 8 for c in (64, 128, 256, 512, 1024))
        d1, d2, d3 = (max(round(d * depth), 1) for d in (3, 6, 9))
        self.to_p3 = nn.Sequential(
            ConvBnRelu(3, c1, 6, 2, 2), ConvBnRelu(c1, c2, 3, 2), C3(c2, c2, d1),
            ConvBnRelu(c2, c3, 3, 2), C3(c3, c3, d2))
        self.to_p4 = nn.Sequential(ConvBnRelu(c3, c4, 3, 2), C3(c4, c4, d3))
        self.to_p5 = nn.Sequential(ConvBnRelu(c4, c5, 3, 2), C3(c5, c5, d1), SPPF(c5, c5))
        self.lateral5 = ConvBnRelu(c5, c4)
        self.merge4 = C3(2 * c4, c4, d1, shortcut=False)
        self.lateral4 = ConvBnRelu(c4, c3)
        self.merge3 = C3(2 * c3, c3, d1, shortcut=False)
        self.down3 = ConvBnRelu(c3, c3, 3, 2)
        self.out4 = C3(2 * c3, c4, d1, shortcut=False)
        self.down4 = ConvBnRelu(c4, c4, 3, 2)
        self.out5 = C3(2 * c4, c5, d1, shortcut=False)
        self.upsample = nn.Upsample(scale_factor=2, mode='nearest')
        self.head = Detect(class_count, anchors, (c3, c4, c5))

    def forward(self, x: Tensor) -> list[Tensor]:
        """
        Compute the raw maps of a batch.

        :param x: float [N, 3, H, W], red, green, blue in 0..1; H and W multiples of 32.
        :returns: three tensors [N, anchors, H / s, W / s, 5 + classes] for s in ``STRIDES``.
        """
        p3 = self.to_p3(x)
        p4 = self.to_p4(p3)
        side5 = self.lateral5(self.to_p5(p4))
        side4 = self.lateral4(self.merge4(torch.cat((self.upsample(side5), p4), 1)))
        n3 = self.merge3(torch.cat((self.upsample(side4), p3), 1))
        n4 = self.out4(torch.cat((self.down3(n3), side4), 1))
        n5 = self.out5(torch.cat((self.down4(n4), side5), 1))
        maps: list[Tensor] = self.head((n3, n4, n5))
        return maps
