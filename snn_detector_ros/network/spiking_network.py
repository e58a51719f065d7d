# SPDX-License-Identifier: Apache-2.0
"""A whole spiking network as data: what conversion makes and every engine runs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from snn_detector_ros.network.codes import SpikeCode
from snn_detector_ros.network.head import Head
from snn_detector_ros.network.layered_network import LayeredNetwork
from snn_detector_ros.network.layers import (
    IMAGE,
    Convolution,
    Layer,
    Rectifier,
    fires,
)

#: Membrane before the first input of a frame: 0 as in SUHD, or half a threshold (rounds).
InitialMembrane = Literal['zero', 'half']

#: When neurons fire: after all steps of their input (SUHD), or in each step (Spiking-YOLO).
Dynamics = Literal['separated', 'concurrent']


@dataclass(frozen=True, eq=False)
class SpikingNetwork(LayeredNetwork[Layer]):
    """
    Layers in the order of execution, with the code their spikes are written in.

    :param name: short name for logs and messages.
    :param code: the spike code that all layers share.
    :param initial_membrane: ``zero``, or ``half`` for ``(theta - 1) / 2`` in each neuron.
    :param input_size: default (height, width) of the picture in px; multiples of the largest
        stride. The layers themselves are free of it.
    :param layers: topologically sorted; a layer reads :data:`IMAGE` or earlier layers.
    :param outputs: names of the readouts, in the order of the float network's outputs; a firing
        convolution among them is read by its spikes (spike-count decoding).
    :param head: how readouts become boxes; None leaves them raw.
    :param class_names: names of the classes, by index.
    :param provenance: free text facts for the reader: origin, licence, calibration, date.
    :param firing_rates: mean spikes per neuron and time step of each firing layer on the
        calibration pictures; empty if not measured.
    :param dynamics: ``separated`` if a layer fires only after it has received all time steps, so
        that one pass on levels is exact; ``concurrent`` if it fires while it receives.
    """

    name: str
    code: SpikeCode
    initial_membrane: InitialMembrane
    input_size: tuple[int, int]
    layers: tuple[Layer, ...]
    outputs: tuple[str, ...]
    head: Head | None = None
    class_names: tuple[str, ...] = ()
    provenance: Mapping[str, str] = field(default_factory=dict)
    firing_rates: Mapping[str, float] = field(default_factory=dict)
    dynamics: Dynamics = 'separated'

    @property
    def convolutions(self) -> Iterator[Convolution]:
        """The convolutions, readouts included."""
        return (layer for layer in self.layers if isinstance(layer, Convolution))

    @property
    def firing_layers(self) -> tuple[Layer, ...]:
        """The layers whose neurons emit spikes."""
        return tuple(layer for layer in self.layers if fires(layer))

    @cached_property
    def signed_tensors(self) -> frozenset[str]:
        """Names of the layers whose levels may be negative, from -Q to Q."""
        signed: set[str] = set()
        for layer in self.layers:
            match layer:
                case Convolution():
                    is_signed = not layer.is_readout and layer.slope > 0
                case Rectifier(slope=0):
                    is_signed = False
                case _:
                    is_signed = not signed.isdisjoint(layer.sources)
            if is_signed:
                signed.add(layer.name)
        return frozenset(signed)

    def start_membrane(self, layer: Convolution) -> NDArray[np.int64]:
        """Return v0 of each channel of a convolution without signed neurons, int64 [Cout]."""
        assert layer.threshold is not None
        if self.initial_membrane == 'zero':
            return np.zeros(len(layer.threshold), dtype=np.int64)
        return (layer.threshold.astype(np.int64) - 1) // 2

    def real_operations(self, input_size: tuple[int, int] | None = None) -> int:
        operations = self.multiply_accumulates(input_size)
        return sum(operations[conv.name] for conv in self.convolutions if conv.source == IMAGE)
