# SPDX-License-Identifier: Apache-2.0
"""
The layers of a spiking network, as plain data.

A tensor has the name of the layer that makes it; the input picture is called :data:`IMAGE`. Tensors
carry integer levels of one spike code, except the picture (pixels 0..255, blue-green-red) and the
readouts (membranes that never fire).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

IMAGE = 'image'

#: (height, width, channels) of a tensor.
Shape: TypeAlias = tuple[int, int, int]


@dataclass(frozen=True, eq=False)
class Convolution:
    """
    Synapses, and the neurons they feed.

    Membrane ``V = weight * q + bias``; level ``clip(floor((V + v0) / threshold), 0, Q)``. A signed
    neuron (``slope`` above 0) rounds to the nearest level on either side of zero and has levels
    ``-Q`` to ``Q``: ``m = clip(rint(V / threshold), -Q, Q)``, and where ``m`` is negative
    ``-rint(slope * -m)``, halves up: the imbalanced threshold of Spiking-YOLO.

    :param weight: int8 [Cout, Cin / groups, kernel height, kernel width].
    :param bias: int32 [Cout], in membrane units.
    :param threshold: odd int32 [Cout]; None makes a readout, whose membrane is the output.
    :param step: float32 [Cout]; the real activation that one level stands for, or, of a readout,
        one unit of the membrane.
    :param stride: vertical and horizontal stride.
    :param padding: zero cells added at the top, left, bottom and right.
    :param slope: of the activation below zero: 0 is ReLU, 1 none at all, between them leaky ReLU.
    """

    name: str
    source: str
    weight: NDArray[np.int8]
    bias: NDArray[np.int32]
    threshold: NDArray[np.int32] | None
    step: NDArray[np.float32]
    stride: tuple[int, int] = (1, 1)
    padding: tuple[int, int, int, int] = (0, 0, 0, 0)
    groups: int = 1
    slope: float = 0.0

    @property
    def sources(self) -> tuple[str, ...]:
        return (self.source,)

    @property
    def is_readout(self) -> bool:
        return self.threshold is None

    def output_shape(self, inputs: tuple[Shape, ...]) -> Shape:
        return (*window_size(inputs[0], self.weight.shape[2:], self.stride, self.padding),
                self.weight.shape[0])


@dataclass(frozen=True)
class MaxPool:
    """Spike-Maxpooling (SUHD eqs 21-22): the neuron with the largest decoded level wins."""

    name: str
    source: str
    kernel: tuple[int, int]
    stride: tuple[int, int] = (1, 1)
    padding: tuple[int, int, int, int] = (0, 0, 0, 0)

    @property
    def sources(self) -> tuple[str, ...]:
        return (self.source,)

    def output_shape(self, inputs: tuple[Shape, ...]) -> Shape:
        return (*window_size(inputs[0], self.kernel, self.stride, self.padding), inputs[0][2])


@dataclass(frozen=True)
class Add:
    """A residual add: neurons that sum two trains of equal scale and fire again, -Q to Q."""

    name: str
    sources: tuple[str, str]

    def output_shape(self, inputs: tuple[Shape, ...]) -> Shape:
        return inputs[0]


@dataclass(frozen=True)
class Concat:
    """Channels of several tensors, one after the other; each keeps its own scales."""

    name: str
    sources: tuple[str, ...]

    def output_shape(self, inputs: tuple[Shape, ...]) -> Shape:
        height, width, _ = inputs[0]
        return height, width, sum(shape[2] for shape in inputs)


@dataclass(frozen=True)
class Upsample:
    """Nearest-neighbour upsampling by a whole factor: each train is copied."""

    name: str
    source: str
    factor: int = 2

    @property
    def sources(self) -> tuple[str, ...]:
        return (self.source,)

    def output_shape(self, inputs: tuple[Shape, ...]) -> Shape:
        height, width, channels = inputs[0]
        return height * self.factor, width * self.factor, channels


@dataclass(frozen=True)
class Slice:
    """Channels ``start`` to ``stop`` (exclusive) of a tensor."""

    name: str
    source: str
    start: int
    stop: int

    @property
    def sources(self) -> tuple[str, ...]:
        return (self.source,)

    def output_shape(self, inputs: tuple[Shape, ...]) -> Shape:
        height, width, _ = inputs[0]
        return height, width, self.stop - self.start


@dataclass(frozen=True)
class Rectifier:
    """
    Relay neurons that rectify signed levels, e.g. behind a residual add of linear branches.

    Level ``q`` where it is positive, ``-rint(slope * -q)``, halves up, where it is negative.

    :param slope: 0 for ReLU, between 0 and 1 for leaky ReLU.
    """

    name: str
    source: str
    slope: float = 0.0

    @property
    def sources(self) -> tuple[str, ...]:
        return (self.source,)

    def output_shape(self, inputs: tuple[Shape, ...]) -> Shape:
        return inputs[0]


@dataclass(frozen=True)
class Permutation:
    """Channels in another order, e.g. a channel shuffle: channel ``i`` copies ``order[i]``."""

    name: str
    source: str
    order: tuple[int, ...]

    @property
    def sources(self) -> tuple[str, ...]:
        return (self.source,)

    def output_shape(self, inputs: tuple[Shape, ...]) -> Shape:
        return inputs[0]


@dataclass(frozen=True)
class DepthToSpace:
    """
    Channels become pixels, as behind a convolution that stands for a transposed one.

    Pixel ``(h * factor + i, w * factor + j)`` of channel ``c`` copies channel
    ``(i * factor + j) * C + c`` of pixel ``(h, w)``, where ``C`` is the channels of the output.
    """

    name: str
    source: str
    factor: int = 2

    @property
    def sources(self) -> tuple[str, ...]:
        return (self.source,)

    def output_shape(self, inputs: tuple[Shape, ...]) -> Shape:
        height, width, channels = inputs[0]
        return height * self.factor, width * self.factor, channels // self.factor**2


Layer: TypeAlias = (
    Convolution | MaxPool | Add | Concat | Upsample | Slice | Rectifier | Permutation
    | DepthToSpace)


def fires(layer: Layer) -> bool:
    """Whether a layer has neurons that emit spikes of their own (copies do not)."""
    return isinstance(layer, (MaxPool, Add, Rectifier)) or (
        isinstance(layer, Convolution) and not layer.is_readout)


def window_size(
    shape: Shape,
    kernel: tuple[int, ...],
    stride: tuple[int, int],
    padding: tuple[int, int, int, int],
) -> tuple[int, int]:
    """Return height and width of what a sliding window puts out."""
    top, left, bottom, right = padding
    return ((shape[0] + top + bottom - kernel[0]) // stride[0] + 1,
            (shape[1] + left + right - kernel[1]) // stride[1] + 1)
