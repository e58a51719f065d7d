# SPDX-License-Identifier: Apache-2.0
"""Turn a spiking network back into a float network of the same shape and cost."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from snn_detector_ros.conversion.float_network import (
    FloatConvolution,
    FloatLayer,
    FloatNetwork,
    inputs_of_outputs,
)
from snn_detector_ros.network import (
    IMAGE,
    Add,
    Concat,
    Convolution,
    DepthToSpace,
    MaxPool,
    Permutation,
    Rectifier,
    Slice,
    SpikingNetwork,
    Upsample,
)


def dequantise(network: SpikingNetwork) -> FloatNetwork:
    """
    Return the float network whose activations the levels stand for.

    Spikes become ReLU activations: neither rounded to levels nor cut off at Q.
    """
    steps: dict[str, NDArray[np.float64]] = {IMAGE: np.full(network.image_channels, 1 / 255)}
    layers: list[FloatLayer] = []
    for layer in network.layers:
        match layer:
            case Convolution():
                layers.append(_dequantise_convolution(layer, steps[layer.source]))
                steps[layer.name] = layer.step.astype(np.float64)
            case MaxPool() | Upsample() | Add() | Rectifier():
                layers.append(layer)
                steps[layer.name] = steps[layer.sources[0]]
            case Slice():
                layers.append(layer)
                steps[layer.name] = steps[layer.source][layer.start:layer.stop]
            case Permutation():
                layers.append(layer)
                steps[layer.name] = steps[layer.source][list(layer.order)]
            case DepthToSpace():
                layers.append(layer)
                channels = len(steps[layer.source]) // layer.factor**2
                steps[layer.name] = steps[layer.source][:channels]
            case Concat():
                layers.append(layer)
                steps[layer.name] = np.concatenate([steps[source] for source in layer.sources])
    return FloatNetwork(
        network.name, network.input_size, tuple(layers), network.outputs, network.head,
        network.class_names, network.provenance)


def _dequantise_convolution(
    conv: Convolution, source_step: NDArray[np.float64],
) -> FloatConvolution:
    """
    Return the float convolution that a spiking one stands for.

    :param source_step: step of each channel that it reads.
    """
    unit = conv.step.astype(np.float64)
    if conv.threshold is not None:
        unit = unit / conv.threshold
    per_output = inputs_of_outputs(source_step, len(conv.weight), conv.groups)
    weight = conv.weight * unit[:, None, None, None] / per_output[:, :, None, None]
    if conv.source == IMAGE:
        weight = weight[:, ::-1]  # float networks read red-green-blue
    return FloatConvolution(
        conv.name, conv.source, weight.astype(np.float32), (conv.bias * unit).astype(np.float32),
        1.0 if conv.is_readout else conv.slope, conv.stride, conv.padding, conv.groups)
