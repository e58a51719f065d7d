# SPDX-License-Identifier: Apache-2.0
"""What each ONNX operator becomes: one function an operator, and the table that finds it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from onnx import TensorProto

from snn_detector_ros.conversion.float_network import FloatConvolution
from snn_detector_ros.conversion.onnx_graph import OnnxNode
from snn_detector_ros.conversion.onnx_windows import read_upsample_factor, read_window
from snn_detector_ros.network import Add, Concat, MaxPool, Slice, Upsample

if TYPE_CHECKING:
    from snn_detector_ros.conversion.onnx_translation import Translation

_CHANNELS = (1, -3)
_FLOATS = (TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.BFLOAT16, TensorProto.DOUBLE)


def _convolution(walk: Translation, node: OnnxNode) -> None:
    source = walk.source(node)
    weight = walk.constant(node, 1)
    if weight is None:
        raise node.error('its weights are not constants')
    bias = walk.constant(node, 2)
    size = walk.shape(source)
    _, stride, padding = read_window(node, weight.shape[2:], size)
    groups = int(node.attributes.get('group', 1))
    if weight.shape[1] * groups != size[2]:
        raise node.error(f'weights {weight.shape} in {groups} group(s) do not fit an input of '
                         f'{size[2]} channels')
    if bias is not None and bias.shape != weight.shape[:1]:
        raise node.error(f'a bias of {bias.shape} does not fit weights of {weight.shape}')
    walk.add(node, FloatConvolution(
        walk.name(node), source, weight.astype(np.float32),
        np.zeros(len(weight), np.float32) if bias is None else bias.astype(np.float32),
        stride=stride, padding=padding, groups=groups))


def _batch_normalization(walk: Translation, node: OnnxNode) -> None:
    """Fold ``(x - mean) * gain / sqrt(variance + epsilon) + shift`` into the convolution."""
    conv = walk.membrane(node)
    if conv is None:
        raise node.error('follows no convolution; only Conv - BatchNormalization can be folded')
    values = [walk.constant(node, index) for index in range(1, 5)]
    if any(value is None for value in values):
        raise node.error('its statistics are not constants')
    gain, shift, mean, variance = (np.asarray(value, np.float64) for value in values)
    factor = gain / np.sqrt(variance + node.attributes.get('epsilon', 1e-5))
    walk.add(node, replace(
        conv,
        weight=(conv.weight * factor[:, None, None, None]).astype(np.float32),
        bias=((conv.bias - mean) * factor + shift).astype(np.float32)))


def _relu(walk: Translation, node: OnnxNode) -> None:
    conv = walk.membrane(node)
    if conv is None:
        walk.alias(node)  # levels and sums of levels are never negative
    else:
        walk.add(node, replace(conv, relu=True))


def _clip(walk: Translation, node: OnnxNode) -> None:
    bounds = [node.attributes.get(key, walk.constant(node, index))
              for index, key in ((1, 'min'), (2, 'max'))]
    low, high = (default if bound is None else float(bound)
                 for bound, default in zip(bounds, (-np.inf, np.inf), strict=True))
    conv = walk.membrane(node)
    if conv is None and low <= 0 and np.isinf(high):
        walk.alias(node)
    elif conv is None or low != 0 or high <= 0:
        raise node.error(f'clips to {low}..{high}; only 0..c behind a convolution is a spiking '
                         'neuron (ReLU, ReLU6)')
    else:
        walk.add(node, replace(conv, relu=True, cap=high))


def _max_pool(walk: Translation, node: OnnxNode) -> None:
    source = walk.source(node)
    if len(node.outputs) > 1:
        raise node.error('indices of the maxima are not available')
    kernel, stride, padding = read_window(
        node, tuple(node.attributes['kernel_shape']), walk.shape(source))
    if max(padding[0], padding[2]) >= kernel[0] or max(padding[1], padding[3]) >= kernel[1]:
        raise node.error(f'padding {padding} must be smaller than the kernel {kernel}')
    walk.add(node, MaxPool(walk.name(node), source, kernel, stride, padding))


def _add(walk: Translation, node: OnnxNode) -> None:
    first, second = walk.source(node, 0), walk.source(node, 1)
    if walk.shape(first) != walk.shape(second):
        raise node.error(f'adds {walk.shape(first)} and {walk.shape(second)}; both need one shape')
    walk.add(node, Add(walk.name(node), (first, second)))


def _concat(walk: Translation, node: OnnxNode) -> None:
    if node.attributes['axis'] not in _CHANNELS:
        raise node.error(f'axis {node.attributes["axis"]}; only channels (axis 1) can be joined')
    sources = tuple(walk.source(node, index) for index in range(len(node.inputs)))
    if len({walk.shape(source)[:2] for source in sources}) > 1:
        raise node.error(f'joins tensors of {[walk.shape(source)[:2] for source in sources]}; '
                         'is the input size a multiple of the largest stride?')
    walk.add(node, Concat(walk.name(node), sources))


def _resize(walk: Translation, node: OnnxNode) -> None:
    source = walk.source(node)
    is_old = len(node.inputs) <= 2
    scales = node.attributes.get('scales', walk.constant(node, 1 if is_old else 2))
    factor = read_upsample_factor(
        node, None if scales is None else np.asarray(scales), walk.constant(node, 3),
        walk.shape(source))
    if factor == 1:
        walk.alias(node)
    else:
        walk.add(node, Upsample(walk.name(node), source, factor))


def _slice(walk: Translation, node: OnnxNode) -> None:
    source = walk.source(node)
    starts, ends, axes, steps = (
        _integers(walk, node, key, index)
        for index, key in enumerate(('starts', 'ends', 'axes', 'steps'), start=1))
    if starts is None or ends is None:
        raise node.error('its bounds are not constants')
    axes = list(range(len(starts))) if axes is None else axes
    if len(axes) != 1 or axes[0] not in _CHANNELS or (steps or [1]) != [1]:
        raise node.error(f'axes {axes} with steps {steps}: only a run of channels can be cut out')
    start, stop, _ = slice(starts[0], ends[0]).indices(walk.shape(source)[2])
    if stop <= start:
        raise node.error(f'channels {starts[0]}:{ends[0]} do not exist')
    walk.add(node, Slice(walk.name(node), source, start, stop))


def _split(walk: Translation, node: OnnxNode) -> None:
    source = walk.source(node)
    if node.attributes.get('axis', 0) not in _CHANNELS:
        raise node.error('only channels (axis 1) can be split')
    channels, parts = walk.shape(source)[2], len(node.outputs)
    # Without sizes the parts are equal, but the last may be smaller.
    sizes = _integers(walk, node, 'split', 1) or [-(-channels // parts)] * parts
    start = 0
    for index, size in enumerate(sizes):
        stop = min(start + size, channels)
        walk.add(node, Slice(walk.name(node, index), source, start, stop), index)
        start = stop


def _shape(walk: Translation, node: OnnxNode) -> None:
    height, width, channels = walk.shape(walk.source(node))
    dims = np.array([1, channels, height, width], np.int64)
    start, end = node.attributes.get('start', 0), node.attributes.get('end', 4)
    walk.set_constant(node, dims[start:end])


def _integers(walk: Translation, node: OnnxNode, key: str, index: int) -> list[int] | None:
    """Read integers from an attribute (old opsets) or a constant input (new ones)."""
    value: NDArray[Any] | None = node.attributes.get(key, walk.constant(node, index))
    return None if value is None else [int(entry) for entry in np.ravel(value)]


def _copy(walk: Translation, node: OnnxNode) -> None:
    if node.attributes.get('to', TensorProto.FLOAT) not in _FLOATS:
        raise node.error('rounds to integers, which is not supported inside the network')
    walk.alias(node)


#: Operators that pass a tensor on.
COPIES = ('Identity', 'Dropout', 'Cast')

#: Operators that may follow a convolution without making it a readout.
ON_MEMBRANES = frozenset({'BatchNormalization', 'Relu', 'Clip', 'Shape', *COPIES})

OPERATORS: dict[str, Callable[[Translation, OnnxNode], None]] = {
    'Add': _add,
    'BatchNormalization': _batch_normalization,
    'Clip': _clip,
    'Concat': _concat,
    'Conv': _convolution,
    'MaxPool': _max_pool,
    'Relu': _relu,
    'Resize': _resize,
    'Shape': _shape,
    'Slice': _slice,
    'Split': _split,
    'Upsample': _resize,
    **dict.fromkeys(COPIES, _copy),
}

_RETRAIN = 'a spiking neuron computes ReLU; train or fine-tune the network with ReLU'
_ATTENTION = 'attention has no spiking form here; use a convolutional detector with ReLU'
_AVERAGE = 'averages are not supported; train with max pooling or a strided convolution'
_QUANTISED = 'the network is quantised already; convert the float network'

#: What to do about an operator without spiking form.
REMEDIES: dict[str, str] = {
    'Sigmoid': f'SiLU or a gate (Sigmoid and Mul): {_RETRAIN}',
    **dict.fromkeys(('Celu', 'Elu', 'Erf', 'Gelu', 'HardSigmoid', 'HardSwish', 'LeakyRelu', 'Mish',
                     'PRelu', 'Selu', 'Softplus', 'Swish', 'Tanh', 'ThresholdedRelu'), _RETRAIN),
    **dict.fromkeys(('Attention', 'Einsum', 'Gemm', 'LayerNormalization', 'MatMul', 'Softmax'),
                    _ATTENTION),
    **dict.fromkeys(('AveragePool', 'GlobalAveragePool', 'ReduceMean'), _AVERAGE),
    **dict.fromkeys(('ConvInteger', 'DequantizeLinear', 'QLinearConv', 'QuantizeLinear'),
                    _QUANTISED),
    'ConvTranspose': 'transposed convolution is not supported; train with nearest upsampling',
}
