# SPDX-License-Identifier: Apache-2.0
"""What ONNX operators become that sum weighted inputs: all of them are convolutions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from snn_detector_ros.conversion.float_network import FloatConvolution
from snn_detector_ros.conversion.onnx_graph import OnnxNode
from snn_detector_ros.conversion.onnx_windows import (
    TransposedWindow,
    check_kernel,
    read_transposed_window,
    read_window,
)
from snn_detector_ros.conversion.picture_stem import fold_picture
from snn_detector_ros.conversion.tensor_view import NO_PADDING, View
from snn_detector_ros.network import IMAGE, MaxPool, Shape

if TYPE_CHECKING:
    from snn_detector_ros.conversion.onnx_translation import Translation


def convolution(walk: Translation, node: OnnxNode) -> None:
    """Read a convolution; a dilated one has zeros in a larger kernel."""
    weight, bias = _weight_and_bias(walk, node)
    weight = _dilate(weight, node.attributes.get('dilations', (1, 1)))
    groups = int(node.attributes.get('group', 1))
    view = walk.view(node)
    if view.layer == IMAGE:
        source, channels = IMAGE, view.shape[1]
        size: Shape = (*view.shape[2:], channels)  # type: ignore[assignment]
    else:
        source = walk.source(node, padded=True)
        size, channels = walk.shape(source), walk.shape(source)[2]
    if weight.shape[1] * groups != channels or len(weight) % groups:
        raise node.error(f'weights {weight.shape} in {groups} group(s) do not fit an input of '
                         f'{channels} channels')
    _, stride, padding = read_window(
        node, weight.shape[2:], _padded(size, view), dilation=True)
    conv = FloatConvolution(
        walk.name(node), source, weight.astype(np.float32), bias, 1.0, stride,
        _sum(padding, view.padding), groups)
    walk.add(node, fold_picture(node, conv, view) if source == IMAGE else conv)


def transposed_convolution(walk: Translation, node: OnnxNode) -> None:
    """
    Read a transposed convolution: an ordinary one that makes a block of pixels at each place.

    Pixel ``factor * h + r`` sums ``x[h - d] * w[factor * d + r + pad]`` over all d that exist.
    """
    weight, bias = _weight_and_bias(walk, node, outputs_axis=1)
    weight = _dilate(weight, node.attributes.get('dilations', (1, 1)))
    groups = int(node.attributes.get('group', 1))
    source = walk.source(node)
    height, width, channels = walk.shape(source)
    if len(weight) != channels:
        raise node.error(f'weights {weight.shape} do not fit an input of {channels} channels')
    factor, windows = read_transposed_window(node, weight.shape[2:], (height, width))
    kernel = tuple(window.size for window in windows)
    inputs, outputs = channels // groups, weight.shape[1]
    blocks = np.zeros((groups, factor, factor, outputs, inputs, *kernel))
    by_group = weight.reshape(groups, inputs, outputs, *weight.shape[2:]).swapaxes(1, 2)
    for row in range(factor):
        for column in range(factor):
            rows, columns = windows[0].taps(row), windows[1].taps(column)
            for place_y, tap_y in rows:
                for place_x, tap_x in columns:
                    blocks[:, row, column, :, :, place_y, place_x] = by_group[..., tap_y, tap_x]
    by_block = np.broadcast_to(
        bias.reshape(groups, 1, 1, outputs), (groups, factor, factor, outputs))
    conv = FloatConvolution(
        walk.name(node), source, blocks.reshape(-1, inputs, *kernel).astype(np.float32),
        by_block.ravel().astype(np.float32), 1.0,
        padding=(windows[0].before, windows[1].before, windows[0].after, windows[1].after),
        groups=groups)
    walk.add(node, conv, _blocks_to_pixels(walk, conv, factor, outputs, windows))


def fully_connected(walk: Translation, node: OnnxNode) -> None:
    """Read Gemm or MatMul with constant weights as a convolution over the whole map."""
    matrix = walk.constant(node, 1)
    if matrix is None or matrix.ndim != 2 or node.attributes.get('transA', 0):
        raise node.error('multiplies two activations, or more than rows by a matrix: attention has '
                         'no spiking form here; use a convolutional network with ReLU')
    if node.attributes.get('transB', 0):
        matrix = matrix.T
    offset = walk.constant(node, 2)
    view = walk.view(node)
    if view.layer == IMAGE or len(view.shape) != 2 or view.shape[1] != len(matrix):
        raise node.error(f'reads a tensor of {view.shape}, needs [N, {len(matrix)}] from a layer')
    batch, channels, height, width = view.source
    check_kernel(node, (height, width))
    per_picture = channels * height * width
    expected = view.numbers[0] + np.arange(batch)[:, None] * per_picture
    if view.padding != NO_PADDING or not np.array_equal(view.numbers, expected):
        raise node.error('mixes the pictures of a batch')
    outputs = matrix.shape[1]
    weight = np.zeros((per_picture, outputs))
    np.add.at(weight, view.numbers[0], matrix * node.attributes.get('alpha', 1.0))
    bias = np.zeros(outputs) if offset is None else np.broadcast_to(
        np.asarray(offset, np.float64) * node.attributes.get('beta', 1.0), (1, outputs))[0]
    conv = FloatConvolution(
        walk.name(node), view.layer,
        weight.T.reshape(outputs, channels, height, width).astype(np.float32),
        bias.astype(np.float32))
    index = np.arange(batch * outputs, dtype=np.int64).reshape(batch, outputs)
    walk.add(node, conv, View(conv.name, (batch, outputs, 1, 1), index))


def average_pool(walk: Translation, node: OnnxNode) -> None:
    """Read an average pool as synapses of equal weight."""
    source = walk.source(node, padded=True)
    outer = walk.view(node).padding
    size = _padded(walk.shape(source), walk.view(node))
    kernel, stride, padding = read_window(node, tuple(node.attributes['kernel_shape']), size)
    if any(padding) and (
            node.attributes.get('ceil_mode', 0) or not node.attributes.get('count_include_pad', 0)):
        raise node.error('averages over fewer pixels at the border (count_include_pad=0, or '
                         'ceil_mode), which one set of weights cannot do; export without padding, '
                         'or with count_include_pad=1 and ceil_mode=0')
    if node.attributes.get('ceil_mode', 0) and any(
            (size[axis] + padding[axis] + padding[axis + 2] - kernel[axis]) % stride[axis]
            for axis in (0, 1)):
        raise node.error('ceil_mode averages over fewer pixels at the border; export with '
                         'ceil_mode=0')
    _average(walk, node, source, kernel, stride, _sum(padding, outer))


def global_pool(walk: Translation, node: OnnxNode) -> None:
    """Read an average or a maximum over the whole map."""
    source = walk.source(node)
    kernel = walk.shape(source)[:2]
    check_kernel(node, kernel)
    if node.operator == 'GlobalMaxPool':
        walk.add(node, MaxPool(walk.name(node), source, kernel))
    else:
        _average(walk, node, source, kernel)


def reduce_mean(walk: Translation, node: OnnxNode) -> None:
    """Read a mean over height and width."""
    axes = node.attributes.get('axes', walk.constant(node, 1))
    if axes is None or sorted(int(axis) % 4 for axis in np.ravel(axes)) != [2, 3]:
        raise node.error('only means over height and width are synapses of equal weight')
    source = walk.source(node)
    height, width, channels = walk.shape(source)
    check_kernel(node, (height, width))
    vectors = None
    if not node.attributes.get('keepdims', 1):
        vectors = View('', (walk.batch, channels, 1, 1)).numbers.reshape(walk.batch, channels)
    _average(walk, node, source, (height, width), vectors=vectors)


def _average(
    walk: Translation, node: OnnxNode, source: str, kernel: tuple[int, int],
    stride: tuple[int, int] = (1, 1), padding: tuple[int, int, int, int] = (0, 0, 0, 0), *,
    vectors: NDArray[np.int64] | None = None,
) -> None:
    """Add the synapses; ``vectors`` are the numbers of the output where that is no map."""
    channels = walk.shape(source)[2]
    conv = FloatConvolution(
        walk.name(node), source,
        np.full((channels, 1, *kernel), 1 / (kernel[0] * kernel[1]), np.float32),
        np.zeros(channels, np.float32), 1.0 if walk.is_signed(source) else 0.0, stride, padding,
        channels)
    view = None if vectors is None else View(conv.name, (walk.batch, channels, 1, 1), vectors)
    walk.add(node, conv, view)


def _weight_and_bias(
    walk: Translation, node: OnnxNode, outputs_axis: int = 0,
) -> tuple[NDArray[Any], NDArray[np.float32]]:
    weight, bias = walk.constant(node, 1), walk.constant(node, 2)
    if weight is None:
        raise node.error('its weights are not constants')
    if weight.ndim != 4:
        raise node.error(f'weights {weight.shape} are not those of a two-dimensional convolution')
    groups = int(node.attributes.get('group', 1)) if outputs_axis else 1
    count = weight.shape[outputs_axis] * groups
    if bias is not None and bias.shape != (count,):
        raise node.error(f'a bias of {bias.shape} does not fit weights of {weight.shape}')
    return weight, np.zeros(count, np.float32) if bias is None else bias.astype(np.float32)


def _dilate(weight: NDArray[Any], dilations: tuple[int, int]) -> NDArray[Any]:
    """Put zeros between the weights."""
    steps = tuple(int(step) for step in dilations)
    if steps == (1, 1):
        return weight
    sides = tuple((side - 1) * step + 1 for side, step in zip(weight.shape[2:], steps, strict=True))
    wide = np.zeros((*weight.shape[:2], *sides), weight.dtype)
    wide[:, :, ::steps[0], ::steps[1]] = weight
    return wide


def _padded(size: Shape, view: View) -> Shape:
    top, left, bottom, right = view.padding
    return size[0] + top + bottom, size[1] + left + right, size[2]


def _sum(
    first: tuple[int, int, int, int], second: tuple[int, int, int, int],
) -> tuple[int, int, int, int]:
    return (first[0] + second[0], first[1] + second[1], first[2] + second[2],
            first[3] + second[3])


def _blocks_to_pixels(
    walk: Translation, conv: FloatConvolution, factor: int, outputs: int,
    windows: tuple[TransposedWindow, TransposedWindow],
) -> View:
    """Return the pixels that the channels (group, row, column, output) of each place become."""
    rows, columns = (window.places for window in windows)
    source = (walk.batch, len(conv.weight), rows, columns)
    blocks = View(conv.name, source).numbers.reshape(
        walk.batch, conv.groups, factor, factor, outputs, rows, columns)
    pixels = blocks.transpose(0, 1, 4, 5, 2, 6, 3).reshape(
        walk.batch, conv.groups * outputs, rows * factor, columns * factor)
    return View(conv.name, source, None if factor == 1 else pixels)
