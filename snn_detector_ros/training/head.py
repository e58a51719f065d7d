# SPDX-License-Identifier: Apache-2.0
"""The anchor head of YOLOv5, which every detector here ends in, and the boxes of its raw maps."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

STRIDES = (8, 16, 32)


def strides(levels: int) -> tuple[int, ...]:
    """Return the strides of a head's levels: the coarsest ones of ``STRIDES``."""
    return STRIDES[-levels:]


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
        for layer, stride in zip(self.m, strides(len(anchors)), strict=True):
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
        self.strides = strides(len(anchors))
        for level, stride in enumerate(self.strides):
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
        for level, (y, stride) in enumerate(zip(maps, self.strides, strict=True)):
            outputs = int(y.shape[4])
            xy, wh, confidence = y.sigmoid().split((2, 2, outputs - 4), 4)
            xy = (xy * 2 + self.get_buffer(f'cells{level}')) * stride
            wh = (wh * 2) ** 2 * self.get_buffer(f'anchors{level}')
            count = math.prod(self.shapes[level][1:4])
            rows.append(torch.cat((xy, wh, confidence), 4).view(1, count, outputs))
        return torch.cat(rows, 1)


class AnchorDetector(nn.Module):
    """A network that ends in a ``Detect`` head and returns its raw maps."""

    head: Detect
