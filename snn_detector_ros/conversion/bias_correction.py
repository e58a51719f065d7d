# SPDX-License-Identifier: Apache-2.0
"""
Take the mean error of rounded weights out of the biases (Nagel et al., ICCV 2019, section 4.2).

A weight that is rounded is wrong by a constant, so wherever its input is not zero on average, the
sum is wrong on average too, and no later layer can tell. The mean of each input on the calibration
pictures says by how much. Depthwise networks, with nine weights a neuron, need this most.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from onnx import TensorProto, helper

from snn_detector_ros.conversion.calibration import Pictures, run_float
from snn_detector_ros.conversion.float_graph import INPUT, to_onnx
from snn_detector_ros.conversion.float_network import (
    FloatConvolution,
    FloatNetwork,
    inputs_of_outputs,
)
from snn_detector_ros.network import IMAGE


def mean_inputs(network: FloatNetwork, images: Pictures) -> dict[str, NDArray[np.float64]]:
    """
    Return the mean of each channel that a convolution reads, on sample pictures.

    :param images: uint8 [H, W, 3], blue-green-red, letterboxed to the network's input size.
    :returns: float64 [C] of each tensor; of the picture RGB in 0..1.
    """
    names = tuple(dict.fromkeys(
        layer.source for layer in network.layers if isinstance(layer, FloatConvolution)))
    layers = tuple(name for name in names if name != IMAGE)
    model = to_onnx(network, outputs=layers)
    del model.graph.output[:]
    for name in names:
        tensor = INPUT if name == IMAGE else name
        model.graph.node.append(helper.make_node(
            'ReduceMean', [tensor], [f'{name}/mean'], axes=[0, 2, 3], keepdims=0))
        model.graph.output.append(
            helper.make_tensor_value_info(f'{name}/mean', TensorProto.FLOAT, None))
    sums: dict[str, NDArray[np.float64]] = {}
    for values in run_float(network, model.SerializeToString(), names, images):
        for name, value in values.items():
            sums[name] = sums.get(name, 0.0) + value.astype(np.float64)
    return {name: value / len(images) for name, value in sums.items()}


def mean_error(
    error: NDArray[np.float64], inputs: NDArray[np.float64], groups: int,
) -> NDArray[np.float64]:
    """
    Return what sums are wrong by on average.

    :param error: of each weight, float64 [Cout, Cin / groups, kernel height, kernel width].
    :param inputs: mean of each channel, float64 [Cin].
    :returns: float64 [Cout].
    """
    return (error.sum(axis=(2, 3)) * inputs_of_outputs(inputs, len(error), groups)).sum(axis=1)
