# SPDX-License-Identifier: Apache-2.0
"""
The layers of a network as the concurrent engine runs them: some time steps at a time.

A node takes the spikes of its sources, float32 ``[t, C, h, w]``, and returns its own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from snn_detector_ros.engines.accumulate_and_fire import (
    CountingMaxPool,
    Population,
    slope_fraction,
)
from snn_detector_ros.engines.onnxruntime import open_session
from snn_detector_ros.errors import EngineError
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
    Shape,
    Slice,
    SpikingNetwork,
    Upsample,
)
from snn_detector_ros.network.qdq_writer import OPSET
from snn_detector_ros.network.validation import MAX_PIXEL, accumulator_bound

#: Whole numbers below this are exact in float32, and so are their sums.
FLOAT32_EXACT = 1 << 24

Spikes = NDArray[np.float32]


class Node(Protocol):
    """One layer of a network in motion."""

    def reset(self, pixels: NDArray[np.uint8]) -> None:
        """Start a new picture, uint8 [H, W, C]."""
        ...

    def advance(self, inputs: Sequence[Spikes], steps: range) -> Spikes:
        """
        Run some steps.

        :param inputs: spikes of each source that is not the picture, float32 [t, C, h, w].
        :param steps: numbers of the steps, counted from 1.
        """
        ...


def make_node(
    layer: Layer, network: SpikingNetwork, shapes: Mapping[str, Shape], *,
    threads: int, spinning: bool,
) -> Node:
    """
    Return what runs a layer.

    :raises EngineError: if its sums could pass what float32 holds exactly.
    """
    match layer:
        case Convolution():
            synapses = Synapses(layer, threads=threads, spinning=spinning)
            if layer.threshold is None:
                return Readout(layer, synapses)
            kind = PictureNeurons if layer.source == IMAGE else Neurons
            return kind(layer, network, shapes[layer.name], synapses)
        case Add():
            return Relay(shapes[layer.name], slope=1.0)
        case Rectifier():
            return Relay(shapes[layer.name], slope=layer.slope)
        case MaxPool():
            return Pool(layer, shapes[layer.source])
        case _:
            return Copies(layer)


class Synapses:
    """
    A convolution of spikes or pixels, without bias, exact.

    :raises EngineError: if a sum could reach 2^24.
    """

    def __init__(self, conv: Convolution, *, threads: int, spinning: bool) -> None:
        largest = MAX_PIXEL if conv.source == IMAGE else 1
        bound = largest * int(
            np.abs(conv.weight.astype(np.int64)).reshape(len(conv.weight), -1).sum(axis=1).max())
        if bound >= FLOAT32_EXACT:
            raise EngineError(f'{conv.name}: one step may bring {bound} to a membrane, but float32 '
                              f'adds exactly below {FLOAT32_EXACT}: use smaller weights')
        node = helper.make_node(
            'Conv', ['spikes', 'weight'], ['currents'], kernel_shape=conv.weight.shape[2:],
            strides=conv.stride, pads=conv.padding, group=conv.groups)
        inputs = helper.make_tensor_value_info(
            'spikes', TensorProto.FLOAT,
            ['t', conv.weight.shape[1] * conv.groups, 'height', 'width'])
        graph = helper.make_graph(
            [node], 'synapses', [inputs],
            [helper.make_tensor_value_info('currents', TensorProto.FLOAT, None)],
            [numpy_helper.from_array(conv.weight.astype(np.float32), 'weight')])
        model = helper.make_model(
            graph, ir_version=8, opset_imports=[helper.make_opsetid('', OPSET)])
        self._session = open_session(
            model.SerializeToString(), threads=threads, spinning=spinning)

    def __call__(self, values: Spikes) -> Spikes:
        """Return what reaches the neurons, float32 [t, Cout, h, w], whole numbers."""
        return self._session.run(None, {'spikes': np.ascontiguousarray(values)})[0]

    def picture(self, pixels: NDArray[np.uint8]) -> NDArray[np.int64]:
        """Return what the picture brings in T steps, int64 [Cout, h, w]."""
        planar = pixels.transpose(2, 0, 1)[None].astype(np.float32)
        return self(planar)[0].astype(np.int64)


class Neurons:
    """Neurons that receive spikes; the bias comes in T equal parts."""

    def __init__(
        self, conv: Convolution, network: SpikingNetwork, shape: Shape, synapses: Synapses,
    ) -> None:
        self._synapses = synapses
        self._steps = network.code.steps
        self._scale = scale = max(1, slope_fraction(conv.slope).numerator)
        self._bias = scale * conv.bias.astype(np.int64)
        bound = scale * accumulator_bound(conv, self._steps)
        self._population = _population(conv, network, shape, unit=scale, bound=bound)

    def reset(self, pixels: NDArray[np.uint8]) -> None:
        self._population.reset()

    def advance(self, inputs: Sequence[Spikes], steps: range) -> Spikes:
        currents: NDArray[np.float32] | NDArray[np.int64] = self._synapses(inputs[0])
        if self._scale > 1:
            currents = currents.astype(np.int64) * self._scale
        offset = np.array(steps, dtype=np.int64)[:, None] * self._bias
        return self._population.fire(currents, offset, self._steps)


class PictureNeurons:
    """Neurons that see the picture, a T-th of it in each step; they count in T-ths of a unit."""

    def __init__(
        self, conv: Convolution, network: SpikingNetwork, shape: Shape, synapses: Synapses,
    ) -> None:
        self._synapses = synapses
        self._scale = max(1, slope_fraction(conv.slope).numerator)
        self._bias = conv.bias.astype(np.int64)[:, None, None]
        steps = network.code.steps
        bound = self._scale * steps * accumulator_bound(conv, MAX_PIXEL)
        self._population = _population(
            conv, network, shape, unit=self._scale * steps, bound=bound)
        self._current: NDArray[np.int64] = np.zeros((), dtype=np.int64)

    def reset(self, pixels: NDArray[np.uint8]) -> None:
        self._population.reset()
        self._current = self._scale * (self._synapses.picture(pixels) + self._bias)

    def advance(self, inputs: Sequence[Spikes], steps: range) -> Spikes:
        return self._population.fire(
            np.broadcast_to(self._current, (len(steps), *self._current.shape)))


class Readout:
    """Membranes that only receive, and are read."""

    def __init__(self, conv: Convolution, synapses: Synapses) -> None:
        self._synapses = synapses
        self._sees_picture = conv.source == IMAGE
        self._sum: NDArray[np.int64] = np.zeros((), dtype=np.int64)

    def reset(self, pixels: NDArray[np.uint8]) -> None:
        self._sum = (self._synapses.picture(pixels) if self._sees_picture
                     else np.zeros((), dtype=np.int64))

    def advance(self, inputs: Sequence[Spikes], steps: range) -> Spikes:
        if self._sees_picture:
            return np.zeros(0, dtype=np.float32)
        currents = self._synapses(inputs[0])
        self._sum = self._sum + currents.sum(axis=0, dtype=np.float64).astype(np.int64)
        return currents

    def received(self, share: int) -> NDArray[np.int32]:
        """
        Return what T steps bring without the bias, int32 [Cout, h, w].

        :param share: T divided by the steps so far. The picture counts in full at any time.
        """
        return (self._sum if self._sees_picture else self._sum * share).astype(np.int32)


class Relay:
    """Neurons that add the spikes of their sources and fire again: residual adds, rectifiers."""

    def __init__(self, shape: Shape, *, slope: float) -> None:
        fraction = slope_fraction(slope)
        self._weight = max(1, fraction.numerator)
        opposite = np.array([fraction.denominator]) if fraction else None
        self._population = Population(
            shape, np.array([self._weight]), opposite, start=np.zeros(1, dtype=np.int64))

    def reset(self, pixels: NDArray[np.uint8]) -> None:
        self._population.reset()

    def advance(self, inputs: Sequence[Spikes], steps: range) -> Spikes:
        total = inputs[0] if len(inputs) == 1 else inputs[0] + inputs[1]
        return self._population.fire(total * np.float32(self._weight))


class Pool:
    """Max pooling by cumulative count."""

    def __init__(self, pool: MaxPool, shape: Shape) -> None:
        self._pool = CountingMaxPool(pool, shape)

    def reset(self, pixels: NDArray[np.uint8]) -> None:
        self._pool.reset()

    def advance(self, inputs: Sequence[Spikes], steps: range) -> Spikes:
        return self._pool.relay(inputs[0])


class Copies:
    """Layers without neurons: spikes go to other places."""

    def __init__(self, layer: Layer) -> None:
        self._layer = layer

    def reset(self, pixels: NDArray[np.uint8]) -> None:
        pass

    def advance(self, inputs: Sequence[Spikes], steps: range) -> Spikes:
        spikes = inputs[0]
        match self._layer:
            case Concat():
                return np.concatenate(inputs, axis=1)
            case Slice(start=start, stop=stop):
                return spikes[:, start:stop]
            case Upsample(factor=factor):
                return spikes.repeat(factor, axis=2).repeat(factor, axis=3)
            case Permutation(order=order):
                return spikes[:, list(order)]
            case DepthToSpace(factor=factor):
                count, channels, height, width = spikes.shape
                blocks = spikes.reshape(count, factor, factor, -1, height, width)
                return blocks.transpose(0, 3, 4, 1, 5, 2).reshape(
                    count, -1, height * factor, width * factor)
            case layer:
                raise AssertionError(layer)


def _population(
    conv: Convolution, network: SpikingNetwork, shape: Shape, *, unit: int, bound: int,
) -> Population:
    """
    Return the neurons of a convolution.

    A signed neuron starts at zero: half a threshold nearer to one side is as much farther from the
    other.

    :param unit: parts that the neurons count one membrane unit in; a multiple of the numerator of
        the slope, so that ``theta / slope`` is a whole number of them.
    :param bound: of all that a membrane receives, in these parts.
    """
    assert conv.threshold is not None
    theta = conv.threshold.astype(np.int64)
    slope = slope_fraction(conv.slope)
    opposite = unit * theta * slope.denominator // slope.numerator if slope else None
    start = np.zeros_like(theta) if slope else unit * network.start_membrane(conv)
    # The bias may stand on either side of a comparison; a threshold is added before it.
    largest = 2 * bound + int((unit * theta if opposite is None else opposite).max())
    dtype = np.int32 if largest < 1 << 31 else np.int64
    return Population(shape, unit * theta, opposite, start=start, dtype=dtype)
