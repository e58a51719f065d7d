# SPDX-License-Identifier: Apache-2.0
"""
The truth: every neuron, every spike, every time step, one after the other.

Each layer first accumulates the weighted spikes of all T steps and then fires for T steps (time
separation, SUHD section 3; STDI eqs. 18-20, bursts eq. 12). Nothing here knows that the result
equals one pass over integer levels; the other engines are tested against it.

Membranes are integers. They are summed in float64, whose 53 bits hold every sum that
:func:`~snn_detector_ros.network.validation.validate` lets pass, so nothing is ever rounded.
"""

from __future__ import annotations

from typing import Any, TypeVar

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from snn_detector_ros.engines.base import check_pixels
from snn_detector_ros.engines.statistics import FiringModel, FiringStatistics
from snn_detector_ros.network import (
    IMAGE,
    Add,
    Concat,
    Convolution,
    DepthToSpace,
    Layer,
    MaxPool,
    Permutation,
    Rectifier,
    Slice,
    SpikingNetwork,
    Synapses,
    Upsample,
)
from snn_detector_ros.network.signed_neuron import fire_signed
from snn_detector_ros.network.validation import check_shapes, require_separated, validate

NumberT = TypeVar('NumberT', np.int64, np.float64)
_LOWEST = {np.int64: np.iinfo(np.int64).min, np.float64: -np.inf}


class SimulatorEngine:
    """
    Simulates a network spike by spike.

    :param network: the network; is validated.
    :param input_size: (height, width) of the picture in px; the network's own if None.
    """

    name = 'simulator'

    def __init__(
        self, network: SpikingNetwork, *, input_size: tuple[int, int] | None = None,
    ) -> None:
        validate(network)
        require_separated(network, self.name)
        self.network = network
        self.input_size = input_size or network.input_size
        self._shape = check_shapes(network, self.input_size)[IMAGE]
        self._firing_model = FiringModel(network, self.input_size)
        #: Spike train of every layer for the last picture, int64 [T, h, w, C]; negative numbers
        #: are spikes of a negative sign.
        self.trains: dict[str, NDArray[np.int64]] = {}

    def run(self, pixels: NDArray[np.uint8]) -> dict[str, NDArray[np.int32]]:
        check_pixels(pixels, self._shape)
        self.trains = {}
        readouts = {}
        for layer in self.network.layers:
            if isinstance(layer, Convolution):
                received = self._accumulate(layer, pixels)
                if layer.threshold is None:
                    readouts[layer.name] = received.astype(np.int32)
                    continue
                train = self._fire(layer, received + layer.bias, layer.threshold.astype(np.int64))
                if layer.name in self.network.outputs:
                    readouts[layer.name] = self.network.code.levels(train).astype(np.int32)
            else:
                train = self._relay(layer)
            self.trains[layer.name] = train
        return readouts

    def levels(self) -> dict[str, NDArray[np.uint8] | NDArray[np.int8]]:
        return {layer.name: self._decode(layer.name).astype(
            np.int8 if layer.name in self.network.signed_tensors else np.uint8)
            for layer in self.network.firing_layers}

    def firing(self) -> FiringStatistics:
        return self._firing_model.statistics(np.array([
            np.abs(self.trains[run.layer][..., run.channels]).sum(axis=(1, 2, 3))
            for run in self._firing_model.runs]))

    def _fire(
        self, conv: Convolution, received: NDArray[np.int64], threshold: NDArray[np.int64],
    ) -> NDArray[np.int64]:
        if conv.slope > 0:
            return fire_signed(self.network.code, received, threshold, conv.slope)
        return self.network.code.fire(self.network.start_membrane(conv) + received, threshold)

    def _accumulate(self, conv: Convolution, pixels: NDArray[np.uint8]) -> NDArray[np.int64]:
        """Sum what all steps bring; the picture is analog and arrives once (SUHD 3.3)."""
        if conv.source == IMAGE:
            return convolve(pixels, conv)
        train = self.trains[conv.source]
        received = np.zeros((), dtype=np.int64)
        for weight, spikes in zip(self.network.code.tau, train, strict=True):
            received = received + weight * convolve(spikes, conv)
        return received

    def _relay(self, layer: Layer) -> NDArray[np.int64]:
        """Spike trains of the layers without synapses of their own."""
        match layer:
            case Add():
                first, second = (self._decode(source) for source in layer.sources)
                return self._encode(first + second)
            case MaxPool():
                # Decode, let the largest membrane of each window win, encode (SUHD eqs. 21-22).
                return self._encode(max_pool(self._decode(layer.source), layer))
            case Rectifier():
                return self._encode(self._decode(layer.source), slope=layer.slope)
            case Concat():
                return np.concatenate([self.trains[source] for source in layer.sources], axis=-1)
            case Upsample():
                train = self.trains[layer.source]
                return train.repeat(layer.factor, axis=1).repeat(layer.factor, axis=2)
            case Slice():
                return self.trains[layer.source][..., layer.start:layer.stop]
            case Permutation():
                return self.trains[layer.source][..., list(layer.order)]
            case DepthToSpace():
                return depth_to_space(self.trains[layer.source], layer.factor)
            case _:
                raise AssertionError(layer)

    def _encode(self, membrane: NDArray[np.int64], *, slope: float = 1.0) -> NDArray[np.int64]:
        """Fire neurons of threshold 1; where no membrane is negative, none needs a sign."""
        if (membrane < 0).any():
            return fire_signed(self.network.code, membrane, np.int64(1), slope)
        return self.network.code.fire(membrane, np.int64(1))

    def _decode(self, name: str) -> NDArray[np.int64]:
        return self.network.code.levels(self.trains[name])


