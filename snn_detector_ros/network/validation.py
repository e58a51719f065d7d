# SPDX-License-Identifier: Apache-2.0
"""
The rules a spiking network must keep so that every engine computes the same levels.

Checked once, when a network is made or loaded; afterwards engines may rely on all of them.
"""

from __future__ import annotations

from collections.abc import Collection
from math import prod
from typing import Any

import numpy as np

from snn_detector_ros.errors import NetworkError
from snn_detector_ros.network.head_check import check_head
from snn_detector_ros.network.layered_network import LayeredNetwork
from snn_detector_ros.network.layers import (
    IMAGE,
    Add,
    Concat,
    Convolution,
    DepthToSpace,
    Layer,
    MaxPool,
    Permutation,
    Rectifier,
    Shape,
    Slice,
    Upsample,
)
from snn_detector_ros.network.lif_layers import LifLayer, Synapses
from snn_detector_ros.network.spiking_network import SpikingNetwork

#: Levels travel as uint8; signed ones around a zero point of Q.
MAX_LEVEL = 255
MAX_SIGNED_LEVEL = 127
#: A threshold above this, or a level times a threshold above 2^22, would round in float32.
MAX_THRESHOLD = 32767
MAX_LEVEL_TIMES_THRESHOLD = 1 << 22
#: What int32 holds, less the half threshold by which biases differ with the initial membrane.
MAX_ACCUMULATOR = (1 << 31) - 1 - MAX_THRESHOLD // 2
MAX_SIDE = 8192
MAX_LAYERS = 4096
MAX_CHANNELS = 1 << 16
MAX_FACTOR = 16
MAX_KERNEL = 64
MAX_PIXEL = 255
#: Of all layers for one picture. A network at the first limit takes about 1 GB; YOLOv5m has 0.9 of
#: it at 1280 px. Operations are products and comparisons in windows.
MAX_LEVELS = 1 << 28
MAX_OPERATIONS = 1 << 40


def validate(network: SpikingNetwork) -> None:
    """
    Check everything that exact execution relies on.

    :raises NetworkError: naming the layer, the value and the remedy.
    """
    _check_graph(network)
    _check_code(network)
    shapes = check_shapes(network, network.input_size)
    for conv in network.convolutions:
        _check_synapses(conv, network, shapes[conv.source][2])
    _check_outputs(network, shapes)


def check_shapes(
    network: LayeredNetwork[Any], input_size: tuple[int, int],
) -> dict[str, Shape]:
    """
    Check that all tensors fit together for one size of the picture.

    :param input_size: (height, width) of the picture in px.
    :returns: (height, width, channels) of every tensor.
    :raises NetworkError: naming the layer whose inputs do not fit.
    """
    height, width = input_size
    if not (1 <= height <= MAX_SIDE and 1 <= width <= MAX_SIDE):
        raise NetworkError(IMAGE, f'input size {height}x{width}: sides must be 1..{MAX_SIDE} px')
    if network.image_channels < 1:
        raise NetworkError(IMAGE, 'the first convolution reads no channel')
    shapes: dict[str, Shape] = {IMAGE: (height, width, network.image_channels)}
    levels = operations = 0
    for layer in network.layers:
        inputs = tuple(shapes[source] for source in layer.sources)
        _check_inputs(layer, inputs)
        shape = layer.output_shape(inputs)
        if min(shape) < 1:
            raise NetworkError(
                layer.name, f'output would be {shape} for a picture of {height}x{width}: '
                'use a larger input size')
        levels += prod(shape)
        operations += prod(shape) * _window_operations(layer)
        if shape[2] > MAX_CHANNELS or levels > MAX_LEVELS or operations > MAX_OPERATIONS:
            raise NetworkError(
                layer.name, f'output of {shape}: the network is too large, with {levels:.1e} '
                f'levels and {operations:.1e} operations a picture up to here; use a smaller '
                'input size')
        shapes[layer.name] = shape
    return shapes


def accumulator_bound(conv: Convolution, max_level: int) -> int:
    """
    Return the largest magnitude that a membrane of ``conv`` can reach.

    :param max_level: largest value of an input, see :func:`largest_input`.
    """
    weights = np.abs(conv.weight.astype(np.int64)).reshape(len(conv.weight), -1).sum(axis=1)
    return int((weights * max_level + np.abs(conv.bias.astype(np.int64))).max())


def largest_input(network: SpikingNetwork, conv: Convolution) -> int:
    """
    Return the largest number that engines multiply with the weights of ``conv``.

    This is 255 of a picture and Q of levels. Where a network has signed levels, all its levels
    travel as bytes around a zero point of Q, up to 2 Q; what the zero point adds is taken off only
    when the products have been summed.
    """
    if conv.source == IMAGE:
        return MAX_PIXEL
    shifted = network.signed_tensors and network.dynamics == 'separated'
    return network.code.max_level * (2 if shifted else 1)


