# SPDX-License-Identifier: Apache-2.0
"""What networks of any kind of neuron share: layers that read earlier ones, a picture, a head."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import Any, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from snn_detector_ros.network.head import Head
from snn_detector_ros.network.layers import (
    IMAGE,
    Concat,
    Convolution,
    DepthToSpace,
    Permutation,
    Shape,
    Slice,
    Upsample,
)
from snn_detector_ros.network.lif_layers import Synapses

LayerT = TypeVar('LayerT')


class LayeredNetwork(ABC, Generic[LayerT]):
    """
    The structure of a network; its kinds declare these as fields, and document them.

    :class:`~snn_detector_ros.network.spiking_network.SpikingNetwork` was converted and carries
    levels, :class:`~snn_detector_ros.network.lif_network.LifNetwork` was trained and takes steps.
    """

    name: str
    input_size: tuple[int, int]
    layers: tuple[LayerT, ...]
    outputs: tuple[str, ...]
    head: Head | None
    class_names: tuple[str, ...]

    def __getitem__(self, name: str) -> LayerT:
        """Return the layer called ``name``."""
        layers: tuple[Any, ...] = self.layers
        return next(layer for layer in layers if layer.name == name)

    @property
    def convolutions(self) -> Iterator[Any]:
        """The convolutions, readouts included."""
        return (layer for layer in self.layers if isinstance(layer, (Convolution, Synapses)))

    @property
    @abstractmethod
    def firing_layers(self) -> tuple[LayerT, ...]:
        """The layers whose neurons emit spikes."""

    @property
    def image_channels(self) -> int:
        """Channels of the picture that the first convolution expects."""
        stem = next(conv for conv in self.convolutions if conv.source == IMAGE)
        return int(stem.weight.shape[1] * stem.groups)

    def shapes(self, input_size: tuple[int, int] | None = None) -> dict[str, Shape]:
        """
        Return (height, width, channels) of every tensor.

        :param input_size: (height, width) of the picture in px; the network's own if None.
        """
        height, width = input_size or self.input_size
        shapes: dict[str, Shape] = {IMAGE: (height, width, self.image_channels)}
        layers: tuple[Any, ...] = self.layers
        for layer in layers:
            shapes[layer.name] = layer.output_shape(tuple(shapes[s] for s in layer.sources))
        return shapes

    def fan_out(self, input_size: tuple[int, int] | None = None) -> dict[str, NDArray[np.float64]]:
        """
        Return the synapses that one spike of each channel reaches.

        Each convolution that reads a channel adds ``Cout / groups * kh * kw`` times the ratio of
        its output to its input area. Cells cut off at the border are not subtracted.

        :returns: for the picture and each layer, float64 [C].
        """
        shapes = self.shapes(input_size)
        fan_out = {name: np.zeros(shape[2]) for name, shape in shapes.items()}
        layers: tuple[Any, ...] = self.layers
        for layer in reversed(layers):
            own = fan_out[layer.name]
            match layer:
                case Convolution() | Synapses():
                    out, kernel = shapes[layer.name], layer.weight.shape
                    source = shapes[layer.source]
                    per_spike = kernel[0] // layer.groups * kernel[2] * kernel[3]
                    fan_out[layer.source] += (
                        per_spike * (out[0] * out[1]) / (source[0] * source[1]))
                case Concat():
                    parts = np.split(own, np.cumsum([shapes[s][2] for s in layer.sources])[:-1])
                    for source_name, part in zip(layer.sources, parts, strict=True):
                        fan_out[source_name] += part
                case Upsample():
                    fan_out[layer.source] += own * layer.factor**2
                case Slice():
                    fan_out[layer.source][layer.start:layer.stop] += own
                case Permutation():
                    fan_out[layer.source][list(layer.order)] += own
                case DepthToSpace():
                    fan_out[layer.source] += np.tile(own, layer.factor**2)
                case _:
                    pass  # pools, sums and neurons: what reads them is the fan-out of their own
        return fan_out

    def multiply_accumulates(self, input_size: tuple[int, int] | None = None) -> dict[str, int]:
        """Return the multiply-accumulates of each convolution when run as a float layer."""
        shapes = self.shapes(input_size)
        return {conv.name: shapes[conv.name][0] * shapes[conv.name][1] * conv.weight.size
                for conv in self.convolutions}

    @abstractmethod
    def real_operations(self, input_size: tuple[int, int] | None = None) -> int:
        """Return the multiply-accumulates of all convolutions that read no spikes."""
