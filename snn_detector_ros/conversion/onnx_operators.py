# SPDX-License-Identifier: Apache-2.0
"""What each ONNX operator becomes: the table, and the operators that join or move tensors."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from snn_detector_ros.conversion import onnx_activations as activations
from snn_detector_ros.conversion import onnx_synapses as synapses
from snn_detector_ros.conversion.onnx_activations import RETRAIN
from snn_detector_ros.conversion.onnx_graph import OnnxNode
from snn_detector_ros.conversion.onnx_windows import read_upsample_factor, read_window
from snn_detector_ros.conversion.tensor_view import MOVES, NO_PADDING, View, move
from snn_detector_ros.errors import ConversionError
from snn_detector_ros.network import IMAGE, Add, Concat, MaxPool, Upsample

if TYPE_CHECKING:
    from snn_detector_ros.conversion.onnx_translation import Translation

_CHANNELS = (1, -3)


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
    if any(walk.is_constant(name) for name in node.inputs):
        activations.add_constant(walk, node)
        return
    views = [walk.view(node, index) for index in range(len(node.inputs))]
    if len(views) == 1:
        walk.set_view(node.outputs[0], views[0])
        return
    together = IMAGE not in {view.layer for view in views} and all(
        view.is_whole and view.padding == NO_PADDING
        and np.array_equal(view.numbers, views[0].numbers) for view in views)
    sources = [view.layer if together else walk.source(node, index)
               for index, view in enumerate(views)]
    shapes = [walk.shape(source) for source in sources]
    if len(set(shapes)) > 1:
        raise node.error(f'adds {" and ".join(map(str, shapes))}; all need one shape')
    total = sources[0]
    for number, source in enumerate(sources[1:], start=1):
        name = walk.name(node, '' if number == len(sources) - 1 else f'.{number}')
        walk.add(node, Add(name, (total, source)), views[0] if together else None)
        total = name


def _subtract(walk: Translation, node: OnnxNode) -> None:
    if not any(walk.is_constant(name) for name in node.inputs):
        raise node.error('subtracts two activations, which is not supported; let the convolution '
                         'in front of the second change its sign, and add')
    activations.add_constant(walk, node)


def _move(walk: Translation, node: OnnxNode) -> None:
    """Follow elements to where a node moves them."""
    places = [index for index, name in enumerate(node.inputs) if name and not (
        walk.is_constant(name))]
    values = {name: walk.constant(node, index) for index, name in enumerate(node.inputs)
              if name and index not in places}
    constants = {name: value for name, value in values.items() if value is not None}
    if len(constants) < len(values) or not places or (node.operator != 'Concat' and places != [0]):
        raise node.error('where it moves its input to depends on the picture')
    views = [walk.view(node, index) for index in places]
    layers = {view.layer for view in views}
    is_padded = any(view.padding != NO_PADDING for view in views)
    if node.operator == 'Concat' and (len(layers) > 1 or constants or is_padded):
        _concat(walk, node)
        return
    if is_padded:
        raise node.error('moves the zeros that a Pad node made; pad behind it')
    if node.operator in ('Split', 'Slice') and IMAGE not in layers and views[0].is_whole and (
            views[0].channel_order is not None):
        # The parts of a shuffled tensor share one permutation.
        source = walk.source(node)
        height, width, channels = walk.shape(source)
        views = [View(source, (walk.batch, channels, height, width))] \
            if source != views[0].layer else views
    for tensor, view in zip(node.outputs, move(node, views, constants, walk.graph.opsets),
                            strict=True):
        if 0 in view.shape:
            raise node.error(f'nothing is left of {views[0].shape}: {view.shape}')
        walk.set_view(tensor, view)


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
    sizes = walk.constant(node, 3)
    axes = node.attributes.get('axes')
    if axes is not None:
        height, width, channels = walk.shape(source)
        scales, sizes = (_on_all_axes(values, axes, whole) for values, whole in (
            (scales, [1, 1, 1, 1]), (sizes, [walk.batch, channels, height, width])))
    factor = read_upsample_factor(
        node, None if scales is None else np.asarray(scales), sizes, walk.shape(source),
        walk.batch)
    if factor == 1:
        walk.set_view(node.outputs[0], walk.view(node))
    else:
        walk.add(node, Upsample(walk.name(node), source, factor))


def _on_all_axes(
    values: Any, axes: tuple[int, ...], whole: list[int],
) -> NDArray[Any] | None:
    """Spread scales or sizes of some axes (opset 18) over all four."""
    if values is None or not np.size(values):
        return None
    result = np.array(whole, np.asarray(values).dtype)
    result[list(axes)] = values
    return result


def _pad(walk: Translation, node: OnnxNode) -> None:
    """Let the window that follows take the padding over."""
    pads = node.attributes.get('pads', walk.constant(node, 1))
    axes = walk.constant(node, 3)
    value = node.attributes.get('value', walk.constant(node, 2))
    view = walk.view(node)
    if pads is None or len(view.shape) != 4:
        raise node.error('its padding is not constant, or not that of a map')
    sides = np.zeros((2, 4), np.int64)
    sides[:, slice(None) if axes is None else list(axes)] = np.reshape(pads, (2, -1))
    if node.attributes.get('mode', 'constant') != 'constant' or (value and np.any(value)) or (
            sides < 0).any() or sides[:, :2].any():
        raise node.error(f'pads with {node.attributes.get("mode", "constant")} {value or 0} by '
                         f'{sides.tolist()}; only zeros around height and width can be taken over')
    own = view.padding
    walk.set_view(node.outputs[0], view.padded((
        own[0] + int(sides[0, 2]), own[1] + int(sides[0, 3]),
        own[2] + int(sides[1, 2]), own[3] + int(sides[1, 3]))))


#: Operators that may be folded into a convolution at the end of the network.
FOLDABLE = frozenset({
    'Add', 'BatchNormalization', 'Cast', 'Div', 'Dropout', 'Identity', 'Mul', 'Sub'})

OPERATORS: dict[str, Callable[[Translation, OnnxNode], None]] = {
    'Add': _add,
    'AveragePool': synapses.average_pool,
    'BatchNormalization': activations.batch_normalization,
    'Cast': activations.copy,
    'Clip': activations.clip,
    'Conv': synapses.convolution,
    'ConvTranspose': synapses.transposed_convolution,
    'Div': activations.multiply_by_constant,
    'Dropout': activations.copy,
    'Gemm': synapses.fully_connected,
    'GlobalAveragePool': synapses.global_pool,
    'GlobalMaxPool': synapses.global_pool,
    'Identity': activations.copy,
    'LeakyRelu': activations.leaky_relu,
    'MatMul': synapses.fully_connected,
    'Max': activations.extremum,
    'MaxPool': _max_pool,
    'Min': activations.extremum,
    'Mul': activations.multiply_by_constant,
    'PRelu': activations.prelu,
    'Pad': _pad,
    'ReduceMean': synapses.reduce_mean,
    'Relu': activations.relu,
    'Resize': _resize,
    'Sub': _subtract,
    'Sum': _add,
    'Upsample': _resize,
    **dict.fromkeys(MOVES, _move),
}

_ATTENTION = 'attention has no spiking form here; use a convolutional detector with ReLU, and ' \
             'train it with `snn-detector train`'
_QUANTISED = 'the network is quantised already; convert the float network'

#: What to do about an operator without spiking form.
REMEDIES: dict[str, str] = {
    'Sigmoid': f'SiLU or a gate (Sigmoid and Mul) inside the network: {RETRAIN}',
    **dict.fromkeys(('Celu', 'Elu', 'Erf', 'Gelu', 'HardSigmoid', 'HardSwish', 'Mish', 'Selu',
                     'Softplus', 'Swish', 'Tanh', 'ThresholdedRelu'), RETRAIN),
    **dict.fromkeys(('Attention', 'Einsum', 'LayerNormalization', 'Softmax'), _ATTENTION),
    'InstanceNormalization': 'normalises each picture by itself; train with batch normalisation',
    'LRN': 'normalises each picture by itself; train with batch normalisation',
    **dict.fromkeys(('ConvInteger', 'DequantizeLinear', 'QLinearConv', 'QuantizeLinear'),
                    _QUANTISED),
}


def refusal(node: OnnxNode) -> ConversionError:
    """Return the error for an operator that has no spiking form."""
    return node.error(REMEDIES.get(node.operator, 'this operator has no spiking form here'))
