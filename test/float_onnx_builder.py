# SPDX-License-Identifier: Apache-2.0
"""Small float ONNX graphs for tests of the conversion, written as exporters write them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
from numpy.typing import ArrayLike, NDArray
from onnx import TensorProto, helper, numpy_helper

PICTURE = 'images'


class FloatOnnxBuilder:
    """Adds one node after the other; each method returns the name of its output tensor."""

    def __init__(self, seed: int = 0) -> None:
        self.rng = np.random.default_rng(seed)
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []
        self.channels = {PICTURE: 3}

    def constant(self, value: ArrayLike, dtype: type = np.float32) -> str:
        name = f'const{len(self.constants)}'
        self.constants.append(numpy_helper.from_array(np.asarray(value, dtype), name))
        return name

    def node(
        self, operator: str, *inputs: str, name: str | None = None, outputs: int = 1,
        channels: int | None = None, **attributes: Any,
    ) -> Any:
        """Add any node; ``channels`` of the output are those of the first input by default."""
        name = name or f'/{operator}_{len(self.nodes)}'
        results = [f'{name}_output_{index}' for index in range(outputs)]
        self.nodes.append(helper.make_node(operator, inputs, results, name=name, **attributes))
        for result in results:
            self.channels[result] = channels or self.channels.get(inputs[0], 0)
        return results[0] if outputs == 1 else results

    def conv(
        self, source: str, channels: int, kernel: int = 3, stride: int = 1, *, name: str = '',
        relu: bool = True, norm: bool = False, bias: bool = True, groups: int = 1,
        **attributes: Any,
    ) -> str:
        """Add Conv, optionally BatchNormalization, and Relu."""
        name = name or f'/block{len(self.nodes)}/conv/Conv'
        inputs = self.channels[source] // groups
        weight = self.rng.normal(0, (2 / (inputs * kernel**2))**0.5,
                                 (channels, inputs, kernel, kernel))
        names = [self.constant(weight)]
        if bias:
            names.append(self.constant(self.rng.normal(0, 0.1, channels)))
        if 'auto_pad' not in attributes:
            attributes.setdefault('pads', [(kernel - 1) // 2] * 4)
        tensor = self.node('Conv', source, *names, name=name, channels=channels,
                           strides=[stride, stride], group=groups, **attributes)
        if norm:
            shift, mean = self.rng.normal(0, 0.3, (2, channels))
            gain, variance = self.rng.uniform(0.5, 1.5, (2, channels))
            tensor = self.node('BatchNormalization', tensor, *map(
                self.constant, (gain, shift, mean, variance)), epsilon=1e-3)
        return self.node('Relu', tensor) if relu else tensor

    def sigmoid_silu(self, source: str) -> str:
        """Add SiLU as exporters write it."""
        return self.node('Mul', source, self.node('Sigmoid', source, name='/act/Sigmoid'))

    def model(
        self, outputs: Sequence[str], *, size: Sequence[int | str] = (16, 16), opset: int = 17,
        metadata: Mapping[str, str] | None = None, batch: int | str = 1, rank: int = 4,
    ) -> onnx.ModelProto:
        graph = helper.make_graph(
            self.nodes, 'test',
            [helper.make_tensor_value_info(PICTURE, TensorProto.FLOAT, [batch, 3, *size])],
            [helper.make_tensor_value_info(name, TensorProto.FLOAT, [None] * rank)
             for name in outputs],
            self.constants)
        model = helper.make_model(
            graph, opset_imports=[helper.make_opsetid('', opset)], ir_version=8)
        helper.set_model_props(model, dict(metadata or {}))
        return model

    def save(self, path: Path, outputs: Sequence[str], **options: Any) -> Path:
        onnx.save(self.model(outputs, **options), str(path))
        return path


def run_float(model: Path | onnx.ModelProto, pixels: NDArray[np.uint8]) -> list[NDArray[Any]]:
    """Return the outputs of a float network for a picture uint8 [H, W, 3], blue-green-red."""
    data = model.SerializeToString() if isinstance(model, onnx.ModelProto) else str(model)
    session = onnxruntime.InferenceSession(data, providers=['CPUExecutionProvider'])
    picture = pixels[None, :, :, ::-1].transpose(0, 3, 1, 2).astype(np.float32) / 255
    return session.run(None, {PICTURE: np.ascontiguousarray(picture)})


def pictures(count: int, size: tuple[int, int] = (16, 16), seed: int = 7) -> list[Any]:
    """Return random pictures uint8 [H, W, 3]."""
    return list(np.random.default_rng(seed).integers(0, 256, (count, *size, 3), np.uint8))


def fixed_detector(path, rows: np.ndarray, names: str, size=(64, 128)) -> None:
    """
    Write a network that answers with fixed rows.

    It multiplies the objectness of the first row by the largest value of its first channel.
    """
    helper, numpy_helper = onnx.helper, onnx.numpy_helper
    weights = np.zeros(rows.shape, np.float32)
    weights[0, 4] = rows[0, 4]
    constant = rows.copy()
    constant[0, 4] = 0
    graph = helper.make_graph(
        [
            helper.make_node('Slice', ['images', 'zero', 'one', 'one'], ['red']),
            helper.make_node('ReduceMax', ['red'], ['strongest'], keepdims=0),
            helper.make_node('Mul', ['strongest', 'weights'], ['scaled']),
            helper.make_node('Add', ['scaled', 'rows'], ['sum']),
            helper.make_node('Unsqueeze', ['sum', 'front'], ['output0']),
        ],
        'fixed',
        [helper.make_tensor_value_info('images', 1, [1, 3, *size])],
        [helper.make_tensor_value_info('output0', 1, [1, *rows.shape])],
        [numpy_helper.from_array(array, name) for name, array in {
            'zero': np.array([0]), 'one': np.array([1]), 'front': np.array([0]),
            'weights': weights, 'rows': constant}.items()])
    model = helper.make_model(graph, ir_version=8, opset_imports=[helper.make_opsetid('', 13)])
    helper.set_model_props(model, {'names': names})
    onnx.save(model, str(path))


def tiny_detector(
    path: Path, *, seed: int = 0, size: tuple[int, int] = (64, 64), classes: int = 2,
    decode: Any = None, metadata: Mapping[str, str] | None = None,
) -> Path:
    """
    Write a YOLO-like detector with every kind of layer: residual add, SPPF, neck, two levels.

    :param decode: function (builder, raw tensors) -> output tensors; None leaves them raw.
    """
    net = FloatOnnxBuilder(seed)
    stem = net.conv(PICTURE, 8, 6, 2, pads=[2] * 4, name='/model.0/conv/Conv', norm=True)
    p2 = net.conv(stem, 12, 3, 2, name='/model.1/conv/Conv', norm=True, bias=False)
    inner = net.conv(p2, 6, 1, name='/model.2/m/m.0/cv1/conv/Conv')
    branch = net.conv(inner, 12, 3, name='/model.2/m/m.0/cv2/conv/Conv')
    residual = net.node('Add', p2, branch, name='/model.2/m/m.0/Add')
    p3 = net.conv(residual, 16, 3, 2, name='/model.3/conv/Conv')
    pools = [net.conv(p3, 8, 1, name='/model.4/cv1/conv/Conv')]
    for index in range(3):
        pools.append(net.node('MaxPool', pools[-1], name=f'/model.4/m{"_" * index}/MaxPool',
                              kernel_shape=[5, 5], strides=[1, 1], pads=[2] * 4))
    joined = net.node('Concat', *pools, name='/model.4/Concat', channels=32, axis=1)
    deep = net.conv(joined, 16, 1, name='/model.4/cv2/conv/Conv')
    up = net.node('Resize', deep, '', net.constant([1, 1, 2, 2]), name='/model.5/Resize',
                  mode='nearest', coordinate_transformation_mode='asymmetric',
                  nearest_mode='floor')
    neck = net.node('Concat', up, residual, name='/model.6/Concat', channels=28, axis=1)
    fine = net.conv(neck, 16, 3, name='/model.7/conv/Conv')
    channels = 3 * (5 + classes)
    raw = [net.conv(fine, channels, 1, relu=False, name='/model.8/m.0/Conv'),
           net.conv(deep, channels, 1, relu=False, name='/model.8/m.1/Conv')]
    outputs = decode(net, raw) if decode else raw
    return net.save(path, outputs, size=size, metadata=metadata, rank=3 if decode else 4)
