# SPDX-License-Identifier: Apache-2.0
"""A network that was trained as a spiking network, as data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal

from snn_detector_ros.network.codes import SpikeCode
from snn_detector_ros.network.head import Head
from snn_detector_ros.network.layered_network import LayeredNetwork
from snn_detector_ros.network.layers import IMAGE, Concat, Upsample
from snn_detector_ros.network.lif_layers import Lif, LifLayer, Mean, SiluMembrane, Synapses

#: What a step sees: the same picture as all others, or a picture of its own, e.g. of events.
Coding = Literal['repeated', 'binned']


@dataclass(frozen=True, eq=False)
class LifNetwork(LayeredNetwork[LifLayer]):
    """
    Layers in the order of execution, which run for T time steps.

    :param name: short name for logs and messages.
    :param steps: T.
    :param coding: ``repeated``: each step sees the same picture; ``binned``: the input is T
        pictures, oldest first, one for each step.
    :param neutral: pixel value, 0 to 255, of each channel that the first convolution reads as 0,
        as it does padding: colours are blue, green, red. The scale of pixels is in its weights.
    :param input_size: default (height, width) of a picture in px; multiples of the largest stride.
    :param layers: topologically sorted; a layer reads :data:`IMAGE` or earlier layers.
    :param outputs: names of the readouts: convolutions that read a :class:`Mean`.
    :param head: how readouts become boxes; None leaves them raw.
    :param class_names: names of the classes, by index.
    :param provenance: free text facts for the reader: origin, licence, training, date.
    :param firing_rates: mean spikes per neuron and time step of each layer of LIF neurons on
        sample inputs; empty if not measured.
    """

    name: str
    steps: int
    coding: Coding
    neutral: tuple[float, ...]
    input_size: tuple[int, int]
    layers: tuple[LifLayer, ...]
    outputs: tuple[str, ...]
    head: Head | None = None
    class_names: tuple[str, ...] = ()
    provenance: Mapping[str, str] = field(default_factory=dict)
    firing_rates: Mapping[str, float] = field(default_factory=dict)

    @cached_property
    def code(self) -> SpikeCode:
        """The code of the spikes: at most one in each step, all of the same weight."""
        return SpikeCode.constant(self.steps)

    @property
    def firing_layers(self) -> tuple[Lif, ...]:
        return tuple(layer for layer in self.layers if isinstance(layer, Lif))

    @cached_property
    def single_tensors(self) -> frozenset[str]:
        """Names of the tensors that are the same in all steps, or means over them."""
        single = {IMAGE} if self.coding == 'repeated' else set()
        for layer in self.layers:
            has_memory = isinstance(layer, (Lif, SiluMembrane))
            if isinstance(layer, Mean) or (not has_memory and single.issuperset(layer.sources)):
                single.add(layer.name)
        return frozenset(single)

    @cached_property
    def spike_tensors(self) -> frozenset[str]:
        """Names of the tensors of spikes: of LIF neurons, and copies of those."""
        spikes: set[str] = set()
        for layer in self.layers:
            if isinstance(layer, Lif) or (
                    isinstance(layer, (Concat, Upsample)) and spikes.issuperset(layer.sources)):
                spikes.add(layer.name)
        return frozenset(spikes)

    def real_operations(self, input_size: tuple[int, int] | None = None) -> int:
        operations = self.multiply_accumulates(input_size)
        return sum(
            operations[layer.name] * (1 if layer.source in self.single_tensors else self.steps)
            for layer in self.layers
            if isinstance(layer, Synapses) and layer.source not in self.spike_tensors)

    def input_shape(self, input_size: tuple[int, int] | None = None) -> tuple[int, ...]:
        """
        Return the shape of the input of one frame or window: [H, W, C] or [T, H, W, C].

        :param input_size: (height, width) of a picture in px; the network's own if None.
        """
        shape = (*(input_size or self.input_size), self.image_channels)
        return shape if self.coding == 'repeated' else (self.steps, *shape)
