# SPDX-License-Identifier: Apache-2.0
"""
What ONNX operators become that change each element on its own.

Behind a convolution that nothing else reads they become part of it. Elsewhere ReLU becomes relay
neurons, and products and sums with constants become synapses of one weight a channel.
"""

from __future__ import annotations

from dataclasses import replace
from math import inf, isinf
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from onnx import TensorProto

from snn_detector_ros.conversion.float_network import FloatConvolution
from snn_detector_ros.conversion.onnx_graph import OnnxNode
from snn_detector_ros.conversion.tensor_view import NO_PADDING, View
from snn_detector_ros.network import IMAGE, Rectifier

if TYPE_CHECKING:
    from snn_detector_ros.conversion.onnx_translation import Translation

_FLOATS = (TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.BFLOAT16, TensorProto.DOUBLE)


def batch_normalization(walk: Translation, node: OnnxNode) -> None:
    """Compute ``(x - mean) * gain / sqrt(variance + epsilon) + shift``."""
    values = [walk.constant(node, index) for index in range(1, 5)]
    if any(value is None for value in values):
        raise node.error('its statistics are not constants')
    view = walk.view(node)
    channels = (1, -1, *[1] * (len(view.shape) - 2))
    gain, shift, mean, variance = (np.asarray(v, np.float64).reshape(channels) for v in values)
    factor = gain / np.sqrt(variance + node.attributes.get('epsilon', 1e-5))
    _scale(walk, node, 0, factor, shift - mean * factor)


def add_constant(walk: Translation, node: OnnxNode) -> None:
    """Compute ``x + c`` or ``x - c`` or ``c - x``."""
    place, value = _constant_operand(walk, node)
    sign = -1 if node.operator == 'Sub' else 1
    gain, shift = (1, sign * value) if place == 0 else (sign, value)
    _scale(walk, node, place, gain, shift)


def multiply_by_constant(walk: Translation, node: OnnxNode) -> None:
    """Compute ``x * c`` or ``x / c``."""
    place, value = _constant_operand(walk, node)
    if node.operator == 'Div' and place == 1:
        raise node.error('divides by an activation, which no neuron does; train without it')
    if node.operator == 'Div' and not np.all(value):
        raise node.error('divides by zero; repair the weights of the network')
    _scale(walk, node, place, 1 / value if node.operator == 'Div' else value, 0)


def relu(walk: Translation, node: OnnxNode) -> None:
    """Compute ReLU."""
    _rectify(walk, node, 0.0)


def leaky_relu(walk: Translation, node: OnnxNode) -> None:
    """Compute leaky ReLU with one slope."""
    _rectify(walk, node, float(node.attributes.get('alpha', 0.01)))


def prelu(walk: Translation, node: OnnxNode) -> None:
    """Compute PReLU whose slopes are equal, as leaky ReLU."""
    slopes = walk.constant(node, 1)
    if slopes is None:
        raise node.error('its slopes are not constants')
    if np.ptp(slopes):
        raise node.error(f'has slopes from {slopes.min():g} to {slopes.max():g}; a layer of spiking'
                         ' neurons has one: fine-tune with LeakyReLU, or with one shared slope')
    _rectify(walk, node, float(slopes.ravel()[0]))


def clip(walk: Translation, node: OnnxNode) -> None:
    """Compute ``min(max(x, low), high)``."""
    bounds = [node.attributes.get(key, walk.constant(node, index))
              for index, key in ((1, 'min'), (2, 'max'))]
    low, high = (default if bound is None else float(bound)
                 for bound, default in zip(bounds, (-inf, inf), strict=True))
    _clip(walk, node, low, high)


def extremum(walk: Translation, node: OnnxNode) -> None:
    """Compute Max or Min with one number."""
    place, value = _constant_operand(walk, node)
    if np.size(value) != 1:
        raise node.error('compares with more than one number')
    bound = float(np.ravel(value)[0])
    low, high = (bound, inf) if node.operator == 'Max' else (-inf, bound)
    _clip(walk, node, low, high, place)


def copy(walk: Translation, node: OnnxNode) -> None:
    """Pass a tensor on."""
    if node.attributes.get('to', TensorProto.FLOAT) not in _FLOATS:
        raise node.error('rounds to integers, which is not supported inside the network')
    walk.set_view(node.outputs[0], walk.view(node))


