# SPDX-License-Identifier: Apache-2.0
"""
Reads the layers of a spiking network back from its QDQ graph.

Accepts what :mod:`~snn_detector_ros.network.qdq_writer` writes and nothing else: a graph that a
tool has rewritten may compute something else, so it is refused with the node's name.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import GraphProto, NodeProto, TensorProto, helper, numpy_helper

from snn_detector_ros.errors import NetworkError
from snn_detector_ros.network.codes import SpikeCode
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
    Slice,
    Upsample,
)
from snn_detector_ros.network.level_range import LevelRange
from snn_detector_ros.network.qdq_writer import VALUE_SUFFIX
from snn_detector_ros.network.signed_neuron import rounding_slope
from snn_detector_ros.network.spiking_network import Dynamics
from snn_detector_ros.network.validation import MAX_LAYERS

#: A firing convolution: its input, weights and bias dequantised, Conv, quantised, Clip; where it is
#: leaky, dequantised, LeakyRelu, quantised; its real values.
NODES_PER_LAYER = 10
_REMEDY = 'convert the float network again instead of editing the model file'


def read_layers(
    graph: GraphProto,
    *,
    code: SpikeCode,
    dynamics: Dynamics,
    steps: Mapping[str, Sequence[float]],
    slopes: Mapping[str, float],
    initial_membrane: str,
) -> tuple[Layer, ...]:
    """
    Return the layers of a graph, in order.

    :param code: the spike code of the metadata; the Clips must agree with its Q.
    :param dynamics: ``separated`` or ``concurrent``.
    :param steps: real value of one level, for each channel of each firing convolution.
    :param slopes: slope of each convolution and rectifier where it is not 0.
    :param initial_membrane: ``zero`` or ``half``.
    :raises NetworkError: naming the node that is not as written.
    """
    if len(graph.node) > NODES_PER_LAYER * MAX_LAYERS:
        raise NetworkError(
            'graph', f'{len(graph.node)} nodes are more than {MAX_LAYERS} layers have')
    reader = _Reader(graph, code, dynamics, steps, slopes, initial_membrane)
    for node in graph.node:
        reader.read(node)
    reader.finish()
    return tuple(reader.layers)


class _Reader:
    """Walks the nodes once; a QDQ group is complete when its last node has been seen."""

    def __init__(
        self, graph: GraphProto, code: SpikeCode, dynamics: Dynamics,
        steps: Mapping[str, Sequence[float]], slopes: Mapping[str, float], initial_membrane: str,
    ) -> None:
        self.layers: list[Layer] = []
        self._steps = steps
        self._slopes = slopes
        self._initial_membrane = initial_membrane
        self._constants = {tensor.name: read_array(tensor) for tensor in graph.initializer}
        self._range = LevelRange.of_code(
            code, signed='/min_level' in self._constants, dynamics=dynamics)
        self._outputs = {output.name for output in graph.output}
        self._sources: dict[str, str] = {}  # dequantised tensor -> tensor of levels
        self._synapses: dict[str, tuple[NDArray[Any], NDArray[np.float32]]] = {}
        # Tensor -> the layer it becomes: to be quantised and clipped, clipped and leaky, leaky and
        # quantised.
        self._firing: dict[str, Convolution | Add] = {}
        self._linear: dict[str, Convolution] = {}
        self._last: dict[str, Convolution | Rectifier | DepthToSpace] = {}
        self._handlers: dict[str, Callable[[NodeProto], None]] = {
            'DequantizeLinear': self._dequantize,
            'Mul': self._value,
            'Conv': self._convolution,
            'Add': self._add,
            'QuantizeLinear': self._quantize,
            'Round': self._quantize,
            'Clip': self._clip,
            'LeakyRelu': self._leaky,
            'MaxPool': self._max_pool,
            'Concat': self._concat,
            'Resize': self._upsample,
            'Slice': self._slice,
            'Gather': self._permutation,
            'DepthToSpace': self._depth_to_space,
        }

    def read(self, node: NodeProto) -> None:
        label = node.name or (node.output[0] if node.output else node.op_type)
        handler = self._handlers.get(node.op_type)
        if handler is None or node.domain not in ('', 'ai.onnx') or len(node.output) != 1:
            raise NetworkError(label, f'operator {node.domain}:{node.op_type} is not part of a '
                               f'spiking network; {_REMEDY}')
        try:
            handler(node)
        except (LookupError, ValueError, TypeError, OverflowError) as error:
            raise NetworkError(label, f'{node.op_type} is not as this package writes it '
                               f'({type(error).__name__}: {error}); {_REMEDY}') from error

    def finish(self) -> None:
        for name in (*self._firing, *self._linear, *self._last):
            raise NetworkError(name, f'never fires: the graph ends before its levels; {_REMEDY}')
        signed = any(isinstance(layer, Convolution) and not layer.is_readout and layer.slope > 0
                     for layer in self.layers)
        if signed != self._range.signed:
            raise NetworkError('graph', 'signed levels and their zero point do not go together; '
                               f'{_REMEDY}')

    def _dequantize(self, node: NodeProto) -> None:
        tensor, scale = node.input[0], self._constants[node.input[1]]
        if node.output[0].endswith(VALUE_SUFFIX):
            self._value(node)
        elif tensor in self._constants:
            _expect(_attributes(node) == {'axis': 0} and len(node.input) == 2, 'per-channel scale')
            _expect(scale.dtype == np.float32 and scale.ndim == 1, 'float32 scales')
            self._synapses[node.output[0]] = (self._constants[tensor], scale)
        else:
            self._expect_unit_scale(node, np.uint8(0) if tensor == IMAGE else self._range.zero)
            self._sources[node.output[0]] = tensor

    def _value(self, node: NodeProto) -> None:
        """Check the real values of an output that fires; the metadata hold all there is to know."""
        tensor, step = node.input[0], self._constants[node.input[1]]
        _expect(node.output[0] == tensor + VALUE_SUFFIX and node.output[0] in self._outputs,
                'an output')
        _expect(step.ravel().tolist() == np.array(self._steps[tensor], np.float32).tolist(),
                'the step of its layer')
        if node.op_type == 'DequantizeLinear':
            zero = self._constants[node.input[2]]
            _expect(_attributes(node) == {'axis': 1} and zero.dtype == np.uint8
                    and bool((zero == self._range.zero).all()), 'scales and zero points of axis 1')
        else:
            _expect(not self._range.is_bytes and step.shape == (1, step.size, 1, 1), 'axis 1')

    def _quantize(self, node: NodeProto) -> None:
        _expect((node.op_type == 'QuantizeLinear') == self._range.is_bytes,
                f'levels of {self._range.dtype}')
        if self._range.is_bytes:
            self._expect_unit_scale(node, self._range.zero)
        if node.input[0] in self._firing:
            self._firing[node.output[0]] = self._firing.pop(node.input[0])
        else:
            self._finish_layer(self._last.pop(node.input[0]), node)

    def _clip(self, node: NodeProto) -> None:
        low, high = (self._constants[name] for name in node.input[1:])
        source, output = node.input[0], node.output[0]
        layer = self._firing.pop(source, None) or Rectifier(output, source)
        rectifies = not isinstance(layer, Add) and layer.slope == 0
        expected = self._range.zero if rectifies else self._range.bottom
        _expect(low.dtype == high.dtype == self._range.dtype and low == expected,
                f'clip from {expected}')
        _expect(high == self._range.top, f'clip at Q = {self._range.max_level}')
        if isinstance(layer, Convolution) and 0 < layer.slope < 1:
            self._linear[output] = layer
        else:
            self._finish_layer(layer, node)

    def _leaky(self, node: NodeProto) -> None:
        source, output = self._source(node.input[0]), node.output[0]
        layer: Convolution | Rectifier
        if source in self._linear:
            layer = self._linear.pop(source)
        else:
            name = output.removesuffix('/leaky')
            layer = Rectifier(name, source, float(self._slopes[name]))
        _expect(0 < layer.slope <= 1, 'a slope in 0..1')
        alpha = rounding_slope(layer.slope, self._range.max_level)
        _expect(_attributes(node) == {'alpha': alpha}, f'alpha {alpha}, for its slope')
        self._last[output] = layer

    def _finish_layer(self, layer: Layer, node: NodeProto) -> None:
        _expect(layer.name == node.output[0], 'the name of its layer')
        self.layers.append(layer)

    def _convolution(self, node: NodeProto) -> None:
        weight, scale = self._synapses[node.input[1]]
        bias, bias_scale = self._synapses[node.input[2]]
        _expect(np.array_equal(scale, bias_scale), 'one scale for weights and bias')
        _expect(weight.dtype == np.int8 and weight.ndim == 4, 'int8 weights')
        _expect(bias.dtype == np.int32, 'int32 bias')
        attributes = _attributes(node)
        _expect(tuple(attributes.pop('kernel_shape')) == weight.shape[2:], 'its kernel shape')
        output = node.output[0]
        is_readout = output in self._outputs
        name = output if is_readout else output.removesuffix('/membrane')
        threshold, step, slope = None, scale, float(self._slopes.get(name, 0))
        if not is_readout:
            threshold, step = _threshold(scale), np.array(self._steps[name], dtype=np.float32)
            if self._initial_membrane == 'zero' and slope == 0:
                bias = bias + (threshold - 1) // 2
        layer = Convolution(
            name, self._source(node.input[0]), weight, bias, threshold, step,
            stride=_pair(attributes.pop('strides')), padding=_quad(attributes.pop('pads')),
            groups=int(attributes.pop('group')), slope=slope)
        _expect(not attributes, f'no attributes {sorted(attributes)}')
        if is_readout:
            self.layers.append(layer)
        else:
            self._firing[output] = layer

    def _add(self, node: NodeProto) -> None:
        first, second = (self._source(name) for name in node.input)
        output = node.output[0]
        self._firing[output] = Add(output.removesuffix('/sum'), (first, second))

    def _max_pool(self, node: NodeProto) -> None:
        attributes = _attributes(node)
        self.layers.append(MaxPool(
            node.output[0], node.input[0], _pair(attributes.pop('kernel_shape')),
            _pair(attributes.pop('strides')), _quad(attributes.pop('pads'))))
        _expect(not attributes, f'no attributes {sorted(attributes)}')

    def _concat(self, node: NodeProto) -> None:
        _expect(_attributes(node) == {'axis': 1}, 'axis 1')
        self.layers.append(Concat(node.output[0], tuple(node.input)))

    def _upsample(self, node: NodeProto) -> None:
        expected = {'mode': b'nearest', 'nearest_mode': b'floor',
                    'coordinate_transformation_mode': b'asymmetric'}
        _expect(_attributes(node) == expected, f'attributes {expected}')
        scales = self._constants[node.input[2]]
        factor = int(scales[-1])
        _expect(scales.tolist() == [1, 1, factor, factor], 'one whole factor')
        self.layers.append(Upsample(node.output[0], node.input[0], factor))

    def _slice(self, node: NodeProto) -> None:
        start, stop, axis = (int(self._constants[name].item()) for name in node.input[1:])
        _expect(axis == 1, 'axis 1')
        self.layers.append(Slice(node.output[0], node.input[0], start, stop))

    def _permutation(self, node: NodeProto) -> None:
        _expect(_attributes(node) == {'axis': 1}, 'axis 1')
        order = self._constants[node.input[1]]
        _expect(order.dtype == np.int64 and order.ndim == 1, 'int64 [C]')
        self.layers.append(Permutation(node.output[0], node.input[0], tuple(order.tolist())))

    def _depth_to_space(self, node: NodeProto) -> None:
        attributes = _attributes(node)
        _expect(attributes.pop('mode') == b'DCR', 'mode DCR')
        output = node.output[0]
        self._last[output] = DepthToSpace(
            output.removesuffix('/space'), self._source(node.input[0]),
            int(attributes.pop('blocksize')))
        _expect(not attributes, f'no attributes {sorted(attributes)}')

    def _source(self, tensor: str) -> str:
        """Return the tensor of levels that a real tensor stands for."""
        if self._range.is_bytes or tensor in self._sources:
            return self._sources[tensor]
        return tensor

    def _expect_unit_scale(self, node: NodeProto, expected: np.generic) -> None:
        scale, zero = (self._constants[name] for name in node.input[1:])
        _expect(scale.shape == () and scale == 1 and zero.dtype == np.uint8 and zero == expected,
                f'scale 1 and zero point {expected}')
        _expect(not _attributes(node), 'no attributes')


def read_array(tensor: TensorProto) -> NDArray[Any]:
    """
    Return the values of an initializer.

    :raises NetworkError: if they are not in the file, or damaged.
    """
    if tensor.data_location == TensorProto.EXTERNAL or tensor.external_data:
        raise NetworkError(tensor.name, f'keeps its data in another file; {_REMEDY}')
    try:
        return numpy_helper.to_array(tensor)
    except Exception as error:  # onnx raises bare and various errors for damaged tensors
        raise NetworkError(tensor.name, f'holds a damaged tensor ({error}); {_REMEDY}') from error


def _attributes(node: NodeProto) -> dict[str, Any]:
    return {item.name: helper.get_attribute_value(item) for item in node.attribute}


def _threshold(scale: NDArray[np.float32]) -> NDArray[np.int32]:
    """Recover the integer thresholds of scales ``1 / threshold``; they must be exact."""
    _expect(bool(np.isfinite(scale).all() and (scale > 2.0**-24).all()), 'scales 1 / threshold')
    threshold = np.rint(1 / scale.astype(np.float64)).astype(np.int32)
    exact = (1 / threshold.astype(np.float64)).astype(np.float32)
    _expect(np.array_equal(exact, scale), 'scales that are 1 / integer threshold')
    return threshold


def _pair(values: Sequence[int]) -> tuple[int, int]:
    first, second = values
    return int(first), int(second)


def _quad(values: Sequence[int]) -> tuple[int, int, int, int]:
    top, left, bottom, right = values
    return int(top), int(left), int(bottom), int(right)


def _expect(condition: bool, what: str) -> None:
    if not condition:
        raise ValueError(f'expected {what}')
