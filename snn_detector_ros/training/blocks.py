# SPDX-License-Identifier: Apache-2.0
"""
Building blocks of YOLOv5 v6 with ReLU in place of SiLU.

A neuron that integrates and fires computes a floored, clipped ReLU, so a detector that is to become
a spiking network is trained with ReLU from the start; SiLU has no such neuron.
"""

import torch
from torch import Tensor, nn


class ConvBnRelu(nn.Sequential):
    """Convolution without bias, batch normalisation, ReLU or leaky ReLU."""

    def __init__(
            self, inputs: int, outputs: int, kernel: int = 1, stride: int = 1,
            padding: int | None = None, *, slope: float = 0.0) -> None:
        """
        Create the block.

        :param inputs: input channels.
        :param outputs: output channels.
        :param kernel: edge of the square kernel in pixels.
        :param stride: step of the kernel in pixels.
        :param padding: zeros on each side; half the kernel if None.
        :param slope: of the activation below zero.
        """
        super().__init__(
            nn.Conv2d(
                inputs, outputs, kernel, stride, kernel // 2 if padding is None else padding,
                bias=False),
            nn.BatchNorm2d(outputs, eps=1e-3, momentum=0.03),
            nn.LeakyReLU(slope, inplace=True) if slope else nn.ReLU(inplace=True))


class Bottleneck(nn.Module):
    """1x1 and 3x3 convolution, added to the input where ``shortcut`` is set."""

    def __init__(self, channels: int, shortcut: bool) -> None:
        super().__init__()
        self.cv1 = ConvBnRelu(channels, channels)
        self.cv2 = ConvBnRelu(channels, channels, 3)
        self.shortcut = shortcut
        #: What a residual sum goes through; levels in training for few spikes.
        self.sum: nn.Module = nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """Map [N, C, H, W] to [N, C, H, W]."""
        y: Tensor = self.cv2(self.cv1(x))
        return self.sum(x + y) if self.shortcut else y


class C3(nn.Module):
    """Cross-stage partial block: bottlenecks on one half of the channels, the other half passes."""

    def __init__(self, inputs: int, outputs: int, depth: int, shortcut: bool = True) -> None:
        super().__init__()
        hidden = outputs // 2
        self.cv1 = ConvBnRelu(inputs, hidden)
        self.cv2 = ConvBnRelu(inputs, hidden)
        self.cv3 = ConvBnRelu(2 * hidden, outputs)
        self.m = nn.Sequential(*(Bottleneck(hidden, shortcut) for _ in range(depth)))

    def forward(self, x: Tensor) -> Tensor:
        """Map [N, inputs, H, W] to [N, outputs, H, W]."""
        y: Tensor = self.cv3(torch.cat((self.m(self.cv1(x)), self.cv2(x)), 1))
        return y


class SPPF(nn.Module):
    """Spatial pyramid pooling: three chained 5x5 maxima, concatenated with their input."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        hidden = inputs // 2
        self.cv1 = ConvBnRelu(inputs, hidden)
        self.cv2 = ConvBnRelu(4 * hidden, outputs)
        self.pool = nn.MaxPool2d(kernel_size=5, stride=1, padding=2)

    def forward(self, x: Tensor) -> Tensor:
        """Map [N, inputs, H, W] to [N, outputs, H, W]."""
        parts = [self.cv1(x)]
        for _ in range(3):
            parts.append(self.pool(parts[-1]))
        y: Tensor = self.cv2(torch.cat(parts, 1))
        return y
