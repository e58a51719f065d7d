# SPDX-License-Identifier: Apache-2.0
"""
How far the spikes of each layer are from the activations that they stand for.

A float network and the spiking network made from it see the same pictures. What a convolution of
one puts out, ``level * step`` (or ``membrane * step`` where it does not fire), is compared with
what the convolution of that name puts out in the other.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from snn_detector_ros.conversion import FloatConvolution, FloatNetwork, to_onnx
from snn_detector_ros.conversion.float_graph import INPUT, as_input
from snn_detector_ros.engines import make_engine
from snn_detector_ros.network import Convolution, SpikingNetwork


@dataclass(frozen=True)
class LayerError:
    """
    The error of one convolution, over all its neurons and all pictures.

    :param readout: whether it is read out instead of firing.
    :param absolute: mean of ``|spikes - float|``, in the unit of the activation.
    :param magnitude: mean of ``|float|``.
    :param saturated: share of the neurons that sent the largest level, 0 to 1.
    """

    name: str
    readout: bool
    absolute: float
    magnitude: float
    saturated: float

    @property
    def relative(self) -> float:
        """Mean absolute error as a share of the mean magnitude; 0 where both are 0."""
        return self.absolute / self.magnitude if self.magnitude else float(self.absolute > 0)


def is_ancestor(floats: FloatNetwork, network: SpikingNetwork) -> bool:
    """Whether a float network has the same convolutions, by name and shape of their weights."""
    return _convolutions(floats) == {
        layer.name: layer.weight.shape for layer in network.convolutions}


def layer_errors(
    floats: FloatNetwork,
    network: SpikingNetwork,
    pictures: Iterable[NDArray[np.uint8]],
    *,
    engine: str = 'auto',
) -> tuple[LayerError, ...]:
    """
    Compare two networks layer by layer.

    :param floats: the float network, see :func:`is_ancestor`.
    :param network: the spiking network.
    :param pictures: uint8 [H, W, 3] blue-green-red, letterboxed to the input size; at least one.
    :param engine: engine that runs the spikes.
    :returns: an error for each convolution, in the order of execution.
    """
    runner = make_engine(engine, network)
    session = onnxruntime.InferenceSession(
        to_onnx(floats, outputs=list(_convolutions(floats))).SerializeToString(),
        providers=['CPUExecutionProvider'])
    sums = {layer.name: np.zeros(4) for layer in network.convolutions}
    for pixels in pictures:
        expected = _run_float(session, pixels)
        readouts = runner.run(pixels)
        levels = runner.levels()
        for layer in network.convolutions:
            raw = readouts[layer.name] + layer.bias if layer.is_readout else levels[layer.name]
            sums[layer.name] += _sums(raw, layer, expected[layer.name], network.code.max_level)
    return tuple(_layer_error(layer, sums[layer.name]) for layer in network.convolutions)


def _convolutions(floats: FloatNetwork) -> dict[str, tuple[int, ...]]:
    return {layer.name: layer.weight.shape for layer in floats.layers
            if isinstance(layer, FloatConvolution)}


def _run_float(
    session: onnxruntime.InferenceSession, pixels: NDArray[np.uint8],
) -> dict[str, NDArray[np.float32]]:
    """Return the outputs of a float network by name, float32 [H, W, C]."""
    names = [output.name for output in session.get_outputs()]
    values = session.run(names, {INPUT: as_input(pixels)})
    return {name: value[0].transpose(1, 2, 0) for name, value in zip(names, values, strict=True)}


def _sums(
    raw: NDArray[np.integer], layer: Convolution, expected: NDArray[np.float32], top: int,
) -> NDArray[np.float64]:
    """Return neurons, sum of errors, sum of magnitudes, and neurons at the largest level."""
    error = np.abs(raw.astype(np.float32) * layer.step - expected)
    saturated = 0 if layer.is_readout else int((np.abs(raw.astype(np.int32)) == top).sum())
    return np.array([error.size, error.sum(dtype=np.float64),
                     np.abs(expected).sum(dtype=np.float64), saturated])


def _layer_error(layer: Convolution, sums: NDArray[np.float64]) -> LayerError:
    absolute, magnitude, saturated = (sums[1:] / sums[0]).tolist()
    return LayerError(layer.name, layer.is_readout, absolute, magnitude, saturated)