def _constant_operand(walk: Translation, node: OnnxNode) -> tuple[int, NDArray[Any]]:
    """Return the place of the operand that is no constant, and the other's value."""
    if len(node.inputs) != 2:
        raise node.error(f'combines {len(node.inputs)} tensors; write it as nodes of two')
    place = 0 if walk.is_constant(node.inputs[1]) else 1
    value = walk.constant(node, 1 - place)
    if value is None:
        raise node.error('combines two activations, which no spiking neuron does (a gate, or '
                         'attention); ' + RETRAIN)
    return place, np.asarray(value, np.float64)


def _rectify(walk: Translation, node: OnnxNode, slope: float, place: int = 0) -> None:
    if not 0 <= slope <= 1:
        raise node.error(f'has the slope {slope:g} below zero; neurons have slopes from 0 to 1')
    view = walk.view(node, place)
    conv = walk.membrane(view)
    if conv is not None:
        walk.add(node, replace(conv, slope=slope), view)
    elif slope == 1 or not walk.is_signed(view.layer):
        walk.set_view(node.outputs[0], view)
    else:
        source, view = _operand(walk, node, place)
        walk.add(node, Rectifier(walk.name(node), source, slope), view)


def _clip(walk: Translation, node: OnnxNode, low: float, high: float, place: int = 0) -> None:
    view = walk.view(node, place)
    if isinf(low) and view.layer != IMAGE and not walk.is_signed(view.layer):
        low = 0.0
    if low != 0 or high <= 0:
        raise node.error(f'clips to {low:g}..{high:g}; a spiking neuron clips to 0..c '
                         '(ReLU, ReLU6)')
    conv = walk.membrane(view)
    if isinf(high):
        _rectify(walk, node, 0.0, place)
    elif conv is not None:
        walk.add(node, replace(conv, slope=0.0, cap=high), view)
    else:
        source, view = _operand(walk, node, place)
        channels = walk.shape(source)[2]
        walk.add(node, replace(
            _relay(walk, node, source, np.ones(channels), np.zeros(channels)),
            slope=0.0, cap=high), view)


def _scale(
    walk: Translation, node: OnnxNode, place: int, gain: ArrayLike, shift: ArrayLike,
) -> None:
    """Multiply each channel by a constant and add another."""
    gain, shift = np.asarray(gain, np.float64), np.asarray(shift, np.float64)
    view = walk.view(node, place)
    if view.layer == IMAGE and view.padding == NO_PADDING:
        assert view.gain is not None and view.shift is not None
        shape = np.broadcast_shapes(view.shape, gain.shape, shift.shape)
        if shape != view.shape:
            raise node.error(f'spreads the picture of {view.shape} to {shape}')
        walk.set_view(node.outputs[0], replace(
            view, gain=view.gain * gain, shift=view.shift * gain + shift))
        return
    conv = walk.membrane(view)
    source, view = (view.layer, view) if conv is not None else _operand(walk, node, place)
    gains, shifts = view.by_channel(gain), view.by_channel(shift)
    if gains is None or shifts is None:
        raise node.error('its constant is not one number a channel')
    if conv is None:
        walk.add(node, _relay(walk, node, source, gains, shifts), view)
    else:
        walk.add(node, replace(
            conv, weight=(conv.weight * gains[:, None, None, None]).astype(np.float32),
            bias=(conv.bias * gains + shifts).astype(np.float32)), view)


def _operand(walk: Translation, node: OnnxNode, place: int) -> tuple[str, View]:
    """Return a layer that holds an operand, and how the operand lies in it."""
    view = walk.view(node, place)
    if view.layer != IMAGE and view.padding == NO_PADDING and view.is_whole:
        return view.layer, view
    source = walk.source(node, place)
    height, width, channels = walk.shape(source)
    return source, View(source, (walk.batch, channels, height, width))


def _relay(
    walk: Translation, node: OnnxNode, source: str, gain: NDArray[np.float64],
    shift: NDArray[np.float64],
) -> FloatConvolution:
    stays_positive = not walk.is_signed(source) and bool((gain >= 0).all() and (shift >= 0).all())
    return FloatConvolution(
        walk.name(node), source, gain.astype(np.float32)[:, None, None, None],
        shift.astype(np.float32), 0.0 if stays_positive else 1.0, groups=len(gain))


#: What to do about an activation that is no ReLU.
RETRAIN = ('spiking neurons compute ReLU and leaky ReLU: train a variant of the network with '
           'those, from these weights, with `snn-detector train --init weights.onnx`')
