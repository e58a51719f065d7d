# SPDX-License-Identifier: Apache-2.0
"""The YOLOv5 head is recognised by what it computes, however it was exported."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from float_onnx_builder import PICTURE, FloatOnnxBuilder, tiny_detector

from snn_detector_ros.conversion import read_onnx
from snn_detector_ros.errors import ConfigurationError, ConversionError
from snn_detector_ros.network import RawHead, YoloV3Head

ANCHORS = (((10.0, 13.0), (16.0, 30.0), (33.0, 23.0)), ((30.0, 61.0), (62.0, 45.0), (59.0, 119.0)))
SIZES = (16, 8)  # of the maps of `tiny_detector` at 64 px
STRIDES = (4, 8)
COLUMNS = 7


def _decode_v7(net: FloatOnnxBuilder, raw: list[str]) -> list[str]:
    """Grids with the half cell in them and anchors of full size as constants (v6.1 to v7)."""
    rows = []
    for tensor, size, stride, anchors in zip(raw, SIZES, STRIDES, ANCHORS, strict=True):
        sigmoid = net.node('Sigmoid', _as_maps(net, tensor, size))
        xy, wh, rest = net.node(
            'Split', sigmoid, net.constant([2, 2, COLUMNS - 4], np.int64), axis=4, outputs=3)
        cells = np.stack(np.meshgrid(np.arange(size), np.arange(size)), -1) - 0.5
        grid = np.broadcast_to(cells, (1, 3, size, size, 2))
        boxes = np.broadcast_to(np.reshape(anchors, (1, 3, 1, 1, 2)), grid.shape)
        two, power = net.constant(2), net.constant(2)
        xy = net.node('Mul', net.node('Add', net.node('Mul', xy, two), net.constant(grid)),
                      net.constant(stride))
        wh = net.node('Mul', net.node('Pow', net.node('Mul', wh, two), power),
                      net.constant(boxes))
        rows.append(_as_rows(net, net.node('Concat', xy, wh, rest, axis=4)))
    return [net.node('Concat', *rows, axis=1, name='/boxes')]


def _decode_v6(net: FloatOnnxBuilder, raw: list[str]) -> list[str]:
    """Slices instead of splits, the half cell apart, coarse level first, raw maps put out too."""
    rows: list[str] = []
    maps = []
    for tensor, size, stride, anchors in zip(raw, SIZES, STRIDES, ANCHORS, strict=True):
        maps.append(_as_maps(net, tensor, size))
        sigmoid = net.node('Sigmoid', maps[-1])
        xy, wh, rest = (net.node('Slice', sigmoid, *(
            net.constant([value], np.int64) for value in (start, stop, 4)))
            for start, stop in ((0, 2), (2, 4), (4, COLUMNS)))
        grid = np.stack(np.meshgrid(np.arange(size), np.arange(size)), -1)[None, None]
        xy = net.node('Sub', net.node('Mul', xy, net.constant(2)), net.constant(0.5))
        xy = net.node('Mul', net.node('Add', xy, net.constant(grid)), net.constant(stride))
        wh = net.node('Mul', wh, net.constant(2))
        wh = net.node('Mul', net.node('Mul', wh, wh),
                      net.constant(np.reshape(anchors, (1, 3, 1, 1, 2))))
        rows.insert(0, _as_rows(net, net.node('Concat', xy, wh, rest, axis=4)))
    return [net.node('Concat', *rows, axis=1, name='/boxes')]


def _decode_dynamic(net: FloatOnnxBuilder, raw: list[str]) -> list[str]:
    """Grids made from the size of the picture, as exports for any size have them."""
    rows = []
    edge = net.node('Gather', net.node('Shape', PICTURE), net.constant(2, np.int64))
    for tensor, size, stride, anchors in zip(raw, SIZES, STRIDES, ANCHORS, strict=True):
        sigmoid = net.node('Sigmoid', _as_maps(net, tensor, size))
        xy, wh, rest = net.node(
            'Split', sigmoid, net.constant([2, 2, COLUMNS - 4], np.int64), axis=4, outputs=3)
        count = net.node('Div', edge, net.constant(stride, np.int64))
        line = net.node('Cast', net.node('Range', net.constant(0, np.int64), count,
                                         net.constant(1, np.int64)), to=1)
        x, y = (net.node('Reshape', line, net.constant(shape, np.int64))
                for shape in ([1, 1, 1, -1, 1], [1, 1, -1, 1, 1]))
        zero = net.node('Mul', net.node('Add', x, y), net.constant(0))
        grid = net.node('Concat', net.node('Add', x, zero), net.node('Add', y, zero), axis=4)
        xy = net.node('Sub', net.node('Mul', xy, net.constant(2)), net.constant(0.5))
        xy = net.node('Mul', net.node('Add', xy, grid), net.constant(stride))
        wh = net.node('Mul', net.node('Pow', wh, net.constant(2)),
                      net.constant(4 * np.reshape(anchors, (1, 3, 1, 1, 2))))
        rows.append(_as_rows(net, net.node('Concat', xy, wh, rest, axis=4)))
    return [net.node('Concat', *rows, axis=1, name='/boxes')]


def _decode_v3(net: FloatOnnxBuilder, raw: list[str]) -> list[str]:
    """Sizes by exp, as in YOLOv3: not this head."""
    rows = []
    for tensor, size in zip(raw, SIZES, strict=True):
        maps = _as_maps(net, tensor, size)
        xy, wh, rest = net.node(
            'Split', maps, net.constant([2, 2, COLUMNS - 4], np.int64), axis=4, outputs=3)
        rows.append(_as_rows(net, net.node(
            'Concat', net.node('Sigmoid', xy), net.node('Exp', wh), net.node('Sigmoid', rest),
            axis=4)))
    return [net.node('Concat', *rows, axis=1, name='/boxes')]


def _decode_half(net: FloatOnnxBuilder, raw: list[str]) -> list[str]:
    """Right at zero logits, but without the square of the sizes."""
    rows = []
    for tensor, size, stride in zip(raw, SIZES, STRIDES, strict=True):
        sigmoid = net.node('Sigmoid', _as_maps(net, tensor, size))
        rows.append(_as_rows(net, net.node('Mul', sigmoid, net.constant(stride))))
    return [net.node('Concat', *rows, axis=1, name='/boxes')]


def _as_maps(net: FloatOnnxBuilder, tensor: str, size: int) -> str:
    shape = net.constant([1, 3, COLUMNS, size, size], np.int64)
    return net.node('Transpose', net.node('Reshape', tensor, shape, name=f'/head/{tensor}'),
                    perm=[0, 1, 3, 4, 2])


def _as_rows(net: FloatOnnxBuilder, tensor: str) -> str:
    return net.node('Reshape', tensor, net.constant([1, -1, COLUMNS], np.int64))


@pytest.mark.parametrize('decode', [_decode_v7, _decode_v6, _decode_dynamic])
def test_strides_and_anchors_come_from_the_graph(decode: Any, tmp_path: Path) -> None:
    network = read_onnx(tiny_detector(tmp_path / 'net.onnx', decode=decode))
    assert network.head is not None
    assert [level.readout for level in network.head.levels] == ['model.8.m.0', 'model.8.m.1']
    assert tuple(level.stride for level in network.head.levels) == STRIDES
    assert tuple(level.anchors for level in network.head.levels) == ANCHORS
    assert network.class_names == ('class 0', 'class 1')


@pytest.mark.parametrize('decode', [_decode_v3, _decode_half])
def test_other_decoding_stays_as_it_is(decode: Any, tmp_path: Path) -> None:
    network = read_onnx(tiny_detector(tmp_path / 'net.onnx', decode=decode))
    assert isinstance(network.head, RawHead)
    assert list(network.head.inputs) == ['model.8.m.0', 'model.8.m.1']


@pytest.mark.parametrize(('kind', 'message'), [
    ('yolov5', 'needs the anchors'), ('yolov3', 'needs the anchors'),
    ('fastestdet', r'1, 4 and one channel.*model\.8\.m\.0'), ('ultraface', 'four maps')])
def test_head_that_does_not_fit_is_refused(kind: str, message: str, tmp_path: Path) -> None:
    path = tiny_detector(tmp_path / 'net.onnx', decode=_decode_v3)
    with pytest.raises(ConversionError, match=message):
        read_onnx(path, head=kind)


def test_unknown_kind_of_head_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match='known: auto, raw'):
        read_onnx(tiny_detector(tmp_path / 'net.onnx'), head='yolov99')


def test_yolov4_scale_is_kept(tmp_path: Path) -> None:
    head = read_onnx(tiny_detector(tmp_path / 'net.onnx'), head='yolov3', anchors=ANCHORS,
                     scale_xy=1.1).head
    assert isinstance(head, YoloV3Head) and head.scale_xy == 1.1
    assert tuple(level.stride for level in head.levels) == STRIDES


def test_given_anchors_declare_a_head(tmp_path: Path) -> None:
    path = tiny_detector(tmp_path / 'net.onnx', decode=_decode_v3)
    network = read_onnx(path, anchors=ANCHORS)
    assert network.head is not None
    assert tuple(level.stride for level in network.head.levels) == STRIDES
    assert tuple(level.anchors for level in network.head.levels) == ANCHORS


def test_raw_outputs_without_anchors_stay_raw(tmp_path: Path) -> None:
    network = read_onnx(tiny_detector(tmp_path / 'net.onnx'))
    assert isinstance(network.head, RawHead) and network.class_names == ()


def test_raw_outputs_with_anchors_in_metadata_have_a_head(tmp_path: Path) -> None:
    path = tiny_detector(tmp_path / 'net.onnx', metadata={
        'anchors': json.dumps(ANCHORS), 'names': '["cat", "dog"]'})
    network = read_onnx(path)
    assert network.head is not None and network.head.levels[1].anchors == ANCHORS[1]
    assert network.class_names == ('cat', 'dog')


@pytest.mark.parametrize('names', [
    '["cat", "dog"]', "{0: 'cat', 1: 'dog'}", '{"1": "dog", "0": "cat"}'])
def test_names_come_from_metadata(names: str, tmp_path: Path) -> None:
    path = tiny_detector(tmp_path / 'net.onnx', decode=_decode_v7, metadata={'names': names})
    assert read_onnx(path).class_names == ('cat', 'dog')
    assert read_onnx(path, class_names=['a', 'b']).class_names == ('a', 'b')


def test_wrong_number_of_names_is_refused(tmp_path: Path) -> None:
    path = tiny_detector(tmp_path / 'net.onnx', decode=_decode_v7)
    with pytest.raises(ConversionError, match='2 classes, but there are 3 names'):
        read_onnx(path, class_names=['a', 'b', 'c'])


@pytest.mark.parametrize('anchors', [
    (), [[1, 2]], [[[1, 2, 3]]], [[[0, 5]]], 'text', [[[1, 2]], [[1, 2], [3, 4]]]])
def test_malformed_anchors_are_refused(anchors: Any, tmp_path: Path) -> None:
    path = tiny_detector(tmp_path / 'net.onnx', metadata={'anchors': json.dumps(anchors)})
    with pytest.raises(ConversionError, match='anchors'):
        read_onnx(path)


@pytest.mark.parametrize('text', ['[1,', '__import__("os")', '3', '{"a": "cat"}'])
def test_malformed_names_are_refused(text: str, tmp_path: Path) -> None:
    path = tiny_detector(tmp_path / 'net.onnx', metadata={'names': text})
    with pytest.raises(ConversionError, match='metadata `names`'):
        read_onnx(path)


def test_anchors_for_another_number_of_levels_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConversionError, match='1 levels of anchors for 2 readouts'):
        read_onnx(tiny_detector(tmp_path / 'net.onnx'), anchors=ANCHORS[:1])
