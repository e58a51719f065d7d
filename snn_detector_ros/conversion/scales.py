# SPDX-License-Identifier: Apache-2.0
"""
Choose the step of each channel: the real activation that one level stands for.

A residual add works on levels, so its two inputs and its sum need equal steps, channel by channel:
they form one *chain*, found by union-find, whose maximum is the largest of its members', sums
included. The channels that become the pixels of one channel share a step too. Pools, copies,
slices and concatenations take over the steps of what they read.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from snn_detector_ros.conversion.calibration import Maxima
from snn_detector_ros.conversion.float_network import FloatConvolution, FloatNetwork
from snn_detector_ros.network import (
    IMAGE,
    Add,
    Concat,
    DepthToSpace,
    MaxPool,
    Permutation,
    Rectifier,
    Slice,
    Upsample,
)

Normalisation = Literal['channel', 'layer']

#: A channel below never fired for our purposes: its step would not fit float32.
SMALLEST_MAXIMUM = 1e-30


def choose_steps(
    network: FloatNetwork,
    maxima: Maxima,
    max_level: int,
    normalisation: Normalisation = 'channel',
) -> dict[str, NDArray[np.float32]]:
    """
    Let the maximum of each channel meet the largest level.

    A channel that never fired gets the smallest step in its chain of layers: should it fire after
    all, a fine step loses less than a coarse one. A chain that never fired at all gets the maximum
    1, the order of magnitude of normalised activations; nothing is known about it.

    :param maxima: from :func:`~snn_detector_ros.conversion.calibration.calibrate`.
    :param max_level: Q of the spike code.
    :param normalisation: ``channel`` for one step a channel (Spiking-YOLO), ``layer`` for one step
        a chain of layers.
    :returns: float32 [C] for the picture and each layer but the readouts.
    """
    chains = _Chains(network)
    tops = np.zeros(chains.size)
    for name, values in maxima.items():
        np.maximum.at(tops, chains.channel(name), values)
    tops[tops < SMALLEST_MAXIMUM] = 0
    blocks = np.array([chains.block_of(index) for index in range(chains.size)])
    smallest = np.full(chains.size, np.inf)
    largest = np.zeros(chains.size)
    fired = tops > 0
    np.minimum.at(smallest, blocks[fired], tops[fired])
    np.maximum.at(largest, blocks, tops)
    smallest[np.isinf(smallest)] = 1.0
    largest[largest == 0] = 1.0
    steps = {IMAGE: np.full(3, 1 / 255, np.float32)}
    for name in chains.names:
        index = chains.channel(name)
        values = largest[blocks[index]] if normalisation == 'layer' else np.where(
            tops[index] > 0, tops[index], smallest[blocks[index]])
        steps[name] = (values / max_level).astype(np.float32)
    return steps


class _Chains:
    """
    Which channels of which tensors share a step.

    A channel is known by a number, that of the channel of the convolution where it first appeared.
    """

    def __init__(self, network: FloatNetwork) -> None:
        self._channels: dict[str, NDArray[np.intp]] = {}
        self._links: list[int] = []  # of channels that are added to one another
        self._blocks: list[int] = []  # of channels in one chain of layers
        for layer in network.layers:
            match layer:
                case FloatConvolution():
                    if layer.name not in network.outputs:
                        self._channels[layer.name] = self._new(len(layer.weight))
                case MaxPool() | Upsample() | Rectifier():
                    self._channels[layer.name] = self._channels[layer.source]
                case Slice():
                    source = self._channels[layer.source]
                    self._channels[layer.name] = source[layer.start:layer.stop]
                case Concat():
                    self._channels[layer.name] = np.concatenate(
                        [self._channels[source] for source in layer.sources])
                case Permutation():
                    self._channels[layer.name] = self._channels[layer.source][list(layer.order)]
                case DepthToSpace():
                    phases = self._channels[layer.source].reshape(layer.factor**2, -1)
                    for phase in phases[1:]:
                        self._join(phases[0], phase)
                    self._channels[layer.name] = phases[0]
                case Add():
                    first, second = (self._channels[source] for source in layer.sources)
                    self._join(first, second)
                    self._channels[layer.name] = first

    @property
    def size(self) -> int:
        """How many channels of convolutions there are."""
        return len(self._links)

    @property
    def names(self) -> tuple[str, ...]:
        """The tensors that carry levels."""
        return tuple(self._channels)

    def channel(self, name: str) -> NDArray[np.intp]:
        """Return the number that stands for each channel of a tensor."""
        return np.array([_root(self._links, int(c)) for c in self._channels[name]], np.intp)

    def block_of(self, channel: int) -> int:
        """Return the number that stands for the chain of layers of a channel."""
        return _root(self._blocks, channel)

    def _new(self, count: int) -> NDArray[np.intp]:
        first = self.size
        self._links.extend(range(first, first + count))
        self._blocks.extend([first] * count)
        return np.arange(first, first + count, dtype=np.intp)

    def _join(self, first: NDArray[np.intp], second: NDArray[np.intp]) -> None:
        for one, other in zip(first, second, strict=True):
            _link(self._links, int(one), int(other))
            _link(self._blocks, int(one), int(other))


def _root(parents: list[int], index: int) -> int:
    while parents[index] != index:
        parents[index] = parents[parents[index]]
        index = parents[index]
    return index


def _link(parents: list[int], one: int, other: int) -> None:
    roots = sorted((_root(parents, one), _root(parents, other)))
    parents[roots[1]] = roots[0]
