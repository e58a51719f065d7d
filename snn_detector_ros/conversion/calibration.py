# SPDX-License-Identifier: Apache-2.0
"""
Measure how far each channel of a float network is driven on sample pictures.

By default the maximum over all pictures and places. A percentile is taken over the *positive*
activations of a channel, from a histogram of the whole sample: zeros say nothing about the scale,
and with them a channel that fires rarely would get the scale zero.

Where levels may be negative, the magnitude counts instead; of a leaky ReLU the magnitude in front
of it, since its neuron is cut off at -Q before the slope is applied.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Protocol

import numpy as np
import onnxruntime
from numpy.typing import NDArray
from onnx import ModelProto, TensorProto, helper

from snn_detector_ros.conversion.float_graph import INPUT, as_input, sum_name, to_onnx
from snn_detector_ros.conversion.float_network import FloatConvolution, FloatNetwork
from snn_detector_ros.errors import ConversionError
from snn_detector_ros.network import Add, Rectifier

#: Bins between 0 and the maximum of a channel.
BINS = 2048

#: Largest activation of each channel, float64 [C], by tensor.
Maxima = Mapping[str, NDArray[np.float64]]


class Pictures(Protocol):
    """Pictures that can be read more than once: a list, or files that are read when needed."""

    def __len__(self) -> int: ...

    def __iter__(self) -> Iterator[NDArray[np.uint8]]: ...


def calibrate(
    network: FloatNetwork,
    images: Pictures,
    *,
    percentile: float | None = None,
    behind_slope: bool = False,
) -> Maxima:
    """
    Run a float network on pictures and keep what each channel reaches.

    :param images: uint8 [H, W, 3], blue-green-red, letterboxed to the network's input size; read
        once, or twice for a percentile.
    :param percentile: share of the positive activations to cover, in percent; None for all.
    :param behind_slope: measure a leaky ReLU behind its slope, for neurons that are cut off there.
    :returns: for each activation and each residual sum, float64 [C].
    :raises ConversionError: if there is no picture, one has the wrong size, or the network computes
        something that is not a number.
    """
    if percentile is not None and not 0 < percentile <= 100:
        raise ConversionError(f'percentile {percentile} is not in (0, 100]')
    if not len(images):
        raise ConversionError('no picture to calibrate on')
    if not network.calibrated:
        raise ConversionError(f'{network.name}: no layer would fire, because each convolution is '
                              'an output; such a network needs no spikes')
    maxima = _maxima(network, images, behind_slope)
    for name, values in maxima.items():
        if not np.isfinite(values).all():
            raise ConversionError(f'layer `{name}` overflows float32 on a calibration picture, or '
                                  'has weights that are not finite')
    return maxima if percentile is None else _percentiles(
        network, images, behind_slope, maxima, percentile)


def _measured(network: FloatNetwork, behind_slope: bool) -> ModelProto:
    """Return a model that puts out, of each calibrated tensor, what its levels must reach."""
    model = to_onnx(network, outputs=network.calibrated)
    signed, rectified = network.signed, _rectified(network)
    for value in model.graph.output:
        layer = network[value.name]
        tensor = sum_name(layer) if (
            isinstance(layer, FloatConvolution) and layer.name in signed
            and not behind_slope) else layer.name
        matters = 'Abs' if layer.name in signed and layer.name not in rectified else 'Relu'
        model.graph.node.append(helper.make_node(matters, [tensor], [f'{value.name}/measured']))
        value.name += '/measured'
    return model


def _rectified(network: FloatNetwork) -> set[str]:
    """Return the sums that only ReLU reads: below zero they may be cut off anywhere."""
    readers: dict[str, list[object]] = {}
    for layer in network.layers:
        for source in layer.sources:
            readers.setdefault(source, []).append(layer)
    return {layer.name for layer in network.layers if isinstance(layer, Add) and all(
        isinstance(reader, Rectifier) and reader.slope == 0 for reader in readers[layer.name])}


def _maxima(
    network: FloatNetwork, images: Pictures, behind_slope: bool,
) -> dict[str, NDArray[np.float64]]:
    model = _measured(network, behind_slope)
    # The maxima are taken inside the graph: copying all activations out would cost more than they.
    for name, value in zip(network.calibrated, model.graph.output, strict=True):
        model.graph.node.append(helper.make_node(
            'ReduceMax', [f'{name}/measured'], [f'{name}/largest'], axes=[0, 2, 3], keepdims=0))
        channels = value.type.tensor_type.shape.dim[1].dim_value
        value.CopyFrom(
            helper.make_tensor_value_info(f'{name}/largest', TensorProto.FLOAT, [channels]))
    largest: dict[str, NDArray[np.float64]] = {}
    for values in run_float(
            network, model.SerializeToString(), network.calibrated, images):
        for name, value in values.items():
            largest[name] = np.maximum(largest.get(name, 0.0), value.astype(np.float64))
    return largest


def _percentiles(
    network: FloatNetwork, images: Pictures, behind_slope: bool,
    maxima: Maxima, percentile: float,
) -> dict[str, NDArray[np.float64]]:
    """Return the upper edge of the bin that the percentile falls into."""
    histograms = {name: np.zeros((len(values), BINS), np.int64) for name, values in maxima.items()}
    model = _measured(network, behind_slope).SerializeToString()
    for values in run_float(network, model, network.calibrated, images):
        for name, value in values.items():
            histograms[name] += _histogram(value[0], maxima[name])
    result = {}
    for name, counts in histograms.items():
        covered = counts.cumsum(axis=1)
        wanted = np.ceil(covered[:, -1:] * (percentile / 100))
        result[name] = maxima[name] * ((covered < wanted).sum(axis=1) + 1) / BINS
    return result


def _histogram(
    activations: NDArray[np.float32], maxima: NDArray[np.float64],
) -> NDArray[np.int64]:
    """Count the positive activations [C, H, W] of each channel by bin, [C, BINS]."""
    channels = len(maxima)
    flat = activations.reshape(channels, -1)
    channel, place = np.nonzero(flat > 0)
    scale = BINS / np.where(maxima > 0, maxima, 1.0)
    bins = np.minimum((flat[channel, place] * scale[channel]).astype(np.int64), BINS - 1)
    return np.bincount(channel * BINS + bins, minlength=channels * BINS).reshape(channels, BINS)


def run_float(
    network: FloatNetwork, model: bytes, names: Sequence[str], images: Pictures,
) -> Iterator[dict[str, NDArray[np.float32]]]:
    """
    Yield what the outputs of a model of a float network are for each picture.

    :param model: the network as ONNX, with any outputs.
    :param names: what to call the outputs.
    :param images: see :func:`calibrate`.
    :raises ConversionError: if a picture has the wrong size, or the model cannot be run.
    """
    session = onnxruntime.InferenceSession(model, providers=['CPUExecutionProvider'])
    shape = (*network.input_size, 3)
    for image in images:
        if image.shape != shape or image.dtype != np.uint8:
            raise ConversionError(f'calibration picture is {image.dtype} of {image.shape}, needs '
                                  f'uint8 of {shape}')
        try:
            outputs = session.run(None, {INPUT: as_input(image)})
        except Exception as error:  # ONNX Runtime has no public base class of its errors
            raise ConversionError(f'the float network cannot be run: {error}') from error
        yield dict(zip(names, outputs, strict=True))