def convolve(values: NDArray[np.integer], conv: Convolution) -> NDArray[np.int64]:
    """
    Return the convolution of integers, without bias.

    :param values: integers [H, W, Cin].
    :returns: int64 [h, w, Cout], exact.
    """
    return weighted_sums(values, conv).astype(np.int64)


def weighted_sums(values: NDArray[Any], conv: Convolution | Synapses) -> NDArray[np.float64]:
    """
    Return the convolution of numbers, without bias.

    :param values: [H, W, Cin].
    :returns: float64 [h, w, Cout].
    """
    top, left, bottom, right = conv.padding
    padded = np.pad(values.astype(np.float64), ((top, bottom), (left, right), (0, 0)))
    windows = sliding_window_view(padded, conv.weight.shape[2:], axis=(0, 1))
    windows = windows[::conv.stride[0], ::conv.stride[1]]  # [h, w, Cin, kh, kw]
    per_group = np.split(windows, conv.groups, axis=2)
    kernels = np.split(conv.weight.astype(np.float64), conv.groups)
    sums = [part.reshape(*part.shape[:2], -1) @ kernel.reshape(len(kernel), -1).T
            for part, kernel in zip(per_group, kernels, strict=True)]
    return np.concatenate(sums, axis=-1)


def max_pool(values: NDArray[NumberT], pool: MaxPool) -> NDArray[NumberT]:
    """
    Return the largest value of each window; padding never wins.

    :param values: int64 or float64 [H, W, C].
    :returns: of the same type, [h, w, C].
    """
    top, left, bottom, right = pool.padding
    padded = np.pad(values, ((top, bottom), (left, right), (0, 0)),
                    constant_values=_LOWEST[values.dtype.type])
    windows = sliding_window_view(padded, pool.kernel, axis=(0, 1))
    return windows[::pool.stride[0], ::pool.stride[1]].max(axis=(-2, -1))


def depth_to_space(trains: NDArray[np.int64], factor: int) -> NDArray[np.int64]:
    """
    Turn channels into pixels.

    :param trains: int64 [T, H, W, factor * factor * C].
    :returns: int64 [T, H * factor, W * factor, C].
    """
    steps, height, width, channels = trains.shape
    blocks = trains.reshape(steps, height, width, factor, factor, channels // factor**2)
    return blocks.transpose(0, 1, 3, 2, 4, 5).reshape(
        steps, height * factor, width * factor, channels // factor**2)
