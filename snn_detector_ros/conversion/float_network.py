# SPDX-License-Identifier: Apache-2.0
"""
The float network between the ONNX reader and the spikes, as plain data.

Batch normalisation is folded, activations belong to their convolution, and every other layer is the
one of :mod:`snn_detector_ros.network.layers`. The input is RGB in 0..1.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from snn_detector_ros.network import (
    IMAGE,
    Add,
    Concat,
    MaxPool,
    Shape,
    Slice,
    Upsample,
    YoloV5Head,
)


@dataclass(frozen=True, eq=False)
class FloatConvolution:
    """
    A convolution with its folded batch normalisation and its activation.

    :param weight: float32 [Cout, Cin / groups, kernel height, kernel width].
    :param bias: float32 [Cout].
    :param relu: whether the output is ``clip(x, 0, cap)``; a readout has none.
    :param cap: upper bound of the activation: 6 for ReLU6, infinite for ReLU.
    """

    name: str
    source: str
    weight: NDArray[np.float32]
    bias: NDArray[np.float32]
    relu: bool = False
    stride: tuple[int, int] = (1, 1)
    padding: tuple[int, int, int, int] = (0, 0, 0, 0)
    groups: int = 1
    cap: float = math.inf

    @property
    def sources(self) -> tuple[str, ...]:
        return (self.source,)

    def output_shape(self, inputs: tuple[Shape, ...]) -> Shape:
        window = MaxPool(self.name, self.source, self.kernel, self.stride, self.padding)
        return (*window.output_shape(inputs)[:2], self.weight.shape[0])

    @property
    def kernel(self) -> tuple[int, int]:
        return self.weight.shape[2], self.weight.shape[3]


FloatLayer: TypeAlias = FloatConvolution | MaxPool | Add | Concat | Upsample | Slice


@dataclass(frozen=True, eq=False)
class FloatNetwork:
    """
    Layers in the order of execution.

    :param input_size: (height, width) of the picture in px.
    :param layers: topologically sorted; a layer reads ``IMAGE`` or earlier layers.
    :param outputs: names of the readouts: the convolutions without activation.
    :param head: how readouts become boxes; None leaves them raw.
    :param provenance: free text facts about the origin.
    """

    name: str
    input_size: tuple[int, int]
    layers: tuple[FloatLayer, ...]
    outputs: tuple[str, ...]
    head: YoloV5Head | None = None
    class_names: tuple[str, ...] = ()
    provenance: Mapping[str, str] = field(default_factory=dict)

    def __getitem__(self, name: str) -> FloatLayer:
        """Return the layer called ``name``."""
        return next(layer for layer in self.layers if layer.name == name)

    @property
    def calibrated(self) -> tuple[str, ...]:
        """Names of the tensors whose maxima set the scales: activations and sums of them."""
        return tuple(layer.name for layer in self.layers if isinstance(layer, Add) or (
            isinstance(layer, FloatConvolution) and layer.relu))

    def shapes(self, input_size: tuple[int, int] | None = None) -> dict[str, Shape]:
        """
        Return (height, width, channels) of every tensor.

        :param input_size: (height, width) of the picture in px; the network's own if None.
        """
        height, width = input_size or self.input_size
        shapes: dict[str, Shape] = {IMAGE: (height, width, 3)}
        for layer in self.layers:
            shapes[layer.name] = layer.output_shape(tuple(shapes[s] for s in layer.sources))
        return shapes
