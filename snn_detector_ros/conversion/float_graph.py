# SPDX-License-Identifier: Apache-2.0
"""Write a float network as ONNX: what calibration runs, and what benchmarks run against."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper

from snn_detector_ros.conversion.float_network import FloatConvolution, FloatLayer, FloatNetwork
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
from snn_detector_ros.network.graph_writer import GraphWriter

OPSET = 17
IR_VERSION = 8
INPUT = 'images'
#: Channels come second in this graph.
CHANNEL_AXIS = 1


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
    writer = _Writer(CHANNEL_AXIS)
    for layer in network.layers:
        writer.add_layer(layer)
    height, width, channels = shapes[IMAGE]
    graph = helper.make_graph(
        writer.nodes, network.name,
        [_value_info(INPUT, (height, width, channels))],
        [_value_info(name, shapes[name]) for name in outputs or network.outputs],
        writer.initializers)
    model = helper.make_model(
        graph, opset_imports=[helper.make_opsetid('', OPSET)], ir_version=IR_VERSION)
    onnx.checker.check_model(model)
    return model


def as_input(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    """
    Return a picture as the input of :func:`to_onnx`.

    :param pixels: uint8 [H, W, 3], blue-green-red.
    :returns: float32 [1, 3, H, W], RGB in 0..1.
    """
    planes = pixels[:, :, ::-1].transpose(2, 0, 1)[None]
    return np.ascontiguousarray(planes.astype(np.float32) / 255)


class _Writer(GraphWriter):
    """Writes layer by layer."""

    def add_layer(self, layer: FloatLayer) -> None:
        sources = [INPUT if source == IMAGE else source for source in layer.sources]
        match layer:
            case FloatConvolution():
                self._add_convolution(layer, sources[0])
            case MaxPool():
                self._node('MaxPool', sources, layer.name, kernel_shape=layer.kernel,
                           strides=layer.stride, pads=layer.padding)
            case Add():
                self._node('Add', sources, layer.name)
            case Concat():
                self._node('Concat', sources, layer.name, axis=CHANNEL_AXIS)
            case Upsample():
                self._nearest(layer)
            case Slice():
                self._slice(layer, sources[0])
            case Rectifier():
                self._activation(layer.slope, sources[0], layer.name)
            case Permutation():
                order = self._constant(f'{layer.name}/order', np.array(layer.order, np.int64))
                self._node('Gather', [*sources, order], layer.name, axis=CHANNEL_AXIS)
            case DepthToSpace():
                self._node('DepthToSpace', sources, layer.name, blocksize=layer.factor)

    def _add_convolution(self, layer: FloatConvolution, source: str) -> None:
        weight = self._constant(f'{layer.name}/weight', layer.weight)
        bias = self._constant(f'{layer.name}/bias', layer.bias)
        raw = sum_name(layer)
        self._node('Conv', [source, weight, bias], raw, kernel_shape=layer.kernel,
                   strides=layer.stride, pads=layer.padding, group=layer.groups)
        if math.isfinite(layer.cap):
            bounds = [self._constant(f'{layer.name}/{key}', np.float32(value))
                      for key, value in (('min', 0.0), ('max', layer.cap))]
            self._node('Clip', [raw, *bounds], layer.name)
        elif raw != layer.name:
            self._activation(layer.slope, raw, layer.name)

    def _activation(self, slope: float, source: str, name: str) -> None:
        if slope:
            self._node('LeakyRelu', [source], name, alpha=slope)
        else:
            self._node('Relu', [source], name)


def sum_name(conv: FloatConvolution) -> str:
    """Return the tensor that holds a convolution before its activation."""
    return conv.name if conv.slope == 1 else f'{conv.name}/sum'


def _value_info(name: str, shape: tuple[int, int, int]) -> onnx.ValueInfoProto:
    height, width, channels = shape
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, channels, height, width])
