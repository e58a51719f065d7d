# SPDX-License-Identifier: Apache-2.0
"""
Firing statistics of one frame: spikes, rates, synaptic operations and estimated energy.

Energies are operation counts times constants for 32-bit floating point in 45 nm CMOS (Horowitz,
ISSCC 2014), as the spiking literature uses them. They are an estimate for spiking hardware and say
nothing about the processor that runs this program.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from snn_detector_ros.network import IMAGE, SpikingNetwork

#: Energy of one multiply-accumulate and of one accumulate, in joules.
ENERGY_PER_MAC = 4.6e-12
ENERGY_PER_AC = 0.9e-12

#: Counts the spikes of channels ``start:stop`` of a layer in each step, int64 [T].
SpikeCounter: TypeAlias = Callable[[str, slice], NDArray[np.int64]]


@dataclass(frozen=True)
class LayerFiring:
    """
    What one layer fired in one frame.

    :param neurons: neurons of the layer.
    :param spikes_per_step: spikes in each time step; a burst of k counts k.
    :param synaptic_operations: spikes times the synapses each of them reaches.
    """

    name: str
    neurons: int
    spikes_per_step: tuple[int, ...]
    synaptic_operations: float

    @property
    def spikes(self) -> int:
        """Spikes in all steps."""
        return sum(self.spikes_per_step)

    @property
    def rate(self) -> float:
        """Spikes per neuron and time step."""
        return self.spikes / (self.neurons * len(self.spikes_per_step))


@dataclass(frozen=True)
class FiringStatistics:
    """
    What the whole network fired in one frame.

    :param pixel_operations: multiply-accumulates of the layers that read the picture, which is
        analog and cannot be counted in spikes.
    :param float_operations: multiply-accumulates of the float network of the same shape.
    """

    layers: tuple[LayerFiring, ...]
    pixel_operations: int
    float_operations: int

    @property
    def neurons(self) -> int:
        """Neurons of all firing layers."""
        return sum(layer.neurons for layer in self.layers)

    @property
    def spikes(self) -> int:
        """Spikes of the frame."""
        return sum(layer.spikes for layer in self.layers)

    @property
    def rate(self) -> float:
        """Spikes per neuron and time step, over all neurons."""
        return self.spikes / (self.neurons * len(self.layers[0].spikes_per_step))

    @property
    def synaptic_operations(self) -> float:
        """Accumulates that the spikes cause."""
        return sum(layer.synaptic_operations for layer in self.layers)

    @property
    def energy_joules(self) -> float:
        """Estimated energy: accumulates of all spikes, multiply-accumulates of the picture."""
        return (ENERGY_PER_MAC * self.pixel_operations
                + ENERGY_PER_AC * self.synaptic_operations)

    @property
    def ann_energy_joules(self) -> float:
        """Estimated energy of the float network of the same shape."""
        return ENERGY_PER_MAC * self.float_operations


class FiringModel:
    """
    Everything about a network's firing statistics that does not depend on the frame.

    :param network: the network.
    :param input_size: (height, width) of the picture in px.
    """

    def __init__(self, network: SpikingNetwork, input_size: tuple[int, int]) -> None:
        shapes = network.shapes(input_size)
        fan_out = network.fan_out(input_size)
        operations = network.multiply_accumulates(input_size)
        self._steps = network.code.steps
        self._layers = [
            (layer.name, int(np.prod(shapes[layer.name])), _runs(fan_out[layer.name]))
            for layer in network.firing_layers]
        self._float_operations = sum(operations.values())
        self._pixel_operations = sum(
            operations[conv.name] for conv in network.convolutions if conv.source == IMAGE)

    def statistics(self, count: SpikeCounter) -> FiringStatistics:
        """Return the statistics of a frame whose spikes ``count`` counts."""
        layers = []
        for name, neurons, runs in self._layers:
            total = np.zeros(self._steps, dtype=np.int64)
            operations = 0.0
            for channels, synapses in runs:
                spikes = count(name, channels)
                total += spikes
                operations += synapses * float(spikes.sum())
            layers.append(LayerFiring(name, neurons, tuple(total.tolist()), operations))
        return FiringStatistics(tuple(layers), self._pixel_operations, self._float_operations)


def _runs(fan_out: NDArray[np.float64]) -> list[tuple[slice, float]]:
    """Split channels into runs of equal fan-out; nearly always one run for the whole layer."""
    bounds = [0, *(np.flatnonzero(np.diff(fan_out)) + 1).tolist(), len(fan_out)]
    return [(slice(start, stop), float(fan_out[start]))
            for start, stop in zip(bounds[:-1], bounds[1:], strict=True)]
