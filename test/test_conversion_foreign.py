# SPDX-License-Identifier: Apache-2.0
"""Networks as others export them: equal to the original, and exact in every engine."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from float_onnx_builder import PICTURE, FloatOnnxBuilder, pictures

from snn_detector_ros.conversion import convert, to_onnx
from snn_detector_ros.conversion.onnx_reader import OnnxNetwork, read_onnx_file
from snn_detector_ros.conversion.picture_format import PictureFormat
from snn_detector_ros.detection.raw_outputs import RawOutputs
from snn_detector_ros.engines import make_engine
from snn_detector_ros.network import DepthToSpace, Permutation, RawHead, Rectifier
from snn_detector_ros.network.model_file import save

#: A network: function (builder, picture tensor) -> output tensors.
Body = Callable[[FloatOnnxBuilder, str], list[str]]


def _ints(net: FloatOnnxBuilder, *values: Any) -> list[str]:
    return [net.constant(value, np.int64) for value in values]


def _leaky(net: FloatOnnxBuilder, source: str, channels: int, **options: Any) -> str:
    return net.node('LeakyRelu', net.conv(source, channels, relu=False, **options), alpha=0.1)


def _shuffle(net: FloatOnnxBuilder, x: str, channels: int, size: int) -> str:
    five = net.node('Reshape', x, *_ints(net, [-1, 2, channels // 2, size, size]))
    return net.node('Reshape', net.node('Transpose', five, perm=[0, 2, 1, 3, 4]),
                    *_ints(net, [-1, channels, size, size]), channels=channels)


def _dynamic_shuffle(net: FloatOnnxBuilder, x: str, channels: int) -> str:
    """Write the shuffle with sizes that are read from the tensor, as PyTorch exports do."""
    shape = net.node('Shape', x)
    n, h, w = (net.node('Unsqueeze', net.node('Gather', shape, *_ints(net, axis)), *_ints(net, [0]))
               for axis in (0, 2, 3))
    groups, rest = _ints(net, [2], [channels // 2])
    five = net.node('Reshape', x, net.node('Concat', n, groups, rest, h, w, axis=0))
    swapped = net.node('Transpose', five, perm=[0, 2, 1, 3, 4])
    return net.node('Reshape', swapped,
                    net.node('Concat', n, *_ints(net, [channels]), h, w, axis=0), channels=channels)


def _tiny_yolo(net: FloatOnnxBuilder, x: str) -> list[str]:
    """Leaky ReLU with batch normalisation, a pool of stride 1 with padding at one side."""
    def block(source: str, channels: int, kernel: int = 3) -> str:
        raw = net.conv(source, channels, kernel, relu=False, norm=True, bias=False)
        return net.node('LeakyRelu', raw, alpha=0.1)
    fine = net.node('MaxPool', block(x, 8), kernel_shape=[2, 2], strides=[2, 2])
    deep = net.node('MaxPool', block(fine, 16), kernel_shape=[2, 2], strides=[2, 2])
    deep = net.node('MaxPool', block(deep, 16), kernel_shape=[2, 2], pads=[0, 0, 1, 1])
    up = net.node('Upsample', block(deep, 8, 1), net.constant([1, 1, 2, 2]), mode='nearest') \
        if net.opset < 10 else net.node(
            'Resize', block(deep, 8, 1), net.constant([]), net.constant([1, 1, 2, 2]),
            mode='nearest', coordinate_transformation_mode='asymmetric',
            nearest_mode='floor')
    joined = net.node('Concat', up, fine, axis=1, channels=16)
    return [net.conv(deep, 14, 1, relu=False), net.conv(block(joined, 8), 14, 1, relu=False)]


def _yolo_fastest(net: FloatOnnxBuilder, x: str) -> list[str]:
    """Inverted bottlenecks: depthwise, linear projection, add of linear branches."""
    stem = _leaky(net, x, 8, stride=2)
    wide = _leaky(net, _leaky(net, stem, 16, kernel=1), 16, groups=16)
    projected = net.conv(wide, 6, 1, relu=False, norm=True)
    wide = _leaky(net, _leaky(net, projected, 12, kernel=1), 12, groups=12)
    total = net.node('Add', projected, net.conv(wide, 6, 1, relu=False))
    return [net.conv(_leaky(net, total, 8), 7, 1, relu=False)]


def _nanodet(net: FloatOnnxBuilder, x: str) -> list[str]:
    """ShuffleNetV2 units, and a head whose outputs are reshaped and joined."""
    tensor = net.node('MaxPool', net.conv(x, 8, stride=2), kernel_shape=[3, 3], strides=[2, 2],
                      pads=[1, 1, 1, 1])
    for unit in range(2):
        first, second = net.node('Split', tensor, *_ints(net, [4, 4]), axis=1, outputs=2,
                                 channels=4)
        branch = net.conv(net.conv(net.conv(second, 4, 1), 4, groups=4, relu=False), 4, 1)
        joined = net.node('Concat', first, branch, axis=1, channels=8)
        tensor = _dynamic_shuffle(net, joined, 8) if unit else _shuffle(net, joined, 8, 8)
    scores = net.node('Sigmoid', net.conv(tensor, 3, 1, relu=False))
    parts = [net.node('Reshape', part, *_ints(net, [0, channels, -1]))
             for part, channels in ((scores, 3), (net.conv(tensor, 8, 1, relu=False), 8))]
    return [net.node('Transpose', net.node('Concat', *parts, axis=1), perm=[0, 2, 1])]


def _resnet(net: FloatOnnxBuilder, x: str) -> list[str]:
    """A CIFAR ResNet: add of linear branches, ReLU, global average, fully connected."""
    tensor = net.conv(x, 8, norm=True)
    for stride in (1, 2):
        inner = net.conv(net.conv(tensor, 8, 3, stride), 8, relu=False, norm=True)
        short = tensor if stride == 1 else net.conv(tensor, 8, 1, 2, relu=False)
        tensor = net.node('Relu', net.node('Add', inner, short))
    pooled = net.node('Flatten', net.node('GlobalAveragePool', tensor))
    return [net.node('Gemm', pooled, net.constant(net.rng.normal(0, 1, (5, 8))),
                     net.constant(net.rng.normal(0, 1, 5)), transB=1)]


def _pre_activation(net: FloatOnnxBuilder, x: str) -> list[str]:
    """Batch normalisation in front of convolutions, which cannot be folded through padding."""
    tensor = net.conv(x, 8, relu=False)
    normed = net.node('BatchNormalization', tensor, *map(
        net.constant, net.rng.uniform(0.5, 1.5, (4, 8))))
    inner = net.conv(net.conv(net.node('Relu', normed), 8), 8, relu=False)
    total = net.node('Add', tensor, inner)
    mean = net.node('ReduceMean', total, axes=[2, 3], keepdims=0)
    return [net.node('Add', net.node('MatMul', mean, net.constant(net.rng.normal(0, 1, (8, 4)))),
                     net.constant([0.1, 0.2, 0.3, 0.4]))]


def _centernet(net: FloatOnnxBuilder, x: str) -> list[str]:
    """Transposed convolutions, ReLU6, PReLU with one slope, dilation, an average pool."""
    tensor = net.node('Clip', net.conv(x, 8, stride=2, relu=False), net.constant(0),
                      net.constant(6))
    deep = net.node('AveragePool', tensor, kernel_shape=[2, 2], strides=[2, 2])
    deep = net.conv(deep, 8, dilations=[2, 2], pads=[2] * 4)
    ups = [net.node('ConvTranspose', deep, net.constant(net.rng.normal(0, 0.3, shape)),
                    net.constant(net.rng.normal(0, 0.1, 6)), channels=6, **attributes)
           for shape, attributes in (
               ((8, 6, 2, 2), {'strides': [2, 2]}),
               ((8, 6, 4, 4), {'strides': [2, 2], 'pads': [1] * 4}),
               ((8, 6, 3, 3), {'strides': [2, 2], 'pads': [1] * 4, 'output_padding': [1, 1]}),
               ((8, 3, 4, 4), {'strides': [2, 2], 'pads': [1] * 4, 'group': 2}))]
    active = [net.node('PRelu', up, net.constant(np.full((6, 1, 1), 0.2))) for up in ups[:2]]
    joined = net.node('Concat', *active, net.node('Relu', ups[2]), ups[3], tensor, axis=1,
                      channels=32)
    return [net.node('Sigmoid', net.conv(joined, 2, relu=False))]


def _focus(net: FloatOnnxBuilder, x: str) -> list[str]:
    """Normalise inside the graph, take every second pixel into channels, and constants around."""
    scaled = net.node('Div', x, net.constant(np.reshape([0.2, 0.3, 0.4], (1, 3, 1, 1))))
    parts = [net.node('Slice', scaled, *_ints(net, [i, j], [99, 99], [2, 3], [2, 2]))
             for i, j in ((0, 0), (1, 0), (0, 1), (1, 1))]
    stem = net.conv(net.node('Concat', *parts, axis=1, channels=12), 8, relu=False, bias=False)
    biased = net.node('Add', stem, net.constant(net.rng.normal(0, 0.3, (1, 8, 1, 1))))
    tensor = net.node('Max', net.node('Mul', biased, net.constant(1.5)), net.constant(0))
    return [net.conv(net.node('Min', tensor, net.constant(3)), 4, relu=False)]


def _several_uses(net: FloatOnnxBuilder, x: str) -> list[str]:
    """Let outputs read what the network goes on with: levels, linear ones, and before a ReLU."""
    raw = net.conv(x, 6, relu=False)
    active = net.node('Relu', raw)
    joined = net.node('Concat', active, raw, axis=1, channels=12)
    return [net.conv(joined, 4, relu=False), active, raw]


FAMILIES: dict[str, Body] = {
    'Tiny-YOLO': _tiny_yolo, 'Yolo-Fastest': _yolo_fastest, 'nanodet': _nanodet,
    'ResNet': _resnet, 'pre-activation ResNet': _pre_activation, 'CenterNet': _centernet,
    'Focus stem': _focus, 'several uses': _several_uses}


def _save(path: Path, body: Body, *, opset: int = 17, **options: Any) -> Path:
    net = FloatOnnxBuilder()
    net.opset = opset  # type: ignore[attr-defined]
    outputs = body(net, PICTURE)
    model = net.model(outputs, opset=opset, size=(32, 32), **options)
    for value in model.graph.output:  # their ranks differ
        value.type.tensor_type.ClearField('shape')
    model = onnx.shape_inference.infer_shapes(model)
    path.write_bytes(model.SerializeToString())
    return path


def _original(path: Path, source: OnnxNetwork, pixels: np.ndarray) -> dict[str, np.ndarray]:
    session = onnxruntime.InferenceSession(str(path), providers=['CPUExecutionProvider'])
    blob = np.ascontiguousarray(source.picture.blob(pixels))
    names = [value.name for value in session.get_outputs()]
    return dict(zip(names, session.run(None, {PICTURE: blob}), strict=True))


def _read_back(source: OnnxNetwork, pixels: np.ndarray) -> dict[str, np.ndarray]:
    """Run the float layers and the tail."""
    network = source.network
    assert isinstance(network.head, RawHead)
    body = onnxruntime.InferenceSession(
        to_onnx(network).SerializeToString(), providers=['CPUExecutionProvider'])
    picture = np.ascontiguousarray(PictureFormat().blob(pixels))
    values = dict(zip(network.outputs, body.run(None, {'images': picture}), strict=True))
    tail = onnxruntime.InferenceSession(network.head.tail, providers=['CPUExecutionProvider'])
    shapes = {value.name: value.shape for value in tail.get_inputs()}
    feeds = {tensor: values[name].reshape(shapes[tensor])
             for name, tensor in network.head.inputs.items()}
    names = [value.name for value in tail.get_outputs()]
    return dict(zip(names, tail.run(None, feeds), strict=True))


@pytest.mark.parametrize('body', FAMILIES.values(), ids=FAMILIES.keys())
@pytest.mark.parametrize('batch', [1, 'batch'])
def test_layers_and_tail_equal_the_original(body: Body, batch: int | str, tmp_path: Path) -> None:
    path = _save(tmp_path / 'net.onnx', body, batch=batch)
    source = read_onnx_file(path, head='raw')
    pixels, = pictures(1, (32, 32))
    got, expected = _read_back(source, pixels), _original(path, source, pixels)
    assert list(got) == list(expected)
    for name, value in expected.items():
        # Folding and another order of sums move float32 results by units in the last place.
        np.testing.assert_allclose(got[name], value, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize('name', ['Tiny-YOLO', 'Yolo-Fastest', 'ResNet'])
@pytest.mark.parametrize('opset', [9, 11, 13])
def test_older_opsets_equal_the_original(name: str, opset: int, tmp_path: Path) -> None:
    path = _save(tmp_path / 'net.onnx', FAMILIES[name], opset=opset)
    source = read_onnx_file(path, head='raw')
    pixels, = pictures(1, (32, 32))
    got, expected = _read_back(source, pixels), _original(path, source, pixels)
    for key, value in expected.items():
        np.testing.assert_allclose(got[key], value, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize('body', FAMILIES.values(), ids=FAMILIES.keys())
def test_engine_equals_simulator(body: Body, tmp_path: Path) -> None:
    network = read_onnx_file(_save(tmp_path / 'net.onnx', body), head='raw').network
    spiking = convert(network, pictures(4, (32, 32)))
    pixels, = pictures(1, (32, 32), seed=8)
    fast, slow = make_engine('auto', spiking), make_engine('simulator', spiking)
    got = {name: value.copy() for name, value in fast.run(pixels).items()}
    for name, value in slow.run(pixels).items():
        np.testing.assert_array_equal(got[name], value)


@pytest.mark.parametrize('body', FAMILIES.values(), ids=FAMILIES.keys())
def test_raw_outputs_keep_names_shapes_and_values(body: Body, tmp_path: Path) -> None:
    path = _save(tmp_path / 'net.onnx', body)
    source = read_onnx_file(path, head='raw')
    samples = pictures(8, (32, 32))
    save(convert(source.network, samples), tmp_path / 'spiking.onnx')
    raw = RawOutputs(tmp_path / 'spiking.onnx')
    got, expected = raw(samples[0]), _original(path, source, samples[0])
    assert {name: value.shape for name, value in got.items()} == {
        name: value.shape for name, value in expected.items()}
    for name, value in expected.items():
        spread = value.std() or 1
        # 120 levels a layer: the error stays a small part of what the output says.
        assert np.abs(got[name] - value).mean() < 0.2 * spread


def test_batch_of_a_fixed_size_keeps_the_shapes(tmp_path: Path) -> None:
    path = _save(tmp_path / 'net.onnx', _resnet, batch=2)
    network = read_onnx_file(path, head='raw').network
    save(convert(network, pictures(2, (32, 32))), tmp_path / 'spiking.onnx')
    output, = RawOutputs(tmp_path / 'spiking.onnx')(pictures(1, (32, 32))[0]).values()
    assert output.shape == (2, 5)
    np.testing.assert_array_equal(output[0], output[1])


def test_shuffle_is_one_permutation_and_transposed_convolution_one_block(tmp_path: Path) -> None:
    layers = read_onnx_file(_save(tmp_path / 'a.onnx', _nanodet)).network.layers
    assert sum(isinstance(layer, Permutation) for layer in layers) == 2
    layers = read_onnx_file(_save(tmp_path / 'b.onnx', _centernet)).network.layers
    assert sum(isinstance(layer, DepthToSpace) for layer in layers) == 4
    layers = read_onnx_file(_save(tmp_path / 'c.onnx', _resnet)).network.layers
    assert sum(isinstance(layer, Rectifier) for layer in layers) == 2


@pytest.mark.parametrize('picture', [
    PictureFormat('bgr'), PictureFormat('bgr', 1.0, std=(58.0, 57.0, 60.0))])
def test_format_of_pictures_is_folded_into_the_first_layer(
    picture: PictureFormat, tmp_path: Path,
) -> None:
    path = _save(tmp_path / 'net.onnx', _yolo_fastest)
    source = read_onnx_file(path, head='raw', picture=picture)
    pixels, = pictures(1, (32, 32))
    for name, value in _original(path, source, pixels).items():
        np.testing.assert_allclose(
            _read_back(source, pixels)[name], value, rtol=1e-3, atol=1e-3 * np.abs(value).max())


def test_mean_is_exact_where_the_first_layer_sees_no_padding(tmp_path: Path) -> None:
    def body(net: FloatOnnxBuilder, x: str) -> list[str]:
        return [net.conv(x, 4, relu=False)]
    path = _save(tmp_path / 'net.onnx', body)
    source = read_onnx_file(path, head='raw', picture=PictureFormat(
        'rgb', 1.0, (127.0, 120.0, 110.0), (128.0, 128.0, 128.0)))
    pixels, = pictures(1, (32, 32))
    (name, value), = _original(path, source, pixels).items()
    got = _read_back(source, pixels)[name]
    np.testing.assert_allclose(got[..., 1:-1, 1:-1], value[..., 1:-1, 1:-1], rtol=1e-4, atol=1e-4)
    assert np.abs(got - value).max() > 0.01  # the border, as documented


def test_sizes_that_exporters_write_as_minus_one_are_free(tmp_path: Path) -> None:
    path = _save(tmp_path / 'net.onnx', _tiny_yolo)
    model = onnx.load(str(path))
    for dim in (0, 2, 3):
        model.graph.input[0].type.tensor_type.shape.dim[dim].dim_value = -1
    onnx.save(model, str(path))
    assert read_onnx_file(path, input_size=(64, 32)).network.input_size == (64, 32)
