# SPDX-License-Identifier: Apache-2.0
"""
Writes a directly trained network as an ordinary ONNX graph, with its time steps unrolled.

A tensor with a value in each step is a batch of T: one convolution does for all steps, and a tensor
that is the same in all of them is a batch of 1, computed once. Only neurons go step by step, as
``u - u * s`` for the hard reset, which is exact since ``s`` is 0 or 1. With ``Where`` for the
reset, neurons took more than twice the time in ONNX Runtime; in a ``Scan`` over the steps they took
the same, but a plain graph is within reach of every runtime.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np
from onnx import GraphProto, TensorProto, ValueInfoProto, helper

from snn_detector_ros.network.graph_writer import GraphWriter
from snn_detector_ros.network.layers import IMAGE, Add, Concat, MaxPool, Shape, Upsample
from snn_detector_ros.network.lif_layers import (
    Lif,
    LifLayer,
    Mean,
    Neurons,
    SiluMembrane,
    Synapses,
)
from snn_detector_ros.network.lif_network import LifNetwork

OPSET = 17
#: Time comes first in this graph, as a batch, and channels second.
TIME_AXIS, CHANNEL_AXIS = 0, 1
#: Spikes of a layer, bool [T, C, h, w]; its membranes before and after, float32 [1, C, h, w].
TRAIN_SUFFIX, BEFORE_SUFFIX, AFTER_SUFFIX = '/train', '/before', '/after'


def write_graph(
    network: LifNetwork, input_size: tuple[int, int] | None = None, *,
    trains: Iterable[str] = (), carry_state: bool = False,
) -> GraphProto:
    """
    Return the graph: uint8 [1 or T, C, H, W] pictures in, float32 [1, C, h, w] readouts out.

    :param network: a network that has been validated.
    :param input_size: (height, width) of a picture in px; the network's own if None.
    :param trains: layers of LIF neurons whose spikes are to be outputs too.
    :param carry_state: make inputs and outputs of the membranes that are left of the step before,
        instead of starting from empty ones.
    """
    writer = _Writer(network, frozenset(trains), carry_state)
    for layer in network.layers:
        writer.add(layer)
    shapes = network.shapes(input_size)

    def value(name: str, layer: str, dtype: int, batch: int = 1) -> ValueInfoProto:
        return _value_info(name, dtype, batch, shapes[layer])

    states = [layer.name for layer in network.layers
              if carry_state and isinstance(layer, (Lif, SiluMembrane))]
    pictures = 1 if IMAGE in network.single_tensors else network.steps
    return helper.make_graph(
        writer.nodes, network.name or 'network',
        [value(IMAGE, IMAGE, TensorProto.UINT8, pictures),
         *(value(name + BEFORE_SUFFIX, name, TensorProto.FLOAT) for name in states)],
        [*(value(name, name, TensorProto.FLOAT) for name in network.outputs),
         *(value(name + AFTER_SUFFIX, name, TensorProto.FLOAT) for name in states),
         *(value(layer.name + TRAIN_SUFFIX, layer.name, TensorProto.BOOL, network.steps)
           for layer in network.firing_layers if layer.name in writer.trains)],
        writer.initializers)


def _value_info(name: str, dtype: int, batch: int, shape: Shape) -> ValueInfoProto:
    height, width, channels = shape
    return helper.make_tensor_value_info(name, dtype, [batch, channels, height, width])


class _Writer(GraphWriter):
    """Writes layer by layer; inner tensors have a slash in their names, layers have none."""

    def __init__(self, network: LifNetwork, trains: frozenset[str], carry_state: bool) -> None:
        super().__init__(CHANNEL_AXIS)
        self.network = network
        self.trains = trains
        self._carry_state = carry_state
        self._pixels = self._node('Cast', [IMAGE], '/pixels', to=TensorProto.FLOAT)
        if any(network.neutral):
            neutral = np.array(network.neutral, np.float32).reshape(1, -1, 1, 1)
            self._pixels = self._node(
                'Sub', [self._pixels, self._constant('/neutral', neutral)], '/values')

    def add(self, layer: LifLayer) -> None:
        match layer:
            case Synapses():
                self._synapses(layer)
            case Lif():
                threshold = self._constant(
                    f'{layer.name}/threshold', np.float32(layer.threshold))
                self._neurons(layer, lambda u, label: self._spike(u, threshold, label))
                if layer.name in self.trains:
                    self._concat([f'{layer.name}/fired{step}'
                                  for step in range(self.network.steps)],
                                 layer.name + TRAIN_SUFFIX, TIME_AXIS)
            case SiluMembrane():
                self._neurons(layer, self._silu)
            case Mean():
                axes = [TIME_AXIS, 2, 3] if layer.over_map else [TIME_AXIS]
                self._node('ReduceMean', [layer.source], layer.name, axes=axes, keepdims=1)
            case MaxPool():
                self._node('MaxPool', [layer.source], layer.name, kernel_shape=layer.kernel,
                           strides=layer.stride, pads=layer.padding)
            case Add():
                self._node('Add', list(layer.sources), layer.name)
            case Concat():
                self._concat(self._in_all_steps(layer), layer.name, CHANNEL_AXIS)
            case Upsample():
                self._nearest(layer)

    def _synapses(self, layer: Synapses) -> None:
        self._node(
            'Conv',
            [self._pixels if layer.source == IMAGE else layer.source,
             self._constant(f'{layer.name}/weight', layer.weight),
             self._constant(f'{layer.name}/bias', layer.bias)],
            layer.name, kernel_shape=layer.weight.shape[2:], strides=layer.stride,
            pads=layer.padding, group=layer.groups)

    def _neurons(self, layer: Neurons, emit: Callable[[str, str], str]) -> None:
        """
        Write leaky membranes, step by step.

        :param emit: writes what a membrane emits; takes it and a label for inner tensors.
        """
        name, steps = layer.name, range(self.network.steps)
        decay = self._constant(f'{name}/decay', np.float32(layer.decay))
        left = name + BEFORE_SUFFIX if self._carry_state else None
        emitted = []
        for step, current in zip(steps, self._currents(layer), strict=True):
            membrane = current if left is None else self._node(
                'Add', [left, current], f'{name}/membrane{step}')
            spikes = emit(membrane, f'{name}/*{step}')
            emitted.append(spikes)
            if self._carry_state or step < steps[-1]:
                lost = self._node('Mul', [membrane, spikes], f'{name}/lost{step}')
                kept = self._node('Sub', [membrane, lost], f'{name}/kept{step}')
                is_last = step == steps[-1]
                left = self._node('Mul', [kept, decay],
                                  name + AFTER_SUFFIX if is_last else f'{name}/left{step}')
        self._concat(emitted, name, TIME_AXIS)

    def _currents(self, layer: Neurons) -> list[str]:
        """Return the current of each step."""
        steps, source = self.network.steps, layer.source
        if steps == 1 or source in self.network.single_tensors:
            return [source] * steps
        parts = [f'{layer.name}/current{step}' for step in range(steps)]
        self.nodes.append(helper.make_node('Split', [source], parts, axis=TIME_AXIS,
                                           name=f'{layer.name}/split'))
        return parts

    def _spike(self, membrane: str, threshold: str, label: str) -> str:
        fired = self._node('Greater', [membrane, threshold], label.replace('*', 'fired'))
        return self._node('Cast', [fired], label.replace('*', 'spikes'), to=TensorProto.FLOAT)

    def _silu(self, membrane: str, label: str) -> str:
        open_part = self._node('Sigmoid', [membrane], label.replace('*', 'open'))
        return self._node('Mul', [membrane, open_part], label.replace('*', 'silu'))

    def _in_all_steps(self, layer: Concat) -> list[str]:
        """Return the inputs of a concatenation, each as a batch of the same length."""
        single = self.network.single_tensors
        if layer.name in single or single.isdisjoint(layer.sources):
            return list(layer.sources)
        shape = self._constant(
            f'{layer.name}/steps', np.array([self.network.steps, 1, 1, 1], dtype=np.int64))
        return [self._node('Expand', [source, shape], f'{layer.name}/input{index}')
                if source in single else source for index, source in enumerate(layer.sources)]

    def _concat(self, sources: list[str], name: str, axis: int) -> None:
        self._node('Concat', sources, name, axis=axis)
