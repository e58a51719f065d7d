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
    DepthToSpace,
    MaxPool,
    Permutation,
    Rectifier,
    Shape,
    Slice,
    Upsample,
)
from snn_detector_ros.network.head import Head


@dataclass(frozen=True, eq=False)
class FloatConvolution:
    """
    A convolution with its folded batch normalisation and its activation.

    :param weight: float32 [Cout, Cin / groups, kernel height, kernel width].
    :param bias: float32 [Cout].
    :param slope: of the activation below zero: 0 is ReLU, 1 none at all, between them leaky ReLU.
    :param cap: upper bound of the activation: 6 for ReLU6, infinite for ReLU.
    """

    name: str
    source: str
    weight: NDArray[np.float32]
    bias: NDArray[np.float32]
    slope: float = 1.0
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


def inputs_of_outputs(
    values: NDArray[np.float64], outputs: int, groups: int,
) -> NDArray[np.float64]:
    """
    Return what each output of a grouped convolution reads of numbers of its input.

    :param values: one number a channel of the input, [Cin].
    :param outputs: channels of the output; group g of them reads channels g * Cin / groups and
        following.
    :returns: [Cout, Cin / groups].
    """
    return np.repeat(values.reshape(groups, -1), outputs // groups, axis=0)


FloatLayer: TypeAlias = (
    FloatConvolution | MaxPool | Add | Concat | Upsample | Slice | Rectifier | Permutation
    | DepthToSpace)


@dataclass(frozen=True, eq=False)
class FloatNetwork:
    """
    Layers in the order of execution.

    :param input_size: (height, width) of the picture in px.
    :param layers: topologically sorted; a layer reads ``IMAGE`` or earlier layers.
    :param outputs: names of the readouts: convolutions without activation that nothing reads.
    :param head: how readouts become boxes; None leaves them raw.
    :param provenance: free text facts about the origin.
    """

    name: str
    input_size: tuple[int, int]
    layers: tuple[FloatLayer, ...]
    outputs: tuple[str, ...]
    head: Head | None = None
    class_names: tuple[str, ...] = ()
    provenance: Mapping[str, str] = field(default_factory=dict)

    def __getitem__(self, name: str) -> FloatLayer:
        """Return the layer called ``name``."""
        return next(layer for layer in self.layers if layer.name == name)

    @property
    def calibrated(self) -> tuple[str, ...]:
        """Names of the tensors whose maxima set the scales: activations and sums of them."""
        return tuple(layer.name for layer in self.layers if isinstance(layer, Add) or (
            isinstance(layer, FloatConvolution) and layer.name not in self.outputs))

    @property
    def signed(self) -> frozenset[str]:
        """Names of the tensors that may be negative, readouts included."""
        signed: set[str] = set()
        for layer in self.layers:
            match layer:
                case FloatConvolution() | Rectifier():
                    may_be = layer.slope > 0 and (
                        isinstance(layer, FloatConvolution) or layer.source in signed)
                case _:
                    may_be = not signed.isdisjoint(layer.sources)
            if may_be:
                signed.add(layer.name)
        return frozenset(signed)

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
