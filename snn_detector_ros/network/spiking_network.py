# SPDX-License-Identifier: Apache-2.0
"""A whole spiking network as data: what conversion makes and every engine runs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from snn_detector_ros.network.codes import SpikeCode
from snn_detector_ros.network.head import YoloV5Head
from snn_detector_ros.network.layers import (
    IMAGE,
    Add,
    Concat,
    Convolution,
    Layer,
    MaxPool,
    Shape,
    Slice,
    Upsample,
    fires,
)

#: Membrane before the first input of a frame: 0 as in SUHD, or half a threshold (rounds).
InitialMembrane = Literal['zero', 'half']


@dataclass(frozen=True, eq=False)
class SpikingNetwork:
    """
    Layers in the order of execution, with the code their spikes are written in.

    :param name: short name for logs and messages.
    :param code: the spike code that all layers share.
    :param initial_membrane: ``zero``, or ``half`` for ``(theta - 1) / 2`` in each neuron.
    :param input_size: default (height, width) of the picture in px; multiples of the largest
        stride. The layers themselves are free of it.
    :param layers: topologically sorted; a layer reads :data:`IMAGE` or earlier layers.
    :param outputs: names of the readouts, in the order of the float network's outputs.
    :param head: how readouts become boxes; None leaves them raw.
    :param class_names: names of the classes, by index.
    :param provenance: free text facts for the reader: origin, licence, calibration, date.
    :param firing_rates: mean spikes per neuron and time step of each firing layer on the
        calibration pictures; empty if not measured.
    """

    name: str
    code: SpikeCode
    initial_membrane: InitialMembrane
    input_size: tuple[int, int]
    layers: tuple[Layer, ...]
    outputs: tuple[str, ...]
    head: YoloV5Head | None = None
    class_names: tuple[str, ...] = ()
    provenance: Mapping[str, str] = field(default_factory=dict)
    firing_rates: Mapping[str, float] = field(default_factory=dict)

    def __getitem__(self, name: str) -> Layer:
        """Return the layer called ``name``."""
        return next(layer for layer in self.layers if layer.name == name)

    @property
    def convolutions(self) -> Iterator[Convolution]:
        """The convolutions, readouts included."""
        return (layer for layer in self.layers if isinstance(layer, Convolution))

    @property
    def firing_layers(self) -> tuple[Layer, ...]:
        """The layers whose neurons emit spikes."""
        return tuple(layer for layer in self.layers if fires(layer))

    @property
    def image_channels(self) -> int:
        """Channels of the picture that the first convolution expects."""
        stem = next(conv for conv in self.convolutions if conv.source == IMAGE)
        return stem.weight.shape[1] * stem.groups

    def start_membrane(self, layer: Convolution) -> NDArray[np.int64]:
        """Return v0 of each channel of a firing convolution, int64 [Cout]."""
        assert layer.threshold is not None
        if self.initial_membrane == 'zero':
            return np.zeros(len(layer.threshold), dtype=np.int64)
        return (layer.threshold.astype(np.int64) - 1) // 2

    def shapes(self, input_size: tuple[int, int] | None = None) -> dict[str, Shape]:
        """
        Return (height, width, channels) of every tensor.

        :param input_size: (height, width) of the picture in px; the network's own if None.
        """
        height, width = input_size or self.input_size
        shapes: dict[str, Shape] = {IMAGE: (height, width, self.image_channels)}
        for layer in self.layers:
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
        for layer in reversed(self.layers):
            own = fan_out[layer.name]
            match layer:
                case Convolution():
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
                case MaxPool() | Add():
                    pass  # they fire spikes of their own; what reads them is their fan-out
        return fan_out

    def multiply_accumulates(self, input_size: tuple[int, int] | None = None) -> dict[str, int]:
        """Return the multiply-accumulates of each convolution when run as a float layer."""
        shapes = self.shapes(input_size)
        return {conv.name: shapes[conv.name][0] * shapes[conv.name][1] * conv.weight.size
                for conv in self.convolutions}
