# SPDX-License-Identifier: Apache-2.0
"""
Spiking-YOLO (Kim et al., AAAI 2020, arXiv 1903.06530): the conversion to a rate code.

Channel-wise data-based normalisation divides every channel by its own largest activation, so that
each uses the whole range of rates (``w_ij lambda_i / lambda_j``, ``b_j / lambda_j``); with one
number a layer, channels far below it would wait for thousands of steps. Leaky ReLU becomes the
signed neuron with an imbalanced threshold. Activations are measured behind their slope, since the
rate of a spike of -1 is that of the activation.

T steps carry T levels: a count of q stands for ``lambda q / T``. The integers are those of
:mod:`~snn_detector_ros.conversion.suhd`; what differs is that neurons fire while they receive.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from snn_detector_ros.conversion.calibration import Maxima, Pictures, calibrate
from snn_detector_ros.conversion.converter import silent_channels
from snn_detector_ros.conversion.float_network import FloatConvolution, FloatLayer, FloatNetwork
from snn_detector_ros.conversion.scales import Normalisation, choose_steps
from snn_detector_ros.conversion.suhd import STEM_WEIGHT_MAX, convert_convolution
from snn_detector_ros.errors import ConfigurationError
from snn_detector_ros.network import (
    IMAGE,
    Convolution,
    InitialMembrane,
    Layer,
    Rectifier,
    SpikeCode,
    SpikingNetwork,
)
from snn_detector_ros.network.codes import MAX_STEPS
from snn_detector_ros.network.validation import MAX_PIXEL, validate

#: No bias of a signed neuron is larger; far beyond what its synapses can make up for.
_BIAS_MAX = 1 << 30


@dataclass(frozen=True)
class SpikingYoloOptions:
    """
    Choices of the conversion.

    :param steps: number of time steps T.
    :param percentile: share of the activations of a channel that the rates cover, in percent; None
        for all of them.
    :param normalisation: one scale a ``channel``, or a ``layer`` as before Spiking-YOLO.
    :param initial_membrane: ``zero`` as in the paper, or ``half`` a threshold. Signed neurons start
        at zero in any case.
    :param signed_neuron: whether neurons fire below zero. Without, what leaky ReLU lets through
        there is lost: the paper's ablation.
    :param readout: read the ``membrane`` of the last layer, which then never fires, or ``count``
        its spikes, which are cut off at T and whose rest stays in the membrane.
    """

    steps: int = 512
    percentile: float | None = None
    normalisation: Normalisation = 'channel'
    initial_membrane: InitialMembrane = 'zero'
    signed_neuron: bool = True
    readout: Literal['membrane', 'count'] = 'membrane'

    @property
    def code(self) -> SpikeCode:
        """
        The spike code: single spikes of equal weight.

        :raises ConfigurationError: if there are too few or too many steps.
        """
        if not 1 <= self.steps <= MAX_STEPS:
            raise ConfigurationError(f'{self.steps} time steps: choose 1 to {MAX_STEPS}')
        return SpikeCode.constant(self.steps)


def convert_spiking_yolo(
    network: FloatNetwork,
    images: Pictures,
    options: SpikingYoloOptions | None = None,
) -> SpikingNetwork:
    """
    Convert a float network with the pictures that it is calibrated on.

    :param images: uint8 [H, W, 3], blue-green-red, letterboxed to the network's input size.
    :raises ConversionError: if the network or the pictures cannot be used.
    :raises ConfigurationError: if the number of steps cannot be used.
    """
    options = options or SpikingYoloOptions()
    code = options.code
    # Readouts that fire have scales of their own, as if they were hidden layers.
    scaled = network if options.readout == 'membrane' else replace(network, outputs=())
    maxima = _make_room(scaled, options.steps, calibrate(
        scaled, images, percentile=options.percentile, behind_slope=True))
    steps = choose_steps(scaled, maxima, options.steps, options.normalisation)
    signed = scaled.signed
    layers = tuple(_convert(layer, steps, options.steps, signed) for layer in network.layers)
    result = SpikingNetwork(
        network.name, code, options.initial_membrane, network.input_size, layers, network.outputs,
        network.head, network.class_names, {
            **network.provenance,
            'method': 'Spiking-YOLO',
            'calibration_images': str(len(images)),
            'percentile': 'maximum' if options.percentile is None else f'{options.percentile:g}',
            'normalisation': options.normalisation,
            'signed_neuron': 'yes' if options.signed_neuron else 'no',
            'readout': options.readout,
            'silent_channels': silent_channels(network, maxima),
        }, dynamics='concurrent')
    if not options.signed_neuron:
        result = without_sign(result)
    validate(result)
    return result


def _make_room(network: FloatNetwork, steps: int, maxima: Maxima) -> Maxima:
    """
    Raise maxima that many steps would make too fine for the int8 weights of the picture.

    One pixel value may bring at most 64 thresholds of ``maximum / T``. Only channels that hardly
    ever fire, of networks with thousands of steps, come near; they use a part of the levels then.
    """
    stems = {layer.name: np.abs(layer.weight.astype(np.float64)).max(axis=(1, 2, 3))
             for layer in network.layers
             if isinstance(layer, FloatConvolution) and layer.source == IMAGE}
    return {name: np.maximum(values, stems[name] * steps / (MAX_PIXEL * STEM_WEIGHT_MAX))
            if name in stems else values for name, values in maxima.items()}


def _convert(
    layer: FloatLayer, steps: dict[str, NDArray[np.float32]], max_level: int,
    signed: frozenset[str],
) -> Layer:
    if not isinstance(layer, FloatConvolution):
        return layer
    conv = convert_convolution(layer, steps, max_level, signed=layer.source in signed)
    if conv.threshold is None or not 0 < conv.slope < 1:
        return conv
    # With time separation a signed neuron is cut off at Q thresholds below zero, and its bias with
    # it; here it goes on to Q / slope of them.
    bias = np.rint(layer.bias * conv.threshold / conv.step.astype(np.float64))
    return replace(conv, bias=bias.clip(-_BIAS_MAX, _BIAS_MAX).astype(np.int32))


def without_sign(network: SpikingNetwork) -> SpikingNetwork:
    """Return a network whose neurons never fire below zero, as an ablation; its outputs stay."""
    return replace(network, layers=tuple(
        replace(layer, slope=0.0)
        if isinstance(layer, Rectifier | Convolution) and layer.name not in network.outputs
        else layer for layer in network.layers))
