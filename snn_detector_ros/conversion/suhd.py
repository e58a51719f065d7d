# SPDX-License-Identifier: Apache-2.0
"""
Turn float convolutions into integer synapses and neurons (SUHD eqs 18-20, odd thresholds).

Per output channel ``w_eff = w * step_in`` is what one level on a synapse adds to the activation.
With a threshold of ``theta`` membrane units, one unit is ``dw = step_out / theta``, and
``V = rint(w_eff / dw) q + rint(b / dw)`` crosses ``theta`` once for each ``step_out``. The largest
odd theta that keeps the weights in range is the finest, and leaves no rounding error in itself.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from snn_detector_ros.conversion.bias_correction import mean_error
from snn_detector_ros.conversion.float_network import FloatConvolution, inputs_of_outputs
from snn_detector_ros.conversion.weight_rounding import round_weights
from snn_detector_ros.errors import ConversionError
from snn_detector_ros.network import IMAGE, Convolution
from snn_detector_ros.network.validation import (
    MAX_LEVEL_TIMES_THRESHOLD,
    MAX_PIXEL,
    MAX_THRESHOLD,
)

WEIGHT_MAX = 127

#: Where the input is 8 bit: two products must fit 16 bit, 2 * 255 * 64 < 2^15, since CPUs without
#: VNNI add them in pairs and saturate.
STEM_WEIGHT_MAX = 64

PAIR_MAX = (1 << 15) - 1

#: The bias of a readout stays below this many units, so that float32 holds each of its membranes.
_READOUT_BIAS_MAX = 1 << 23


def convert_convolution(
    conv: FloatConvolution,
    steps: dict[str, NDArray[np.float32]],
    max_level: int,
    *,
    signed: bool = False,
    covariance: NDArray[np.float64] | None = None,
    mean: NDArray[np.float64] | None = None,
) -> Convolution:
    """
    Convert one convolution.

    :param conv: the float convolution; one without steps becomes a readout.
    :param steps: step of each channel of the tensors that carry levels, and of the picture.
    :param max_level: Q of the spike code.
    :param signed: whether the levels that it reads may be negative.
    :param covariance: of the inputs of its neurons, see
        :func:`~snn_detector_ros.conversion.weight_rounding.round_weights`; None rounds each weight
        to the nearest.
    :param mean: of each channel that it reads, float64 [C]: what its rounded weights are wrong by
        on average is taken off the bias; None leaves it.
    :raises ConversionError: if the weights are not finite, or the cap of a ReLU6 cannot be kept.
    """
    if not (np.isfinite(conv.weight).all() and np.isfinite(conv.bias).all()):
        raise ConversionError(f'layer `{conv.name}` has weights that are not finite')
    is_stem = conv.source == IMAGE
    if is_stem:
        conv = _to_bgr(conv)
    effective = _effective_weight(conv, steps[conv.source])
    largest = np.abs(effective).reshape(len(effective), -1).max(axis=1)
    weight_max = STEM_WEIGHT_MAX if is_stem else WEIGHT_MAX
    if conv.name in steps:
        step = steps[conv.name]
        _check_cap(conv, step, max_level)
        threshold = _thresholds(step, largest / weight_max, max_level)
        unit = step.astype(np.float64) / threshold
    else:
        threshold = None
        unit = _readout_unit(largest / weight_max, conv.bias)
        step = unit.astype(np.float32)
    # A weight is out of range only if it alone, at level 1, crosses more than 127 thresholds.
    in_units = effective / unit[:, None, None, None]
    if covariance is None:
        weight = np.clip(np.rint(in_units), -weight_max, weight_max)
    else:
        weight = round_weights(
            in_units, weight_max, _in_levels(covariance, conv, steps[conv.source]))
    bias = conv.bias / unit
    if mean is not None:
        levels = (mean[::-1] if is_stem else mean) / steps[conv.source]
        bias = bias - mean_error(weight - in_units, levels, conv.groups)
    bias = np.rint(bias)
    if threshold is not None:
        top = MAX_PIXEL if is_stem else max_level
        bias = _clip_bias(bias, weight, threshold, (-top if signed else 0, top), max_level)
    return Convolution(
        conv.name, conv.source, weight.astype(np.int8), bias.astype(np.int32), threshold, step,
        conv.stride, conv.padding, conv.groups, 0.0 if threshold is None else conv.slope)


def _to_bgr(conv: FloatConvolution) -> FloatConvolution:
    """Reorder the weights of a convolution that reads the picture, which is blue-green-red here."""
    if conv.groups != 1:
        raise ConversionError(f'layer `{conv.name}` reads the picture in {conv.groups} groups; '
                              'the first convolution must mix all colours')
    return replace(conv, weight=conv.weight[:, ::-1])


def _effective_weight(
    conv: FloatConvolution, step: NDArray[np.float32],
) -> NDArray[np.float64]:
    """Return what one level on each synapse adds to the activation."""
    per_output = inputs_of_outputs(step.astype(np.float64), len(conv.weight), conv.groups)
    return conv.weight * per_output[:, :, None, None]


def _in_levels(
    covariance: NDArray[np.float64], conv: FloatConvolution, step: NDArray[np.float32],
) -> NDArray[np.float64]:
    """Return a covariance of activations, RGB of a picture, as one of levels."""
    height, width = conv.kernel
    scale = np.repeat(
        1 / step.astype(np.float64).reshape(conv.groups, -1), height * width, axis=1)
    if conv.source == IMAGE:
        backwards = np.arange(covariance.shape[1]).reshape(-1, height * width)[::-1].ravel()
        covariance = covariance[:, backwards][:, :, backwards]
    return covariance * scale[:, :, None] * scale[:, None, :]


def _check_cap(conv: FloatConvolution, step: NDArray[np.float32], max_level: int) -> None:
    """Refuse a ReLU6 whose levels could pass its cap: Q * step may exceed it in a chain of adds."""
    top = float(step.max()) * max_level
    if top > conv.cap * (1 + 1e-5):
        raise ConversionError(
            f'layer `{conv.name}` is capped at {conv.cap:g}, but shares its scale with sums up to '
            f'{top:g}, so the cap would be lost; train with ReLU in front of residual adds')


def _thresholds(
    step: NDArray[np.float32], unit: NDArray[np.float64], max_level: int,
) -> NDArray[np.int32]:
    """Return the largest odd threshold that lets a unit be at least ``unit``."""
    limit = min(MAX_THRESHOLD, MAX_LEVEL_TIMES_THRESHOLD // (max_level + 1))
    ratio = np.divide(step, unit, out=np.full(len(unit), float(limit)), where=unit > 0)
    whole = np.clip(np.floor(ratio), 1, limit).astype(np.int32)
    return np.where(whole % 2 == 1, whole, whole - 1).astype(np.int32)


def _readout_unit(
    unit: NDArray[np.float64], bias: NDArray[np.float32],
) -> NDArray[np.float64]:
    """Return the finest unit for weights and bias; 1 where both are zero."""
    unit = np.maximum(unit, np.abs(bias.astype(np.float64)) / _READOUT_BIAS_MAX)
    return np.where(unit > 0, unit, 1.0)


def _clip_bias(
    bias: NDArray[np.float64], weight: NDArray[np.float64], threshold: NDArray[np.int32],
    inputs: tuple[int, int], max_level: int,
) -> NDArray[np.float64]:
    """Cut off what cannot matter: beyond, a neuron always sends its lowest or its highest level."""
    flat = weight.reshape(len(weight), -1)
    ends = np.stack([flat * value for value in inputs])
    highest, lowest = ends.max(axis=0).sum(axis=1), ends.min(axis=0).sum(axis=1)
    reach = (max_level + 1) * threshold
    return bias.clip(-highest - reach, reach - lowest)
