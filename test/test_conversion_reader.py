# SPDX-License-Identifier: Apache-2.0
"""Reading float ONNX graphs: the same outputs as the original, and refusals that name the node."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from float_onnx_builder import PICTURE, FloatOnnxBuilder, pictures, run_float, tiny_detector

from snn_detector_ros.conversion import FloatConvolution, read_onnx, to_onnx
from snn_detector_ros.errors import ConversionError
from snn_detector_ros.network import Add, MaxPool, Slice, Upsample

Body = Callable[[FloatOnnxBuilder, str], str]


def _save(path: Path, body: Body, **options: Any) -> Path:
    """Write a graph with a stem, a body and a readout."""
    net = FloatOnnxBuilder()
    tensor = body(net, net.conv(PICTURE, 8, name='/stem/conv/Conv'))
    return net.save(path, [net.conv(tensor, 4, 1, relu=False, name='/out/Conv')], **options)


def _scales(net: FloatOnnxBuilder) -> list[str]:
    return ['', net.constant([1, 1, 2, 2])]


_FLOOR = {'nearest_mode': 'floor', 'coordinate_transformation_mode': 'asymmetric'}


def _integers(net: FloatOnnxBuilder, *values: list[int]) -> list[str]:
    return [net.constant(value, np.int64) for value in values]


def _split_concat(net: FloatOnnxBuilder, x: str, sizes: list[str], **attributes: Any) -> str:
    first, second = net.node('Split', x, *sizes, axis=1, outputs=2, channels=4, **attributes)
    return net.node('Concat', second, first, axis=1, channels=8)


def _resize_by_shape(net: FloatOnnxBuilder, x: str) -> str:
    """Compute the target size from the shape, as exporters do for free input sizes."""
    shape = net.node('Shape', x)
    starts, ends = _integers(net, [2], [4])
    height_width = net.node('Slice', shape, starts, ends)
    double = net.node('Mul', height_width, net.constant([2, 2], np.int64))
    batch_channels = net.node('Slice', shape, *_integers(net, [0], [2]))
    size = net.node('Concat', batch_channels, double, axis=0)
    return net.node('Resize', x, '', '', size, mode='nearest',
                    coordinate_transformation_mode='asymmetric', nearest_mode='floor')


EQUAL: dict[str, Body] = {
    'batch norm': lambda n, x: n.conv(x, 8, norm=True),
    'batch norm without bias': lambda n, x: n.conv(x, 8, norm=True, bias=False),
    'groups': lambda n, x: n.conv(x, 8, groups=4),
    'depthwise': lambda n, x: n.conv(x, 8, groups=8),
    'uneven pads': lambda n, x: n.conv(x, 8, pads=[0, 1, 2, 1]),
    'auto_pad upper': lambda n, x: n.conv(x, 8, 3, 2, auto_pad='SAME_UPPER'),
    'auto_pad lower': lambda n, x: n.conv(x, 8, 4, 2, auto_pad='SAME_LOWER'),
    'auto_pad valid': lambda n, x: n.conv(x, 8, auto_pad='VALID'),
    'relu6': lambda n, x: n.node(
        'Clip', n.conv(x, 8, relu=False), n.constant(0), n.constant(0.4)),
    'clip without maximum': lambda n, x: n.node(
        'Clip', n.conv(x, 8, relu=False), n.constant(0)),
    'pool 2x2/2': lambda n, x: n.node('MaxPool', x, kernel_shape=[2, 2], strides=[2, 2]),
    'pool 3x3/2': lambda n, x: n.node(
        'MaxPool', x, kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1]),
    'pool ceil_mode': lambda n, x: n.node(
        'MaxPool', x, kernel_shape=[3, 3], strides=[2, 2], ceil_mode=1),
    'add': lambda n, x: n.node('Add', x, n.conv(x, 8)),
    'add and relu': lambda n, x: n.node('Relu', n.node('Add', x, n.conv(x, 8))),
    'concat twice the same': lambda n, x: n.node('Concat', x, x, axis=-3, channels=16),
    'split by input': lambda n, x: _split_concat(n, x, _integers(n, [4, 4])),
    'split in equal parts': lambda n, x: _split_concat(n, x, []),
    'slice': lambda n, x: n.node(
        'Slice', x, *_integers(n, [2], [-1], [1], [1]), channels=5),
    'resize asymmetric': lambda n, x: n.node(
        'Resize', x, *_scales(n), mode='nearest', nearest_mode='floor',
        coordinate_transformation_mode='asymmetric'),
    'resize half_pixel': lambda n, x: n.node('Resize', x, *_scales(n), mode='nearest'),
    'resize to computed size': _resize_by_shape,
    'copies': lambda n, x: n.node('Identity', n.node('Dropout', n.node('Cast', x, to=1))),
    'relu of relu': lambda n, x: n.node('Relu', x),
    'pool of padded levels': lambda n, x: n.node(
        'MaxPool', n.node('Pad', x, *_integers(n, [0, 0, 0, 0, 0, 0, 1, 1])), kernel_shape=[2, 2]),
    'pool of padded signed levels': lambda n, x: n.node(
        'MaxPool', n.node('Pad', n.conv(x, 8, relu=False), *_integers(
            n, [0, 0, 0, 0, 0, 0, 1, 1])), kernel_shape=[2, 2]),
    'concat and sum of padded levels': lambda n, x: n.node(
        'Add', n.node('Concat', p := n.node('Pad', x, *_integers(n, [0, 0, 1, 1, 0, 0, 1, 1])), p,
                      axis=1, channels=16), n.conv(p, 16)),
    'sum of one': lambda n, x: n.node('Sum', x),
    'average with ceil_mode that changes nothing': lambda n, x: n.node(
        'AveragePool', x, kernel_shape=[2, 2], strides=[2, 2], ceil_mode=1),
}


@pytest.mark.parametrize('body', EQUAL.values(), ids=EQUAL.keys())
def test_operator_equals_original(body: Body, tmp_path: Path) -> None:
    path = _save(tmp_path / 'net.onnx', body)
    picture, = pictures(1)
    expected, = run_float(path, picture)
    got, = run_float(to_onnx(read_onnx(path)), picture)
    # Folding and another order of sums move float32 results by a few units in the last place.
    np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-5)


OLD: dict[str, tuple[int, Body]] = {
    'opset 9 Upsample': (9, lambda n, x: n.node(
        'Upsample', x, n.constant([1, 1, 2, 2]), mode='nearest')),
    'opset 9 Slice': (9, lambda n, x: n.node(
        'Slice', x, starts=[2], ends=[7], axes=[1], channels=5)),
    'opset 10 Resize': (10, lambda n, x: n.node(
        'Resize', x, n.constant([1, 1, 2, 2]), mode='nearest')),
    'opset 11 Split': (11, lambda n, x: _split_concat(n, x, [], split=[3, 5])),
    'opset 9 Clip': (9, lambda n, x: n.node('Clip', n.conv(x, 8, relu=False), min=0.0, max=6.0)),
}


@pytest.mark.parametrize(('opset', 'body'), OLD.values(), ids=OLD.keys())
def test_old_operator_equals_original(opset: int, body: Body, tmp_path: Path) -> None:
    path = _save(tmp_path / 'net.onnx', body, opset=opset)
    picture, = pictures(1)
    np.testing.assert_allclose(run_float(to_onnx(read_onnx(path)), picture)[0],
                               run_float(path, picture)[0], rtol=1e-4, atol=1e-5)


REFUSED: dict[str, tuple[Body, str]] = {
    'SiLU': (lambda n, x: n.sigmoid_silu(n.conv(x, 8, relu=False)),
             r'`/act/Sigmoid` \(Sigmoid\).*ReLU'),
    'gate on levels': (lambda n, x: n.sigmoid_silu(x), r'`/act/Sigmoid` \(Sigmoid\)'),
    'attention': (lambda n, x: n.node('Softmax', x, name='/attention'), r'`/attention`.*attention'),
    'average that changes at the border': (lambda n, x: n.node(
        'AveragePool', x, kernel_shape=[3, 3], pads=[1] * 4, name='/mean'), '`/mean`.*border'),
    'average that ceil_mode extends': (lambda n, x: n.node(
        'AveragePool', x, kernel_shape=[3, 3], strides=[2, 2], ceil_mode=1, count_include_pad=1,
        name='/mean'), '`/mean`.*ceil_mode'),
    'groups that do not divide': (lambda n, x: n.node(
        'Conv', x, n.constant(np.ones((6, 2, 1, 1))), group=4, name='/group'), '`/group`.*4 group'),
    'window that is too large': (lambda n, x: n.conv(
        x, 8, dilations=[40, 40], pads=[40] * 4, name='/wide'), '`/wide`.*81x81 px'),
    'maximum of three': (lambda n, x: n.node(
        'Max', x, n.constant(0), n.constant(1), name='/max'), '`/max`.*3 tensors'),
    'division by zero': (lambda n, x: n.node('Div', x, n.constant(0), name='/div'),
                         '`/div`.*by zero'),
    'slopes that differ': (lambda n, x: n.node(
        'PRelu', n.conv(x, 8, relu=False), n.constant(np.linspace(0.1, 0.4, 8)[:, None, None]),
        name='/prelu'), '`/prelu`.*shared slope'),
    'steep slope': (lambda n, x: n.node('LeakyRelu', n.conv(x, 8, relu=False), alpha=2.0,
                                        name='/leaky'), '`/leaky`.*slope 2'),
    'gate': (lambda n, x: n.node('Mul', x, n.conv(x, 8), name='/gate'), '`/gate`.*--init'),
    'hard swish': (lambda n, x: n.node('HardSwish', n.conv(x, 8, relu=False), name='/hswish'),
                   '`/hswish`.*snn-detector train --init'),
    'constant for each pixel': (lambda n, x: n.node(
        'Add', x, n.constant(np.arange(256).reshape(16, 16)), name='/map'),
        '`/map`.*one number a channel'),
    'reflected border': (lambda n, x: n.conv(n.node(
        'Pad', x, *_integers(n, [0, 0, 1, 1, 0, 0, 1, 1]), mode='reflect', name='/pad'), 8),
        '`/pad`.*zeros'),
    'transposed convolution that leaves pixels over': (lambda n, x: n.node(
        'ConvTranspose', x, n.constant(np.ones((8, 8, 3, 3))), strides=[2, 2], name='/up'),
        '`/up`.*33 pixels of 16'),
    'product of activations': (lambda n, x: n.node('MatMul', x, x, name='/attention'),
                               '`/attention`'),
    'cast to integers': (lambda n, x: n.node('Cast', x, to=6, name='/int'), '`/int`.*integers'),
    'unknown operator': (lambda n, x: n.node('Sin', x, name='/sin'), r'`/sin` \(Sin\)'),
    'broadcast add': (lambda n, x: n.node('Add', x, n.conv(x, 1), name='/sum'),
                      '`/sum`.*one shape'),
    'clip from below zero': (lambda n, x: n.node(
        'Clip', n.conv(x, 8, relu=False), n.constant(-1), n.constant(1), name='/clip'), '`/clip`'),
    'linear resize': (lambda n, x: n.node('Resize', x, *_scales(n), mode='linear', name='/up'),
                      '`/up`.*linear'),
    'resize by 1.5': (lambda n, x: n.node('Resize', x, '', n.constant([1, 1, 1.5, 1.5]),
                                          name='/up'), '`/up`.*whole factor'),
    'shifted resize': (lambda n, x: n.node('Resize', x, *_scales(n), nearest_mode='floor',
                                           name='/up'), '`/up`.*repeat'),
    'concat of rows': (lambda n, x: n.node('Concat', x, x, axis=2, name='/rows'),
                       '/rows.*other than maps'),
    'slice of padding': (lambda n, x: n.node('Slice', n.node(
        'Pad', x, *_integers(n, [0, 0, 1, 1, 0, 0, 1, 1])), *_integers(n, [0], [4], [1]),
        name='/cut'), '`/cut`.*zeros that a Pad'),
    'slice of rows': (lambda n, x: n.node('Slice', x, *_integers(n, [0], [8], [2], [1]),
                                          name='/rows'), '/rows.*other than maps'),
    'pool of the picture': (lambda n, x: n.node(
        'MaxPool', PICTURE, kernel_shape=[3, 3], pads=[1] * 4, name='/pool'), '`/pool`.*picture'),
    'endless resize': (lambda n, x: n.node('Resize', x, '', n.constant([1, 1, np.inf, np.inf]),
                                           name='/up'), '`/up`.*at most 16'),
    'huge output': (lambda n, x: n.node('Resize', n.node(
        'Resize', n.node('Resize', x, '', s := n.constant([1, 1, 16, 16]), **_FLOOR), '', s,
        **_FLOOR), '', s, name='/up', **_FLOOR), '`/up`.*too large'),
    'stride 0': (lambda n, x: n.node('MaxPool', x, kernel_shape=[2, 2], strides=[0, 0],
                                     name='/pool'), '`/pool`.*malformed'),
    'two pads': (lambda n, x: n.conv(x, 8, pads=[1, 1], name='/conv'), '`/conv`.*malformed'),
    'norm of other channels': (lambda n, x: n.node(
        'BatchNormalization', n.conv(x, 8, relu=False), *map(n.constant, np.ones((4, 5))),
        name='/norm'), '`/norm`.*one number a channel'),
    'bias of other channels': (lambda n, x: n.node('Relu', n.node(
        'Conv', x, n.constant(np.ones((8, 8, 1, 1))), n.constant(np.ones(3)), name='/conv')),
        '`/conv`.*bias'),
    'unknown auto_pad': (lambda n, x: n.node('MaxPool', x, kernel_shape=[3, 3], auto_pad=b'\xff',
                                             name='/pool'), '`/pool`.*auto_pad'),
}


@pytest.mark.parametrize(('body', 'message'), REFUSED.values(), ids=REFUSED.keys())
def test_refusal_names_the_node(body: Body, message: str, tmp_path: Path) -> None:
    with pytest.raises(ConversionError, match=message):
        read_onnx(_save(tmp_path / 'net.onnx', body))


def test_names_are_short_and_layers_in_order(tmp_path: Path) -> None:
    network = read_onnx(tiny_detector(tmp_path / 'net.onnx'))
    assert [layer.name for layer in network.layers] == [
        'model.0', 'model.1', 'model.2.m.0.cv1', 'model.2.m.0.cv2', 'model.2.m.0.add', 'model.3',
        'model.4.cv1', 'model.4.m', 'model.4.m_', 'model.4.m__', 'model.4.concat', 'model.4.cv2',
        'model.5', 'model.6.concat', 'model.7', 'model.8.m.0', 'model.8.m.1']
    assert network.outputs == ('model.8.m.0', 'model.8.m.1')
    kinds = {layer.name: type(layer) for layer in network.layers}
    assert (kinds['model.2.m.0.add'], kinds['model.4.m'], kinds['model.5']) == (
        Add, MaxPool, Upsample)


@pytest.mark.parametrize(('name', 'expected'), [
    ('image', ['image_2', 'image_3']),  # also the name of the picture
    ('//', ['conv', 'conv_2'])])
def test_nodes_without_a_name_of_their_own_get_unique_ones(
    name: str, expected: list[str], tmp_path: Path,
) -> None:
    net = FloatOnnxBuilder()
    net.conv(net.conv(PICTURE, 4), 4, relu=False)
    for node in net.nodes:
        node.name = name
    path = net.save(tmp_path / 'net.onnx', [net.nodes[-1].output[0]])
    assert [layer.name for layer in read_onnx(path).layers] == expected


def test_sizes_of_a_resize_may_count_a_batch(tmp_path: Path) -> None:
    path = _save(tmp_path / 'net.onnx', lambda n, x: n.node(
        'Resize', x, '', '', *_integers(n, [4, 8, 32, 32]), mode='nearest', **_FLOOR), batch=4)
    assert read_onnx(path).shapes()['out'] == (32, 32, 4)


def test_unused_layers_are_left_out(tmp_path: Path) -> None:
    net = FloatOnnxBuilder()
    stem = net.conv(PICTURE, 4)
    first, _ = net.node('Split', stem, axis=1, outputs=2, channels=2)
    net.conv(stem, 4)
    path = net.save(tmp_path / 'net.onnx', [net.conv(first, 4, relu=False)])
    layers = read_onnx(path).layers
    assert [type(layer) for layer in layers] == [FloatConvolution, Slice, FloatConvolution]


def test_free_input_size_must_be_given(tmp_path: Path) -> None:
    path = _save(tmp_path / 'net.onnx', lambda n, x: x, size=('h', 'w'), batch='n')
    with pytest.raises(ConversionError, match='no fixed size'):
        read_onnx(path)
    assert read_onnx(path, input_size=(32, 48)).shapes()['out'] == (32, 48, 4)


def test_fixed_input_size_cannot_be_changed(tmp_path: Path) -> None:
    path = _save(tmp_path / 'net.onnx', lambda n, x: x)
    with pytest.raises(ConversionError, match='16x16 px'):
        read_onnx(path, input_size=(32, 32))


@pytest.mark.parametrize('content', [b'', b'not a model', b'\x08\x07'])
def test_broken_file_is_refused(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / 'broken.onnx'
    path.write_bytes(content)
    with pytest.raises(ConversionError, match='broken.onnx'):
        read_onnx(path)


def test_pipe_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / 'pipe')
    with pytest.raises(ConversionError, match='no regular file'):
        read_onnx(tmp_path / 'pipe')


def test_weights_in_another_file_are_refused_with_the_remedy(tmp_path: Path) -> None:
    model = onnx.load(tiny_detector(tmp_path / 'net.onnx'))
    onnx.save(model, tmp_path / 'split.onnx', save_as_external_data=True, location='data',
              size_threshold=0)
    with pytest.raises(ConversionError, match=r'lies in another file.*onnx\.save'):
        read_onnx(tmp_path / 'split.onnx')


@pytest.mark.parametrize('size', [(-16, 16), (0, 16), (16, 10**9)])
def test_impossible_input_size_is_refused(size: tuple[int, int], tmp_path: Path) -> None:
    path = _save(tmp_path / 'net.onnx', lambda n, x: x, size=('h', 'w'))
    with pytest.raises(ConversionError, match=r'1\.\.8192 px'):
        read_onnx(path, input_size=size)


def test_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConversionError, match='No such file'):
        read_onnx(tmp_path / 'absent.onnx')
