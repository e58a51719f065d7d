# SPDX-License-Identifier: Apache-2.0
"""Write a float network as ONNX: what calibration runs, and what benchmarks run against."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
from numpy.typing import ArrayLike
from onnx import TensorProto, helper, numpy_helper

from snn_detector_ros.conversion.float_network import FloatConvolution, FloatLayer, FloatNetwork
from snn_detector_ros.network import IMAGE, Add, Concat, MaxPool, Slice, Upsample

OPSET = 17
IR_VERSION = 8
INPUT = 'images'


def to_onnx(
    network: FloatNetwork,
    *,
    outputs: Sequence[str] | None = None,
    input_size: tuple[int, int] | None = None,
) -> onnx.ModelProto:
    """
    Write a float network as an ONNX model.

    Input ``images`` is float32 [1, 3, H, W], RGB in 0..1; each output has the name of its layer and
    is float32 [1, C, H', W'].

    :param outputs: layers to put out; the readouts if None.
    :param input_size: (height, width) in px; the network's own if None.
    """
    shapes = network.shapes(input_size)
    writer = _GraphWriter()
    for layer in network.layers:
        writer.add_layer(layer)
    height, width, channels = shapes[IMAGE]
    graph = helper.make_graph(
        writer.nodes, network.name,
        [_value_info(INPUT, (height, width, channels))],
        [_value_info(name, shapes[name]) for name in outputs or network.outputs],
        writer.constants)
    model = helper.make_model(
        graph, opset_imports=[helper.make_opsetid('', OPSET)], ir_version=IR_VERSION)
    onnx.checker.check_model(model)
    return model


class _GraphWriter:
    """Collects the nodes and constants of a graph."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []

    def add_layer(self, layer: FloatLayer) -> None:
        sources = [INPUT if source == IMAGE else source for source in layer.sources]
        match layer:
            case FloatConvolution():
                self._add_convolution(layer, sources[0])
            case MaxPool():
                self._add_node('MaxPool', layer.name, sources, kernel_shape=layer.kernel,
                               strides=layer.stride, pads=layer.padding)
            case Add():
                self._add_node('Add', layer.name, sources)
            case Concat():
                self._add_node('Concat', layer.name, sources, axis=1)
            case Upsample():
                factor = float(layer.factor)
                scales = self._constant(
                    f'{layer.name}/scales', np.array([1, 1, factor, factor], np.float32))
                self._add_node('Resize', layer.name, [*sources, '', scales], mode='nearest',
                               coordinate_transformation_mode='asymmetric', nearest_mode='floor')
            case Slice():
                bounds = {'starts': [layer.start], 'ends': [layer.stop], 'axes': [1]}
                self._add_node('Slice', layer.name, [*sources, *(
                    self._constant(f'{layer.name}/{key}', np.array(value, np.int64))
                    for key, value in bounds.items())])

    def _add_convolution(self, layer: FloatConvolution, source: str) -> None:
        weight = self._constant(f'{layer.name}/weight', layer.weight)
        bias = self._constant(f'{layer.name}/bias', layer.bias)
        raw = f'{layer.name}/sum' if layer.relu else layer.name
        self._add_node('Conv', raw, [source, weight, bias], kernel_shape=layer.kernel,
                       strides=layer.stride, pads=layer.padding, group=layer.groups)
        if layer.relu and math.isinf(layer.cap):
            self._add_node('Relu', layer.name, [raw])
        elif layer.relu:
            bounds = [self._constant(f'{layer.name}/{key}', np.float32(value))
                      for key, value in (('min', 0.0), ('max', layer.cap))]
            self._add_node('Clip', layer.name, [raw, *bounds])

    def _add_node(
        self, operator: str, output: str, inputs: Sequence[str], **attributes: Any,
    ) -> None:
        self.nodes.append(helper.make_node(operator, inputs, [output], name=output, **attributes))

    def _constant(self, name: str, value: ArrayLike) -> str:
        self.constants.append(numpy_helper.from_array(np.asarray(value), name))
        return name


def _value_info(name: str, shape: tuple[int, int, int]) -> onnx.ValueInfoProto:
    height, width, channels = shape
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, channels, height, width])
