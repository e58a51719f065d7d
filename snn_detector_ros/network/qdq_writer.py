# SPDX-License-Identifier: Apache-2.0
"""
Writes a spiking network as a standard QDQ graph.

With odd thresholds, ``QuantizeLinear(Conv(...) / threshold)`` rounds exactly like a neuron that
starts at half a threshold: ``rint(V / theta) = floor((V + (theta - 1) / 2) / theta)``. A neuron
that starts at zero has ``(theta - 1) / 2`` taken off its bias.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import GraphProto, TensorProto, helper

from snn_detector_ros.network.graph_writer import GraphWriter
from snn_detector_ros.network.layers import (
    IMAGE,
    Add,
    Concat,
    Convolution,
    MaxPool,
    Shape,
    Slice,
    Upsample,
)
from snn_detector_ros.network.spiking_network import SpikingNetwork

OPSET = 17
#: Channels come second in this graph.
CHANNEL_AXIS = 1


def rounding_bias(network: SpikingNetwork, conv: Convolution) -> NDArray[np.int32]:
    """Return the bias with which rounding to nearest equals the neurons of ``conv``."""
    if conv.threshold is None or network.initial_membrane == 'half':
        return conv.bias
    return conv.bias - (conv.threshold - 1) // 2


def write_graph(network: SpikingNetwork) -> GraphProto:
    """Return the graph, for the network's default input size and batch 1."""
    writer = _Writer(network)
    for layer in network.layers:
        writer.add(layer)
    shapes = network.shapes()
    return helper.make_graph(
        writer.nodes, network.name or 'network',
        [_value_info(IMAGE, TensorProto.UINT8, shapes[IMAGE])],
        [_value_info(name, TensorProto.FLOAT, shapes[name]) for name in network.outputs],
        writer.initializers)


def _value_info(name: str, dtype: int, shape: Shape) -> Any:
    height, width, channels = shape
    return helper.make_tensor_value_info(name, dtype, [1, channels, height, width])


class _Writer(GraphWriter):
    """Writes layer by layer."""

    def __init__(self, network: SpikingNetwork) -> None:
        super().__init__(CHANNEL_AXIS)
        self.network = network
        # No layer has a name with a slash, so constants and inner tensors take no layer's name.
        self._one = self._constant('/one', np.float32(1))
        self._zero = self._constant('/zero_level', np.uint8(0))
        self._top = self._constant('/max_level', np.uint8(network.code.max_level))

    def add(self, layer: object) -> None:
        match layer:
            case Convolution():
                self._convolution(layer)
            case Add():
                sums = self._node('Add', [self._dequantized(layer, i) for i in (0, 1)],
                                  f'{layer.name}/sum')
                self._quantized(sums, layer.name)
            case MaxPool():
                self._node('MaxPool', [layer.source], layer.name, kernel_shape=layer.kernel,
                           strides=layer.stride, pads=layer.padding)
            case Concat():
                self._node('Concat', list(layer.sources), layer.name, axis=CHANNEL_AXIS)
            case Upsample():
                scales = np.array([1, 1, layer.factor, layer.factor], dtype=np.float32)
                self._node('Resize', [layer.source, '', self._constant(
                    f'{layer.name}/scales', scales)], layer.name, mode='nearest',
                    nearest_mode='floor', coordinate_transformation_mode='asymmetric')
            case Slice():
                self._slice(layer, layer.source)

    def _convolution(self, conv: Convolution) -> None:
        if conv.threshold is None:
            scale = conv.step
        else:
            scale = (1 / conv.threshold.astype(np.float64)).astype(np.float32)
        scale_name = self._constant(f'{conv.name}/scale', scale)
        synapses = [
            self._node('DequantizeLinear', [
                self._constant(f'{conv.name}/{key}', values), scale_name],
                f'{conv.name}/{key}_scaled', axis=0)
            for key, values in (('weight', conv.weight),
                                ('bias', rounding_bias(self.network, conv)))]
        membrane = self._node(
            'Conv', [self._dequantized(conv, 0), *synapses],
            conv.name if conv.is_readout else f'{conv.name}/membrane',
            kernel_shape=conv.weight.shape[2:], strides=conv.stride, pads=conv.padding,
            group=conv.groups)
        if not conv.is_readout:
            self._quantized(membrane, conv.name)

    def _dequantized(self, layer: Convolution | Add, index: int) -> str:
        return self._node('DequantizeLinear', [layer.sources[index], self._one, self._zero],
                          f'{layer.name}/input{index}')

    def _quantized(self, tensor: str, name: str) -> None:
        unclipped = self._node('QuantizeLinear', [tensor, self._one, self._zero], f'{name}/fired')
        self._node('Clip', [unclipped, self._zero, self._top], name)