def require_separated(network: SpikingNetwork, engine: str) -> None:
    """
    Refuse a network that is no map of levels.

    :param engine: name of the engine that runs maps of levels only.
    :raises NetworkError: if the network fires while it still receives.
    """
    if network.dynamics != 'separated':
        raise NetworkError('dynamics', f'`{network.dynamics}` networks fire while they still '
                           f'receive, which `{engine}` does not do: choose the engine `concurrent`')


def _window_operations(layer: Layer | LifLayer) -> int:
    """Return the products, or comparisons, that one output of a layer takes."""
    match layer:
        case Convolution() | Synapses():
            return prod(layer.weight.shape[1:])
        case MaxPool():
            return prod(layer.kernel)
        case _:
            return 0


def _check_code(network: SpikingNetwork) -> None:
    code = network.code
    if not code.is_complete:
        raise NetworkError('spike code', f'{code} leaves gaps between its levels: each weight must '
                           'be at most 1 + burst * (sum of the later weights)')
    if network.dynamics == 'concurrent':
        if set(code.tau) != {1} or code.burst != 1:
            raise NetworkError('spike code', f'{code}: neurons that fire while they receive send '
                               'single spikes of equal weight; use a constant code of burst 1')
    elif network.dynamics == 'separated':
        _check_max_level(network)
    else:
        raise NetworkError('dynamics', f'`{network.dynamics}` is neither `separated` nor '
                           '`concurrent`')
    if network.initial_membrane not in ('zero', 'half'):
        raise NetworkError('initial membrane', f'`{network.initial_membrane}` is neither `zero` '
                           'nor `half`')


def _check_max_level(network: SpikingNetwork) -> None:
    code = network.code
    if code.max_level > MAX_LEVEL:
        raise NetworkError('spike code', f'{code} has Q = {code.max_level}, but levels travel as '
                           f'uint8: lower the steps or the burst cap until Q <= {MAX_LEVEL}')
    if network.signed_tensors and code.max_level > MAX_SIGNED_LEVEL:
        raise NetworkError(
            'spike code', f'{code} has Q = {code.max_level}, but signed levels, such as those of '
            f'`{min(network.signed_tensors)}`, travel as int8: lower the steps or the burst cap '
            f'until Q <= {MAX_SIGNED_LEVEL}')


def _check_graph(network: SpikingNetwork) -> None:
    if not 1 <= len(network.layers) <= MAX_LAYERS:
        raise NetworkError('network', f'{len(network.layers)} layers: needs 1..{MAX_LAYERS}')
    known = {IMAGE}
    readouts = set()
    for layer in network.layers:
        check_name(layer.name, known)
        for source in layer.sources:
            if source not in known or source in readouts:
                raise NetworkError(layer.name, f'reads `{source}`, which is no earlier layer of '
                                   'levels: sort the layers in order of execution')
            if source == IMAGE and not isinstance(layer, Convolution):
                raise NetworkError(layer.name, 'reads the picture: only convolutions may')
        if isinstance(layer, (Convolution, Rectifier)) and not 0 <= layer.slope <= 1:
            raise NetworkError(layer.name, f'slope {layer.slope}: 0 (ReLU) to 1 (no activation) '
                               'is supported')
        known.add(layer.name)
        if isinstance(layer, Convolution) and layer.is_readout:
            readouts.add(layer.name)
    if not any(conv.source == IMAGE for conv in network.convolutions):
        raise NetworkError('network', f'no convolution reads `{IMAGE}`')


def check_name(name: str, known: Collection[str]) -> None:
    """
    Check the name of a layer.

    :param known: names of earlier layers, and of the picture.
    :raises NetworkError: if it cannot name a layer.
    """
    if not name or name in known or '/' in name or not name.isprintable():
        raise NetworkError(ascii(name), 'layer names must be unique, printable, not empty and '
                           'without a slash')


