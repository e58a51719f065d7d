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
    Add,
    Concat,
    Convolution,
    Layer,
    MaxPool,
    Slice,
    Upsample,
)
from snn_detector_ros.network.validation import MAX_LAYERS

#: A firing convolution: its input, weights and bias dequantised, Conv, quantised, Clip.
NODES_PER_LAYER = 6
_REMEDY = 'convert the float network again instead of editing the model file'


def read_layers(
    graph: GraphProto,
    *,
    code: SpikeCode,
    steps: Mapping[str, Sequence[float]],
    initial_membrane: str,
) -> tuple[Layer, ...]:
    """
    Return the layers of a graph, in order.

    :param code: the spike code of the metadata; the Clips must agree with its Q.
    :param steps: real value of one level, for each channel of each firing convolution.
    :param initial_membrane: ``zero`` or ``half``.
    :raises NetworkError: naming the node that is not as written.
    """
    if len(graph.node) > NODES_PER_LAYER * MAX_LAYERS:
        raise NetworkError(
            'graph', f'{len(graph.node)} nodes are more than {MAX_LAYERS} layers have')
    reader = _Reader(graph, code, steps, initial_membrane)
    for node in graph.node:
        reader.read(node)
    reader.finish()
    return tuple(reader.layers)


class _Reader:
    """Walks the nodes once; a QDQ group is complete when its last node has been seen."""

    def __init__(self, graph: GraphProto, code: SpikeCode,
                 steps: Mapping[str, Sequence[float]], initial_membrane: str) -> None:
        self.layers: list[Layer] = []
        self._code = code
        self._steps = steps
        self._initial_membrane = initial_membrane
        self._constants = {tensor.name: _array(tensor) for tensor in graph.initializer}
        self._outputs = {output.name for output in graph.output}
        self._sources: dict[str, str] = {}  # dequantised tensor -> tensor of levels
        self._synapses: dict[str, tuple[NDArray[Any], NDArray[np.float32]]] = {}
        self._pending: dict[str, Convolution | Add] = {}  # tensor -> what will fire into it
        self._handlers: dict[str, Callable[[NodeProto], None]] = {
            'DequantizeLinear': self._dequantize,
            'Conv': self._convolution,
            'Add': self._add,
            'QuantizeLinear': self._quantize,
            'Clip': self._clip,
            'MaxPool': self._max_pool,
            'Concat': self._concat,
            'Resize': self._upsample,
            'Slice': self._slice,
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
        if self._pending:
            name = next(iter(self._pending))
            raise NetworkError(name, f'never fires: the graph ends before its Clip; {_REMEDY}')

    def _dequantize(self, node: NodeProto) -> None:
        tensor, scale = node.input[0], self._constants[node.input[1]]
        if tensor in self._constants:
            _expect(_attributes(node) == {'axis': 0} and len(node.input) == 2, 'per-channel scale')
            _expect(scale.dtype == np.float32 and scale.ndim == 1, 'float32 scales')
            self._synapses[node.output[0]] = (self._constants[tensor], scale)
        else:
            self._expect_unit_scale(node)
            self._sources[node.output[0]] = tensor

    def _quantize(self, node: NodeProto) -> None:
        self._expect_unit_scale(node)
        self._pending[node.output[0]] = self._pending.pop(node.input[0])

    def _clip(self, node: NodeProto) -> None:
        low, high = (self._constants[name] for name in node.input[1:])
        _expect(low.dtype == high.dtype == np.uint8 and low == 0, 'clip from 0')
        _expect(high == self._code.max_level, f'clip at Q = {self._code.max_level}')
        layer = self._pending.pop(node.input[0])
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
        threshold, step = None, scale
        if not is_readout:
            threshold, step = _threshold(scale), np.array(self._steps[name], dtype=np.float32)
            if self._initial_membrane == 'zero':
                bias = bias + (threshold - 1) // 2
        layer = Convolution(
            name, self._sources[node.input[0]], weight, bias, threshold, step,
            stride=_pair(attributes.pop('strides')), padding=_quad(attributes.pop('pads')),
            groups=int(attributes.pop('group')))
        _expect(not attributes, f'no attributes {sorted(attributes)}')
        if is_readout:
            self.layers.append(layer)
        else:
            self._pending[output] = layer

    def _add(self, node: NodeProto) -> None:
        first, second = (self._sources[name] for name in node.input)
        output = node.output[0]
        self._pending[output] = Add(output.removesuffix('/sum'), (first, second))

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

    def _expect_unit_scale(self, node: NodeProto) -> None:
        scale, zero = (self._constants[name] for name in node.input[1:])
        _expect(scale.shape == () and scale == 1 and zero.dtype == np.uint8 and zero == 0,
                'scale 1 and zero point 0')
        _expect(not _attributes(node), 'no attributes')


def _array(tensor: TensorProto) -> NDArray[Any]:
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
