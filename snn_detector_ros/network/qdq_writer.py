# SPDX-License-Identifier: Apache-2.0
"""
Writes a spiking network as a standard QDQ graph.

With odd thresholds, ``QuantizeLinear(Conv(...) / threshold)`` rounds exactly like a neuron that
starts at half a threshold: ``rint(V / theta) = floor((V + (theta - 1) / 2) / theta)``. A neuron
that starts at zero has ``(theta - 1) / 2`` taken off its bias. A signed neuron rounds in any case;
a LeakyRelu of its levels, rounded again, is its imbalanced threshold.

The levels of a network that fires while it receives may be too many for bytes. They are floats,
``Round`` stands for ``QuantizeLinear``, and the graph computes what the spikes converge to.
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
    DepthToSpace,
    Layer,
    MaxPool,
    Permutation,
    Rectifier,
    Shape,
    Slice,
    Upsample,
)
from snn_detector_ros.network.level_range import LevelRange
from snn_detector_ros.network.signed_neuron import rounding_slope
from snn_detector_ros.network.spiking_network import SpikingNetwork

OPSET = 17
#: Channels come second in this graph.
CHANNEL_AXIS = 1
#: The real values of a layer that fires and is an output.
VALUE_SUFFIX = '/value'


def rounding_bias(network: SpikingNetwork, conv: Convolution) -> NDArray[np.int32]:
    """Return the bias with which rounding to nearest equals the neurons of ``conv``."""
    if conv.threshold is None or conv.slope > 0 or network.initial_membrane == 'half':
        return conv.bias
    return conv.bias - (conv.threshold - 1) // 2


def value_name(network: SpikingNetwork, output: str) -> str:
    """Return the tensor of an output's real values; that of an output which fires is no layer."""
    layer = network[output]
    assert isinstance(layer, Convolution)
    return output if layer.is_readout else output + VALUE_SUFFIX


def write_graph(network: SpikingNetwork) -> GraphProto:
    """Return the graph, for the network's default input size and batch 1."""
    writer = _Writer(network)
    for layer in network.layers:
        writer.add(layer)
    shapes = network.shapes()
    return helper.make_graph(
        writer.nodes, network.name or 'network',
        [_value_info(IMAGE, TensorProto.UINT8, shapes[IMAGE])],
        [_value_info(value_name(network, name), TensorProto.FLOAT, shapes[name])
         for name in network.outputs],
        writer.initializers)


def _value_info(name: str, dtype: int, shape: Shape) -> Any:
    height, width, channels = shape
    return helper.make_tensor_value_info(name, dtype, [1, channels, height, width])


class _Writer(GraphWriter):
    """Writes layer by layer."""

    def __init__(self, network: SpikingNetwork) -> None:
        super().__init__(CHANNEL_AXIS)
        self.network = network
        self._range = LevelRange.of_network(network)
        # No layer has a name with a slash, so constants and inner tensors take no layer's name.
        self._one = self._constant('/one', np.float32(1))
        self._zero = self._constant('/zero_level', self._range.zero)
        self._top = self._constant('/max_level', self._range.top)
        self._bottom, self._pixel_zero = self._zero, self._zero
        if self._range.signed:
            self._bottom = self._constant('/min_level', self._range.bottom)
        if self._range.signed or not self._range.is_bytes:
            self._pixel_zero = self._constant('/zero_pixel', np.uint8(0))

    def add(self, layer: Layer) -> None:
        match layer:
            case Convolution():
                self._convolution(layer)
            case Add():
                sums = self._node('Add', [
                    self._dequantized(source, f'{layer.name}/input{i}')
                    for i, source in enumerate(layer.sources)], f'{layer.name}/sum')
                self._clipped(self._quantized(sums, f'{layer.name}/fired'), layer.name)
            case Rectifier(slope=0):
                self._clipped(layer.source, layer.name, self._zero)
            case Rectifier():
                self._leaky(layer.source, layer.name, layer.slope)
            case MaxPool():
                self._node('MaxPool', [layer.source], layer.name, kernel_shape=layer.kernel,
                           strides=layer.stride, pads=layer.padding)
            case Concat():
                self._node('Concat', list(layer.sources), layer.name, axis=CHANNEL_AXIS)
            case Upsample():
                self._nearest(layer)
            case Slice():
                self._slice(layer, layer.source)
            case Permutation():
                self._node('Gather', [layer.source, self._constant(
                    f'{layer.name}/order', np.array(layer.order, dtype=np.int64))], layer.name,
                    axis=CHANNEL_AXIS)
            case DepthToSpace():
                # Of floats, because not every runtime has it for bytes.
                space = self._node(
                    'DepthToSpace', [self._dequantized(layer.source, f'{layer.name}/input0')],
                    f'{layer.name}/space', blocksize=layer.factor, mode='DCR')
                self._quantized(space, layer.name)

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
            'Conv', [self._dequantized(conv.source, f'{conv.name}/input0'), *synapses],
            conv.name if conv.is_readout else f'{conv.name}/membrane',
            kernel_shape=conv.weight.shape[2:], strides=conv.stride, pads=conv.padding,
            group=conv.groups)
        if not conv.is_readout:
            self._fire(conv, membrane)
            if conv.name in self.network.outputs:
                self._value(conv)

    def _fire(self, conv: Convolution, membrane: str) -> None:
        fired = self._quantized(membrane, f'{conv.name}/fired')
        if conv.slope == 0:
            self._clipped(fired, conv.name, self._zero)
        elif conv.slope == 1:
            self._clipped(fired, conv.name)
        else:
            self._leaky(self._clipped(fired, f'{conv.name}/linear'), conv.name, conv.slope)

    def _leaky(self, source: str, name: str, slope: float) -> None:
        real = self._dequantized(source, f'{name}/real')
        leaky = self._node('LeakyRelu', [real], f'{name}/leaky',
                           alpha=float(rounding_slope(slope, self.network.code.max_level)))
        self._quantized(leaky, name)

    def _value(self, conv: Convolution) -> None:
        """Write the real values of a convolution that fires and is an output all the same."""
        if not self._range.is_bytes:
            step = self._constant(f'{conv.name}/step', conv.step.reshape(1, -1, 1, 1))
            self._node('Mul', [conv.name, step], conv.name + VALUE_SUFFIX)
            return
        constants = [self._constant(f'{conv.name}/step', conv.step),
                     self._constant(f'{conv.name}/step_zero',
                                    np.full(len(conv.step), self._range.zero))]
        self._node('DequantizeLinear', [conv.name, *constants], conv.name + VALUE_SUFFIX,
                   axis=CHANNEL_AXIS)

    def _dequantized(self, source: str, name: str) -> str:
        if source != IMAGE and not self._range.is_bytes:
            return source
        zero = self._pixel_zero if source == IMAGE else self._zero
        return self._node('DequantizeLinear', [source, self._one, zero], name)

    def _quantized(self, tensor: str, name: str) -> str:
        if not self._range.is_bytes:
            return self._node('Round', [tensor], name)
        return self._node('QuantizeLinear', [tensor, self._one, self._zero], name)

    def _clipped(self, tensor: str, name: str, bottom: str | None = None) -> str:
        return self._node('Clip', [tensor, bottom or self._bottom, self._top], name)
