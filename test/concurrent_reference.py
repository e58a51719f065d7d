# SPDX-License-Identifier: Apache-2.0
"""Concurrent dynamics in plain loops over steps and neurons, with fractions: slow and obvious."""

from __future__ import annotations

from fractions import Fraction
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from snn_detector_ros.network import (
    IMAGE,
    Add,
    Concat,
    Convolution,
    DepthToSpace,
    Layer,
    MaxPool,
    Permutation,
    Rectifier,
    Slice,
    SpikingNetwork,
    Upsample,
)

Maps: TypeAlias = dict[str, NDArray[Any]]
#: row, column, channel
Place: TypeAlias = tuple[int, int, int]


def simulate(network: SpikingNetwork, pixels: NDArray[np.uint8]) -> tuple[Maps, Maps]:
    """
    Run a network neuron by neuron.

    :returns: spikes of each layer, int64 [T, h, w, C], and the sums of each readout without the
        bias, [h, w, C].
    """
    shapes = network.shapes()
    trains: Maps = {}
    membranes: Maps = {}
    for layer in network.layers:
        trains[layer.name] = np.zeros((network.code.steps, *shapes[layer.name]), dtype=np.int64)
        start: Any = Fraction(0)
        if isinstance(layer, Convolution) and layer.threshold is not None and layer.slope == 0:
            start = [Fraction(int(value)) for value in network.start_membrane(layer)]
        membranes[layer.name] = np.empty(shapes[layer.name], dtype=object)
        membranes[layer.name][:] = start
    for step in range(network.code.steps):
        for layer in network.layers:
            for place in np.ndindex(shapes[layer.name]):
                trains[layer.name][step][place] = _spike(
                    network, layer, place, step, trains, membranes[layer.name], pixels)
    return trains, {conv.name: membranes[conv.name].astype(np.int64)
                    for conv in network.convolutions if conv.is_readout}


def _spike(
    network: SpikingNetwork, layer: Layer, place: Any, step: int, trains: Maps,
    membrane: NDArray[Any], pixels: NDArray[np.uint8],
) -> int:
    """Return the spike of one neuron in one step, and move its membrane on."""
    row, column, channel = place
    sources = [trains[source][step] for source in layer.sources if source != IMAGE]
    match layer:
        case Convolution():
            current = Fraction(_received(layer, place, sources[0] if sources else pixels))
            if layer.threshold is None:
                membrane[place] += current
                return 0
            if layer.source == IMAGE:
                current /= network.code.steps
            current += Fraction(int(layer.bias[channel]), network.code.steps)
            return _fire(membrane, place, current, int(layer.threshold[channel]), layer.slope)
        case Add():
            total = sum(int(source[place]) for source in sources)
            return _fire(membrane, place, Fraction(total), 1, 1.0)
        case Rectifier():
            return _fire(membrane, place, Fraction(int(sources[0][place])), 1, layer.slope)
        case MaxPool():
            train = trains[layer.source][..., channel]
            inputs = [(y, x) for y, x, _, _ in _window(layer, layer.kernel, place, train.shape[1:])]
            before, after = (max(train[:stop, y, x].sum() for y, x in inputs)
                             for stop in (step, step + 1))
            return int(after - before)
        case Concat():
            return int(np.concatenate([source[row, column] for source in sources])[channel])
        case Slice():
            return int(sources[0][row, column, channel + layer.start])
        case Upsample():
            return int(sources[0][row // layer.factor, column // layer.factor, channel])
        case Permutation():
            return int(sources[0][row, column, layer.order[channel]])
        case DepthToSpace():
            phase = (row % layer.factor) * layer.factor + column % layer.factor
            channels = membrane.shape[2]
            return int(sources[0][
                row // layer.factor, column // layer.factor, phase * channels + channel])


def _fire(
    membrane: NDArray[Any], place: Place, current: Fraction, theta: int, slope: float,
) -> int:
    membrane[place] += current
    if membrane[place] >= theta:
        membrane[place] -= theta
        return 1
    if slope > 0:
        opposite = theta / Fraction(slope).limit_denominator(1000)
        if membrane[place] <= -opposite:
            membrane[place] += opposite
            return -1
    return 0


def _received(conv: Convolution, place: Place, values: NDArray[Any]) -> int:
    """Return what the synapses of one neuron bring."""
    channel = place[2]
    inputs = conv.weight.shape[1]
    first = channel // (len(conv.weight) // conv.groups) * inputs
    kernel = conv.weight.shape[2], conv.weight.shape[3]
    return sum(
        int(conv.weight[channel, :, down, right].astype(np.int64)
            @ values[y, x, first:first + inputs].astype(np.int64))
        for y, x, down, right in _window(conv, kernel, place, values.shape))


def _window(
    layer: Convolution | MaxPool, kernel: tuple[int, int], place: Place, shape: tuple[int, ...],
) -> list[tuple[int, int, int, int]]:
    """Return row, column, and the two taps, of each input cell that a neuron sees."""
    top, left = layer.padding[:2]
    cells = [(place[0] * layer.stride[0] - top + down, place[1] * layer.stride[1] - left + right,
              down, right) for down in range(kernel[0]) for right in range(kernel[1])]
    return [cell for cell in cells if 0 <= cell[0] < shape[0] and 0 <= cell[1] < shape[1]]
