# SPDX-License-Identifier: Apache-2.0
"""The rules that a directly trained network must keep so that every engine can run it."""

from __future__ import annotations

from math import isfinite, prod

import numpy as np

from snn_detector_ros.errors import NetworkError
from snn_detector_ros.network.head import RawHead
from snn_detector_ros.network.layers import IMAGE
from snn_detector_ros.network.lif_layers import Lif, Mean, SiluMembrane, Synapses
from snn_detector_ros.network.lif_network import LifNetwork
from snn_detector_ros.network.validation import (
    MAX_LAYERS,
    MAX_LEVELS,
    check_classes,
    check_groups,
    check_name,
    check_shapes,
)

#: The largest published network takes 40 (DVS-Gesture of Zheng et al. 2021).
MAX_STEPS = 128
#: Every layer of neurons has a handful of nodes for each step.
MAX_LAYER_STEPS = 1 << 14


def validate_lif(network: LifNetwork) -> None:
    """
    Check everything that engines rely on.

    :raises NetworkError: naming the layer, the value and the remedy.
    """
    _check_steps(network)
    _check_graph(network)
    for layer in network.layers:
        if isinstance(layer, Synapses):
            _check_weights(layer)
        elif isinstance(layer, (Lif, SiluMembrane)):
            _check_neurons(layer)
    _check_input(network)
    shapes = check_shapes(network, network.input_size)
    values = network.steps * sum(prod(shape) for shape in shapes.values())
    if values > MAX_LEVELS:
        raise NetworkError('network', f'has {values:.1e} values in {network.steps} steps, more '
                           f'than {MAX_LEVELS:.1e}: use fewer steps or a smaller input size')
    for conv in network.convolutions:
        check_groups(conv, shapes[conv.source][2])
    if isinstance(network.head, RawHead):
        raise NetworkError('head', 'only converted networks can have a raw head: leave it out')
    check_classes(network, shapes)


def _check_steps(network: LifNetwork) -> None:
    layers, steps = len(network.layers), network.steps
    if not 1 <= layers <= MAX_LAYERS:
        raise NetworkError('network', f'{layers} layers: needs 1..{MAX_LAYERS}')
    if not 1 <= steps <= MAX_STEPS or layers * steps > MAX_LAYER_STEPS:
        raise NetworkError('steps', f'{steps} time steps of {layers} layers: at most {MAX_STEPS} '
                           f'steps, and {MAX_LAYER_STEPS} in all layers together')


def _check_graph(network: LifNetwork) -> None:
    """Check that layers come in order, and that readouts, and nothing else, read means."""
    known, means, readouts = {IMAGE}, set(), set()
    for layer in network.layers:
        check_name(layer.name, known)
        for source in layer.sources:
            if source not in known or source in readouts:
                raise NetworkError(layer.name, f'reads `{source}`, which is no earlier layer with '
                                   'a value in each step: sort the layers in order of execution')
            if source == IMAGE and not isinstance(layer, Synapses):
                raise NetworkError(layer.name, 'reads the picture: only convolutions may')
            if source in means and not isinstance(layer, Synapses):
                raise NetworkError(layer.name, f'reads `{source}`, a mean over time: only '
                                   'convolutions may, and make readouts of it')
        known.add(layer.name)
        if isinstance(layer, Mean):
            means.add(layer.name)
        elif not means.isdisjoint(layer.sources):
            readouts.add(layer.name)
    outputs = network.outputs
    if not outputs or set(outputs) != readouts or len(set(outputs)) != len(outputs):
        raise NetworkError('outputs', f'{outputs} must be exactly the convolutions that read a '
                           f'mean over time: {sorted(readouts)}')


def _check_input(network: LifNetwork) -> None:
    if network.coding not in ('repeated', 'binned'):
        raise NetworkError(IMAGE, f'coding `{network.coding}` is neither `repeated` nor `binned`')
    if not any(conv.source == IMAGE for conv in network.convolutions):
        raise NetworkError('network', f'no convolution reads `{IMAGE}`')
    channels = network.image_channels
    if len(network.neutral) != channels or not all(
            0 <= value <= 255 for value in network.neutral):
        raise NetworkError(IMAGE, f'neutral pixel {network.neutral}: needs {channels} value(s) of '
                           '0 to 255, one for each channel')


def _check_weights(layer: Synapses) -> None:
    if layer.weight.dtype != np.float32 or layer.weight.ndim != 4:
        raise NetworkError(layer.name, f'weights are {layer.weight.dtype} of '
                           f'{layer.weight.shape}: needs float32 [Cout, Cin, kh, kw]')
    count = len(layer.weight)
    if layer.bias.dtype != np.float32 or layer.bias.shape != (count,):
        raise NetworkError(layer.name, f'bias is {layer.bias.dtype} of {layer.bias.shape}: needs '
                           f'float32 of ({count},)')
    if not (np.isfinite(layer.weight).all() and np.isfinite(layer.bias).all()):
        raise NetworkError(layer.name, 'weights and biases must be finite: train again')


def _check_neurons(layer: Lif | SiluMembrane) -> None:
    if not 0 <= layer.decay <= 1:
        raise NetworkError(layer.name, f'decay {layer.decay}: 0 to 1 is supported')
    if isinstance(layer, Lif) and not (isfinite(layer.threshold) and layer.threshold > 0):
        raise NetworkError(layer.name, f'threshold {layer.threshold}: must be positive')
