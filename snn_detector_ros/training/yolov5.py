# SPDX-License-Identifier: Apache-2.0
"""The YOLOv5 v6 detector with ReLU: backbone, feature pyramid, path aggregation, anchor head."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from snn_detector_ros.training.blocks import C3, SPPF, ConvBnRelu

STRIDES = (8, 16, 32)


@dataclass(frozen=True)
class Scale:
    """Depth and width multiples of a YOLOv5 size."""

    depth: float
    width: float


SCALES = {
    'yolov5n-relu': Scale(depth=1 / 3, width=0.25),
    'yolov5s-relu': Scale(depth=1 / 3, width=0.5),
}


class Detect(nn.Module):
    """Anchor head: one 1x1 convolution a level."""

    anchors: Tensor

    def __init__(
            self, class_count: int, anchors: Sequence[Sequence[tuple[float, float]]],
            channels: Sequence[int]) -> None:
        """
        Create the head with the usual prior: few cells hold an object.

        :param class_count: number of classes.
        :param anchors: width and height in px, [levels][anchors a level].
        :param channels: input channels of each level.
        """
        super().__init__()
        self.outputs = class_count + 5
        self.register_buffer('anchors', torch.tensor(anchors, dtype=torch.float32))
        self.anchor_count = len(anchors[0])
        self.m = nn.ModuleList(
            nn.Conv2d(c, self.outputs * self.anchor_count, 1) for c in channels)
        for layer, stride in zip(self.m, STRIDES, strict=True):
            assert isinstance(layer, nn.Conv2d) and layer.bias is not None
            bias = layer.bias.data.view(self.anchor_count, self.outputs)
            # About 8 objects in a picture of 640 px; each class equally likely at first.
            bias[:, 4] += math.log(8 / (640 / stride) ** 2)
            bias[:, 5:] += math.log(0.6 / (class_count - 0.99))

    def forward(self, features: Sequence[Tensor]) -> list[Tensor]:
        """
        Compute the raw maps.

        :param features: one [N, C, h, w] a level.
        :returns: one [N, anchors, h, w, 5 + classes] a level, logits.
        """
        maps = []
        for layer, feature in zip(self.m, features, strict=True):
            y = layer(feature)
            n, _, h, w = y.shape
            y = y.view(n, self.anchor_count, self.outputs, h, w)
            maps.append(y.permute(0, 1, 3, 4, 2).contiguous())
        return maps


class BoxDecoder(nn.Module):
    """
    Turn raw maps into boxes, with the operators that the published YOLOv5 export uses.

    Cell positions and anchors are constants of one input size: computed in ``forward`` they would
    be exported as operators.
    """

    def __init__(self, anchors: Tensor, size: tuple[int, int]) -> None:
        """
        Prepare for one input size.

        :param anchors: float [levels, anchors, 2], px.
        :param size: height and width of the input in px, multiples of the largest stride.
        """
        super().__init__()
        self.shapes: list[tuple[int, ...]] = []
        for level, stride in enumerate(STRIDES):
            shape = (1, len(anchors[level]), size[0] // stride, size[1] // stride, 2)
            y, x = torch.meshgrid(
                torch.arange(shape[2]), torch.arange(shape[3]), indexing='ij')
            self.register_buffer(
                f'cells{level}', (torch.stack((x, y), 2).float() - 0.5).expand(shape).clone())
            self.register_buffer(
                f'anchors{level}', anchors[level].view(1, -1, 1, 1, 2).expand(shape).clone())
            self.shapes.append(shape)

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        """
        Decode.

        :param maps: one [1, anchors, h, w, 5 + classes] a level, logits.
        :returns: [1, sum(anchors * h * w), 5 + classes]: centre x, y, width, height in px,
            objectness, class probabilities.
        """
        rows = []
        for level, (y, stride) in enumerate(zip(maps, STRIDES, strict=True)):
            outputs = int(y.shape[4])
            xy, wh, confidence = y.sigmoid().split((2, 2, outputs - 4), 4)
            xy = (xy * 2 + self.get_buffer(f'cells{level}')) * stride
            wh = (wh * 2) ** 2 * self.get_buffer(f'anchors{level}')
            count = math.prod(self.shapes[level][1:4])
            rows.append(torch.cat((xy, wh, confidence), 4).view(1, count, outputs))
        return torch.cat(rows, 1)


class YoloV5(nn.Module):
    """YOLOv5 v6 with ReLU; ``forward`` gives raw maps, ``BoxDecoder`` makes boxes of them."""

    def __init__(
            self, scale: Scale, class_count: int,
            anchors: Sequence[Sequence[tuple[float, float]]]) -> None:
        """
        Create the network with random weights.

        :param scale: depth and width multiples, usually from ``SCALES``.
        :param class_count: number of classes.
        :param anchors: width and height in px, [3 levels][anchors a level].
        """
        super().__init__()
        c1, c2, c3, c4, c5 = (
            math.ceil(c * scale.width / 8) * 8 for c in (64, 128, 256, 512, 1024))
        d1, d2, d3 = (max(round(d * scale.depth), 1) for d in (3, 6, 9))
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