def _check_inputs(layer: Layer | LifLayer, inputs: tuple[Shape, ...]) -> None:
    match layer:
        case Convolution() | Synapses() | MaxPool():
            kernel = layer.kernel if isinstance(layer, MaxPool) else layer.weight.shape[2:]
            padding_ok = len(layer.padding) == 4 and all(
                0 <= pad < MAX_KERNEL for pad in layer.padding)
            if not 1 <= min(kernel) <= max(kernel) <= MAX_KERNEL or min(layer.stride) < 1 or (
                    not padding_ok):
                raise NetworkError(layer.name, f'kernel {tuple(kernel)}, stride {layer.stride}, '
                                   f'padding {layer.padding}: kernels 1..{MAX_KERNEL}, strides '
                                   f'>= 1, padding 0..{MAX_KERNEL - 1} are supported')
            if isinstance(layer, MaxPool) and (
                    max(layer.padding[0], layer.padding[2]) >= kernel[0]
                    or max(layer.padding[1], layer.padding[3]) >= kernel[1]):
                raise NetworkError(layer.name, 'padding must be smaller than the kernel')
        case Add():
            if len(inputs) != 2 or inputs[0] != inputs[1]:
                raise NetworkError(layer.name, f'adds tensors of {inputs}: needs two equal shapes')
        case Concat():
            if not inputs or len({shape[:2] for shape in inputs}) != 1:
                raise NetworkError(layer.name, f'joins tensors of {inputs}: height and width '
                                   'must agree; is the input size a multiple of all strides?')
        case Upsample() | DepthToSpace():
            if not 1 <= layer.factor <= MAX_FACTOR:
                raise NetworkError(
                    layer.name, f'factor {layer.factor}: 1..{MAX_FACTOR} is supported')
            if isinstance(layer, DepthToSpace) and inputs[0][2] % layer.factor**2:
                raise NetworkError(layer.name, f'{inputs[0][2]} channels are no multiple of '
                                   f'{layer.factor**2}, the pixels that each becomes')
        case Permutation():
            if sorted(layer.order) != list(range(inputs[0][2])):
                raise NetworkError(layer.name, f'order of {len(layer.order)} channels does not '
                                   f'name each of {inputs[0][2]} once')
        case Slice():
            if not 0 <= layer.start < layer.stop <= inputs[0][2]:
                raise NetworkError(layer.name, f'channels {layer.start}:{layer.stop} of '
                                   f'{inputs[0][2]} do not exist')


def check_groups(conv: Convolution | Synapses, channels: int) -> None:
    """
    Check that weights fit an input.

    :param channels: of the input.
    :raises NetworkError: naming the layer.
    """
    groups = conv.groups
    if groups < 1 or len(conv.weight) % groups or conv.weight.shape[1] * groups != channels:
        raise NetworkError(conv.name, f'weights of {conv.weight.shape} in {groups} group(s) do not '
                           f'fit an input of {channels} channels')


def _check_synapses(conv: Convolution, network: SpikingNetwork, channels: int) -> None:
    count = len(conv.weight)
    check_groups(conv, channels)
    for name, array, dtype in (('bias', conv.bias, np.int32), ('step', conv.step, np.float32),
                               ('threshold', conv.threshold, np.int32)):
        if array is not None and (array.shape != (count,) or array.dtype != dtype):
            raise NetworkError(conv.name, f'{name} is {array.dtype} of {array.shape}: needs '
                               f'{np.dtype(dtype)} of ({count},)')
    if conv.weight.dtype != np.int8 or conv.weight.ndim != 4:
        raise NetworkError(conv.name, f'weights are {conv.weight.dtype} of {conv.weight.shape}: '
                           'needs int8 [Cout, Cin, kh, kw]')
    if not np.isfinite(conv.step).all() or (conv.step <= 0).any():
        raise NetworkError(conv.name, 'steps must be finite and positive')
    bound = accumulator_bound(conv, largest_input(network, conv))
    if bound > MAX_ACCUMULATOR:
        raise NetworkError(conv.name, f'the membrane may reach {bound}, more than int32 holds: '
                           'use fewer levels or smaller weights')
    if conv.threshold is not None:
        _check_thresholds(conv, network)


def _check_thresholds(conv: Convolution, network: SpikingNetwork) -> None:
    assert conv.threshold is not None
    limit = MAX_THRESHOLD
    if network.dynamics == 'separated':
        limit = min(limit, MAX_LEVEL_TIMES_THRESHOLD // (network.code.max_level + 1))
    bad = (conv.threshold < 1) | (conv.threshold > limit) | (conv.threshold % 2 == 0)
    if bad.any():
        raise NetworkError(conv.name, f'threshold {conv.threshold[bad][0]}: needs an odd integer '
                           f'in 1..{limit}, since others do not requantise exactly')


def _check_outputs(network: SpikingNetwork, shapes: dict[str, Shape]) -> None:
    readouts = {conv.name for conv in network.convolutions if conv.is_readout}
    firing = {conv.name for conv in network.convolutions} - readouts
    outputs = set(network.outputs)
    if (not outputs or len(outputs) != len(network.outputs) or not outputs >= readouts
            or not outputs <= readouts | firing):
        raise NetworkError('outputs', f'{network.outputs} must be exactly the readouts '
                           f'{sorted(readouts)} and, if any, convolutions that fire')
    check_classes(network, shapes)


def check_classes(network: LayeredNetwork[Any], shapes: dict[str, Shape]) -> None:
    """
    Check the names of classes, and the head that finds them.

    :param shapes: (height, width, channels) of every tensor.
    :raises NetworkError: naming the class or the readout at fault.
    """
    for name in network.class_names:
        if not name.isprintable():
            raise NetworkError('class names', f'{name!a} cannot be printed: rename the class')
    if network.head is not None:
        check_head(network.head, network, shapes)
