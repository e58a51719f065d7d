# SPDX-License-Identifier: Apache-2.0
"""
Networks of YOLOv5 (v6) shape with random weights: what a size costs needs no training.

Integer arithmetic takes the same time for every weight, so times hold for trained networks of the
same shape; spike counts do not.
"""

from __future__ import annotations

import math

import numpy as np

from snn_detector_ros.network import (
    IMAGE,
    Add,
    Concat,
    Convolution,
    HeadLevel,
    Layer,
    MaxPool,
    SpikeCode,
    SpikingNetwork,
    Upsample,
    YoloV5Head,
)

#: (width, depth) multiples of the YOLOv5 family.
SIZES = {'n': (0.25, 0.33), 's': (0.50, 0.33)}

#: Anchors of YOLOv5 in px, and the strides they belong to.
ANCHORS = {
    8: ((10.0, 13.0), (16.0, 30.0), (33.0, 23.0)),
    16: ((30.0, 61.0), (62.0, 45.0), (59.0, 119.0)),
    32: ((116.0, 90.0), (156.0, 198.0), (373.0, 326.0)),
}

#: Levels have this standard deviation before they are cut off at 0 and Q.
SPREAD = 1 / 3


def random_yolov5(
    size: str, *, classes: int = 80, code: SpikeCode | None = None, seed: int = 0,
) -> SpikingNetwork:
    """
    Return a YOLOv5 of random weights whose neurons neither fall silent nor all saturate.

    :param size: a key of :data:`SIZES`.
    :param classes: classes of the head.
    :param code: spike code; linear, T=4, burst 12 if None.
    :param seed: seed of the weights.
    """
    width, depth = SIZES[size]
    return build_yolov5(
        f'yolov5{size}_random', width=width, depth=depth, classes=classes,
        code=code or SpikeCode.linear(4, 12), seed=seed)


def build_yolov5(
    name: str, *, width: float, depth: float, classes: int, code: SpikeCode, seed: int = 0,
    input_size: tuple[int, int] = (640, 640),
) -> SpikingNetwork:
    """
    Return a YOLOv5 of random weights and any size.

    :param width: multiple of the channels of YOLOv5l.
    :param depth: multiple of its repeated blocks.
    """
    net = _Builder(np.random.default_rng(seed), code, width)
    few, many, most = (max(round(count * depth), 1) for count in (3, 6, 9))
    tensor = net.conv(IMAGE, 64, 6, 2, padding=2)
    tensor = net.c3(net.conv(tensor, 128, 3, 2), 128, few)
    fine = net.c3(net.conv(tensor, 256, 3, 2), 256, many)
    medium = net.c3(net.conv(fine, 512, 3, 2), 512, most)
    coarse = net.sppf(net.c3(net.conv(medium, 1024, 3, 2), 1024, few), 1024)

    top = net.conv(coarse, 512)
    tensor = net.c3(net.concat(net.upsample(top), medium), 512, few, residual=False)
    middle = net.conv(tensor, 256)
    small = net.c3(net.concat(net.upsample(middle), fine), 256, few, residual=False)
    tensor = net.concat(net.conv(small, 256, 3, 2), middle)
    centre = net.c3(tensor, 512, few, residual=False)
    tensor = net.concat(net.conv(centre, 512, 3, 2), top)
    large = net.c3(tensor, 1024, few, residual=False)

    levels = tuple(
        HeadLevel(net.readout(source, len(anchors) * (5 + classes)), stride, anchors)
        for source, (stride, anchors) in zip((small, centre, large), ANCHORS.items(), strict=True))
    return SpikingNetwork(
        name=name, code=code, initial_membrane='half', input_size=input_size,
        layers=tuple(net.layers), outputs=tuple(level.readout for level in levels),
        head=YoloV5Head(levels), class_names=tuple(f'class {i}' for i in range(classes)),
        provenance={'weights': f'random, seed {seed}'})


class _Builder:
    """Adds layers and blocks; each method returns the name of the tensor it ends in."""

    def __init__(self, rng: np.random.Generator, code: SpikeCode, width: float) -> None:
        self.layers: list[Layer] = []
        self._rng = rng
        self._code = code
        self._width = width
        self._channels = {IMAGE: 3}

    def conv(
        self, source: str, channels: int, kernel: int = 1, stride: int = 1,
        padding: int | None = None,
    ) -> str:
        """Add a convolution that fires, ``channels`` counted at width 1."""
        count = math.ceil(channels * self._width / 8) * 8
        return self._convolution(source, count, kernel, stride,
                                 kernel // 2 if padding is None else padding, fires=True)

    def readout(self, source: str, channels: int) -> str:
        """Add a convolution of exactly ``channels`` whose membranes are read."""
        return self._convolution(source, channels, 1, 1, 0, fires=False)

    def c3(self, source: str, channels: int, blocks: int, *, residual: bool = True) -> str:
        """Add a cross stage partial block with three convolutions around its bottlenecks."""
        tensor, bypass = (self.conv(source, channels // 2) for _ in range(2))
        for _ in range(blocks):
            deeper = self.conv(self.conv(tensor, channels // 2), channels // 2, 3)
            tensor = self._add(Add(self._name('add'), (tensor, deeper)),
                               self._channels[tensor]) if residual else deeper
        return self.conv(self.concat(tensor, bypass), channels)

    def sppf(self, source: str, channels: int) -> str:
        """Add spatial pyramid pooling: one pool of 5 px three times over."""
        tensors = [self.conv(source, channels // 2)]
        for _ in range(3):
            tensors.append(self._add(
                MaxPool(self._name('pool'), tensors[-1], (5, 5), padding=(2, 2, 2, 2)),
                self._channels[tensors[-1]]))
        return self.conv(self.concat(*tensors), channels)

    def concat(self, *sources: str) -> str:
        return self._add(Concat(self._name('concat'), sources),
                         sum(self._channels[source] for source in sources))

    def upsample(self, source: str) -> str:
        return self._add(Upsample(self._name('upsample'), source), self._channels[source])

    def _convolution(
        self, source: str, count: int, kernel: int, stride: int, padding: int, *, fires: bool,
    ) -> str:
        """
        Draw weights, and thresholds that keep the levels alive.

        Weights have mean 0, so half of the membranes are above it. If levels before the clip have
        standard deviation ``SPREAD * Q``, half of them 0, their root mean square is
        ``SPREAD * Q / sqrt(2)``, which with the fan-in gives the next membranes' deviation.
        """
        inputs = self._channels[source]
        top_weight, rms = (64, 128.0) if source == IMAGE else (
            127, SPREAD * self._code.max_level / math.sqrt(2))
        shape = (count, inputs, kernel, kernel)
        weight = self._rng.integers(-top_weight, top_weight + 1, shape).astype(np.int8)
        deviation = top_weight / math.sqrt(3) * rms * math.sqrt(inputs * kernel**2)
        threshold = round(deviation / (SPREAD * self._code.max_level)) | 1
        bias = self._rng.normal(0, deviation / 4, count)
        return self._add(Convolution(
            self._name('conv'), source, weight, bias.astype(np.int32),
            np.full(count, threshold, dtype=np.int32) if fires else None,
            np.full(count, 1 / (SPREAD * self._code.max_level) if fires else 3 / deviation,
                    dtype=np.float32),
            (stride, stride), (padding,) * 4), count)

    def _name(self, kind: str) -> str:
        return f'{kind}{len(self.layers)}'

    def _add(self, layer: Layer, channels: int) -> str:
        self.layers.append(layer)
        self._channels[layer.name] = channels
        return layer.name
