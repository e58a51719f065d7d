# SPDX-License-Identifier: Apache-2.0
"""
Firing statistics of one frame: spikes, rates, synaptic operations and estimated energy.

Energies are operation counts times constants for 32-bit floating point in 45 nm CMOS (Horowitz,
ISSCC 2014), as the spiking literature uses them. They are an estimate for spiking hardware and say
nothing about the processor that runs this program.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from snn_detector_ros.network import LayeredNetwork

#: Energy of one multiply-accumulate and of one accumulate, in joules.
ENERGY_PER_MAC = 4.6e-12
ENERGY_PER_AC = 0.9e-12


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


@dataclass(frozen=True, eq=False)
class FiringStatistics:
    """
    What the whole network fired in one frame.

    :param names: the firing layers.
    :param neurons_per_layer: int64 [L].
    :param spikes_per_step: spikes of each layer in each time step, int64 [L, T].
    :param operations_per_layer: synaptic operations of each layer, float64 [L].
    :param pixel_operations: multiply-accumulates of the layers that read real numbers, such as the
        picture, which cannot be counted in spikes.
    :param float_operations: multiply-accumulates of the float network of the same shape.
    """

    names: tuple[str, ...]
    neurons_per_layer: NDArray[np.int64]
    spikes_per_step: NDArray[np.int64]
    operations_per_layer: NDArray[np.float64]
    pixel_operations: int
    float_operations: int

    @cached_property
    def layers(self) -> tuple[LayerFiring, ...]:
        """The same, layer by layer."""
        return tuple(
            LayerFiring(name, neurons, tuple(spikes), operations)
            for name, neurons, spikes, operations in zip(
                self.names, self.neurons_per_layer.tolist(), self.spikes_per_step.tolist(),
                self.operations_per_layer.tolist(), strict=True))

    @property
    def rates(self) -> NDArray[np.float64]:
        """Spikes per neuron and time step of each layer, float64 [L]."""
        return self.spikes_per_step.mean(axis=1) / self.neurons_per_layer

    @property
    def rate_by_layer(self) -> dict[str, float]:
        """The same, by the layers' names."""
        return dict(zip(self.names, self.rates.tolist(), strict=True))

    @property
    def neurons(self) -> int:
        """Neurons of all firing layers."""
        return int(self.neurons_per_layer.sum())

    @property
    def spikes(self) -> int:
        """Spikes of the frame."""
        return int(self.spikes_per_step.sum())

    @property
    def rate(self) -> float:
        """Spikes per neuron and time step, over all neurons."""
        return self.spikes / (self.neurons * self.spikes_per_step.shape[1])

    @property
    def synaptic_operations(self) -> float:
        """Accumulates that the spikes cause."""
        return float(self.operations_per_layer.sum())

    @property
    def energy_joules(self) -> float:
        """Estimated energy: accumulates of all spikes, multiply-accumulates of the picture."""
        return (ENERGY_PER_MAC * self.pixel_operations
                + ENERGY_PER_AC * self.synaptic_operations)

    @property
    def ann_energy_joules(self) -> float:
        """Estimated energy of the float network of the same shape."""
        return ENERGY_PER_MAC * self.float_operations


def mean_firing(frames: Sequence[FiringStatistics]) -> FiringStatistics:
    """
    Return the statistics of the mean frame; its spikes may be fractions.

    :param frames: at least one, all of the same network and input size.
    """
    return replace(
        frames[0],
        spikes_per_step=np.mean([frame.spikes_per_step for frame in frames], axis=0),
        operations_per_layer=np.mean([frame.operations_per_layer for frame in frames], axis=0))


#: Neighbouring channels are gathered fastest; but a channel shuffle leaves hardly any neighbours.
MAX_NEIGHBOURHOODS = 4


@dataclass(frozen=True, eq=False)
class Run:
    """Channels of a layer whose spikes reach equally many synapses; index an array with them."""

    layer: str
    channels: slice | NDArray[np.intp]
    synapses: float


class FiringModel:
    """
    Everything about a network's firing statistics that does not depend on the frame.

    :param network: the network.
    :param input_size: (height, width) of the picture in px.
    """

    def __init__(self, network: LayeredNetwork[Any], input_size: tuple[int, int]) -> None:
        shapes = network.shapes(input_size)
        fan_out = network.fan_out(input_size)
        operations = network.multiply_accumulates(input_size)
        self._names = tuple(layer.name for layer in network.firing_layers)
        self._neurons = np.array([np.prod(shapes[name]) for name in self._names], dtype=np.int64)
        #: What an engine counts separately; nearly always one run for each layer.
        self.runs = [run for name in self._names for run in _runs(name, fan_out[name])]
        layers_of_runs = [run.layer for run in self.runs]
        self._first_runs = np.array([layers_of_runs.index(name) for name in self._names])
        self._synapses = np.array([run.synapses for run in self.runs])
        self._float_operations = sum(operations.values())
        self._pixel_operations = network.real_operations(input_size)

    def statistics(self, spikes: NDArray[np.int64]) -> FiringStatistics:
        """
        Return the statistics of a frame.

        :param spikes: spikes of each of :attr:`runs` in each time step, int64 [R, T].
        """
        operations = self._synapses * spikes.sum(axis=1)
        return FiringStatistics(
            self._names, self._neurons, np.add.reduceat(spikes, self._first_runs),
            np.add.reduceat(operations, self._first_runs),
            self._pixel_operations, self._float_operations)


def _runs(layer: str, fan_out: NDArray[np.float64]) -> list[Run]:
    bounds = [0, *(np.flatnonzero(np.diff(fan_out)) + 1).tolist(), len(fan_out)]
    if len(bounds) - 1 <= MAX_NEIGHBOURHOODS:
        return [Run(layer, slice(start, stop), float(fan_out[start]))
                for start, stop in zip(bounds[:-1], bounds[1:], strict=True)]
    return [Run(layer, np.flatnonzero(fan_out == synapses), float(synapses))
            for synapses in np.unique(fan_out)]
