# SPDX-License-Identifier: Apache-2.0
"""
Round weights so that their errors cancel out on real inputs, instead of each to the nearest.

The inputs of a neuron are correlated: neighbouring pixels are alike, and so are many channels. So
the error of one weight can be made up for by the weights that are rounded after it, in proportion
to how much of its input theirs predict (optimal brain quantisation, Frantar and Alistarh 2022, in
the order and with the Cholesky factor of GPTQ, Frantar et al. 2023).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
from numpy.typing import NDArray

from snn_detector_ros.conversion.calibration import Pictures, run_float
from snn_detector_ros.conversion.float_graph import as_input, to_onnx
from snn_detector_ros.conversion.float_network import FloatConvolution, FloatNetwork
from snn_detector_ros.network import IMAGE

#: Neurons with more inputs are rounded to the nearest: many small errors cancel out by themselves,
#: and the time grows with the cube.
MAX_INPUTS = 512

#: Pictures and places of each that the correlations are taken from.
SAMPLED_PICTURES = 16
SAMPLED_PLACES = 1024

#: Added to the variance of each input, as a share of their mean: keeps the inverse stable.
DAMPING = 0.01

#: Covariances of the inputs of each group of each convolution, float64 [groups, inputs, inputs].
Covariances = Mapping[str, NDArray[np.float64]]


def input_covariances(network: FloatNetwork, images: Pictures) -> Covariances:
    """
    Measure how the inputs of each neuron go together, over places and sample pictures.

    :param images: uint8 [H, W, 3], blue-green-red, letterboxed to the network's input size.
    :returns: for each convolution with at most :data:`MAX_INPUTS` inputs a neuron.
    """
    convs = [layer for layer in network.layers if isinstance(layer, FloatConvolution)
             and np.prod(layer.weight.shape[1:]) <= MAX_INPUTS]
    names = tuple(dict.fromkeys(conv.source for conv in convs))
    layers = tuple(name for name in names if name != IMAGE)
    model = to_onnx(network, outputs=layers or None)
    random = np.random.default_rng(0)
    moments = {conv.name: _Moments(conv) for conv in convs}
    sample = _Every(images, SAMPLED_PICTURES)
    for pixels, values in zip(sample, run_float(
            network, model.SerializeToString(), layers or network.outputs, sample), strict=True):
        values[IMAGE] = as_input(pixels)
        for conv in convs:
            moments[conv.name].add(values[conv.source][0], random)
    return {name: moment.covariance() for name, moment in moments.items()}


def round_weights(
    weight: NDArray[np.float64], largest: int, covariance: NDArray[np.float64],
) -> NDArray[np.float64]:
    """
    Round the weights of neurons to integers.

    :param weight: float64 [Cout, Cin / groups, kernel height, kernel width], in integer units.
    :param largest: magnitude that no weight may exceed.
    :param covariance: of the inputs in the units that the weights refer to, float64
        [groups, inputs, inputs].
    """
    groups, inputs, _ = covariance.shape
    rows = weight.reshape(groups, -1, inputs).copy()
    for values, matrix in zip(rows, covariance, strict=True):
        scale = np.trace(matrix) / inputs
        damped = matrix + np.eye(inputs) * (DAMPING * scale if scale > 0 else 1.0)
        factor = np.linalg.cholesky(np.linalg.inv(damped)).T
        for place in range(inputs):
            rounded = np.clip(np.rint(values[:, place]), -largest, largest)
            error = (values[:, place] - rounded) / factor[place, place]
            values[:, place + 1:] -= error[:, None] * factor[place, place + 1:]
            values[:, place] = rounded
    return rows.reshape(weight.shape)


class _Every:
    """A few pictures, evenly spread."""

    def __init__(self, images: Pictures, count: int) -> None:
        every = max(1, len(images) // count)
        self._images = [np.array(image) for index, image in enumerate(images)
                        if index % every == 0][:count]

    def __len__(self) -> int:
        return len(self._images)

    def __iter__(self) -> Iterator[NDArray[np.uint8]]:
        return iter(self._images)


class _Moments:
    """Sums over the patches that a convolution reads."""

    def __init__(self, conv: FloatConvolution) -> None:
        self._conv = conv
        inputs = int(np.prod(conv.weight.shape[1:]))
        self._count = 0
        self._sum = np.zeros((conv.groups, inputs))
        self._products = np.zeros((conv.groups, inputs, inputs))

    def add(self, source: NDArray[np.float32], random: np.random.Generator) -> None:
        """Add patches of a tensor [C, H, W] at random places."""
        conv = self._conv
        top, left, bottom, right = conv.padding
        padded = np.pad(source, ((0, 0), (top, bottom), (left, right)))
        windows = np.lib.stride_tricks.sliding_window_view(padded, conv.kernel, axis=(1, 2))
        windows = windows[:, ::conv.stride[0], ::conv.stride[1]]
        rows, columns = (random.integers(0, side, SAMPLED_PLACES) for side in windows.shape[1:3])
        patches = windows[:, rows, columns].astype(np.float64)  # [C, places, kh, kw]
        by_group = patches.reshape(conv.groups, -1, *patches.shape[1:]).swapaxes(1, 2)
        flat = by_group.reshape(conv.groups, SAMPLED_PLACES, -1)
        self._count += SAMPLED_PLACES
        self._sum += flat.sum(axis=1)
        self._products += flat.swapaxes(1, 2) @ flat

    def covariance(self) -> NDArray[np.float64]:
        mean = self._sum / self._count
        return self._products / self._count - mean[:, :, None] * mean[:, None, :]
