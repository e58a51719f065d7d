# SPDX-License-Identifier: Apache-2.0
"""
The truth about directly trained networks: every neuron, one time step after the other.

Sums and membranes are float64, so that what they round away is far below what float32 engines do.
The stem of a repeated picture is computed anew in each step, and nothing is batched: the faster
engine is tested against this one.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from snn_detector_ros.engines.base import check_pixels
from snn_detector_ros.engines.simulator import max_pool, weighted_sums
from snn_detector_ros.engines.statistics import FiringModel, FiringStatistics
from snn_detector_ros.network import (
    IMAGE,
    Add,
    Concat,
    Lif,
    LifNetwork,
    MaxPool,
    Mean,
    SiluMembrane,
    Synapses,
    Upsample,
)
from snn_detector_ros.network.lif_layers import LifLayer
from snn_detector_ros.network.lif_validation import validate_lif
from snn_detector_ros.network.validation import check_shapes


class LifSimulator:
    """
    Simulates a network spike by spike.

    :param network: the network; is validated.
    :param input_size: (height, width) of a picture in px; the network's own if None.
    :param carry_state: start a picture, or window, with the membranes that the one before left.
    """

    name = 'simulator'

    def __init__(
        self, network: LifNetwork, *, input_size: tuple[int, int] | None = None,
        carry_state: bool = False,
    ) -> None:
        validate_lif(network)
        self.network = network
        self.input_size = input_size or network.input_size
        check_shapes(network, self.input_size)
        self._firing_model = FiringModel(network, self.input_size)
        self._carry_state = carry_state
        #: What each layer of neurons keeps for the next step, float64 [h, w, C].
        self._kept: dict[str, NDArray[np.float64]] = {}
        #: Spikes and membranes of every layer of LIF neurons for the last picture or window, bool
        #: and float64 [T, h, w, C]; membranes as they are compared with the threshold.
        self.trains: dict[str, NDArray[np.bool_]] = {}
        self.membranes: dict[str, NDArray[np.float64]] = {}

    def run(self, pixels: NDArray[np.uint8]) -> dict[str, NDArray[np.float32]]:
        check_pixels(pixels, self.network.input_shape(self.input_size))
        if not self._carry_state:
            self.reset()
        pictures = pixels if self.network.coding == 'binned' else [pixels] * self.network.steps
        steps = [self._step(picture) for picture in pictures]
        fired = [layer.name for layer in self.network.firing_layers]
        self.trains = {name: np.stack([step[name] > 0 for step in steps]) for name in fired}
        self.membranes = {name: np.stack([step[f'{name}/u'] for step in steps]) for name in fired}
        return {name: np.mean([step[name] for step in steps], axis=0).astype(np.float32)
                for name in self.network.outputs}

    def reset(self) -> None:
        """Start from empty membranes."""
        self._kept = {}

    def levels(self) -> dict[str, NDArray[np.uint8]]:
        return {name: train.sum(axis=0, dtype=np.uint8) for name, train in self.trains.items()}

    def firing(self) -> FiringStatistics:
        return self._firing_model.statistics(np.array([
            np.count_nonzero(self.trains[run.layer][..., run.channels], axis=(1, 2, 3))
            for run in self._firing_model.runs]))

    def _step(self, picture: NDArray[np.uint8]) -> dict[str, NDArray[np.float64]]:
        """Return the value of each layer in one step, and the membranes of those that fire."""
        values = {IMAGE: picture - np.array(self.network.neutral)}
        for layer in self.network.layers:
            inputs = [values[source] for source in layer.sources]
            if isinstance(layer, (Lif, SiluMembrane)):
                membrane = self._kept.get(layer.name, np.zeros(())) + inputs[0]
                values[f'{layer.name}/u'] = membrane
                emitted = _emit(layer, membrane)
                self._kept[layer.name] = layer.decay * membrane * (1 - emitted)
                values[layer.name] = emitted
            else:
                values[layer.name] = _compute(layer, inputs)
        return values


def _emit(layer: Lif | SiluMembrane, membrane: NDArray[np.float64]) -> NDArray[np.float64]:
    if isinstance(layer, Lif):
        return (membrane > layer.threshold).astype(np.float64)
    return membrane / (1 + np.exp(-membrane))


def _compute(layer: LifLayer, inputs: list[NDArray[np.float64]]) -> NDArray[np.float64]:
    """Return what a layer without memory makes of one step, [H, W, C]."""
    match layer:
        case Synapses():
            return weighted_sums(inputs[0], layer) + layer.bias
        case MaxPool():
            return max_pool(inputs[0], layer)
        case Add():
            return inputs[0] + inputs[1]
        case Concat():
            return np.concatenate(inputs, axis=-1)
        case Upsample():
            return inputs[0].repeat(layer.factor, axis=0).repeat(layer.factor, axis=1)
        case Mean():
            # Over time when all steps are there: the readouts behind it are linear.
            return inputs[0].mean(axis=(0, 1), keepdims=True) if layer.over_map else inputs[0]
        case _:
            raise AssertionError(layer)
