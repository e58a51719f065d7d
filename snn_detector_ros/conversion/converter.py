# SPDX-License-Identifier: Apache-2.0
"""The SUHD conversion as a whole: calibrate, choose steps, make integer layers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from snn_detector_ros.conversion.bias_correction import mean_inputs
from snn_detector_ros.conversion.calibration import Maxima, Pictures, calibrate
from snn_detector_ros.conversion.float_network import (
    FloatConvolution,
    FloatLayer,
    FloatNetwork,
)
from snn_detector_ros.conversion.scales import Normalisation, choose_steps
from snn_detector_ros.conversion.suhd import PAIR_MAX, WEIGHT_MAX, convert_convolution
from snn_detector_ros.conversion.weight_rounding import input_covariances
from snn_detector_ros.errors import ConfigurationError
from snn_detector_ros.network import InitialMembrane, Layer, SpikeCode, SpikingNetwork
from snn_detector_ros.network.codes import MAX_STEPS
from snn_detector_ros.network.validation import validate

_CODES = {'linear': SpikeCode.linear, 'binary': SpikeCode.binary, 'constant': SpikeCode.constant}


@dataclass(frozen=True)
class SuhdOptions:
    """
    Choices of the conversion.

    :param kind: how the weights of the time steps fall: ``linear`` is STDI.
    :param steps: number of time steps T.
    :param burst: most spikes in one step.
    :param percentile: share of the positive activations of a channel that the levels cover, in
        percent; None for all of them.
    :param normalisation: one scale a ``channel`` or a ``layer``.
    :param initial_membrane: ``zero`` as in the paper, or ``half`` a threshold, which rounds to the
        nearest level instead of down.
    :param bias_correction: whether the biases make up for the mean error of rounded weights.
    :param rounding: of weights: ``joint`` lets the errors of the weights of a neuron cancel out on
        the pictures; ``nearest`` rounds each to the nearest.
    """

    kind: Literal['linear', 'binary', 'constant'] = 'linear'
    steps: int = 4
    burst: int = 12
    percentile: float | None = None
    normalisation: Normalisation = 'channel'
    initial_membrane: InitialMembrane = 'half'
    bias_correction: bool = True
    rounding: Literal['joint', 'nearest'] = 'joint'

    @property
    def code(self) -> SpikeCode:
        """
        The spike code.

        :raises ConfigurationError: if there are too many steps, or its levels do not fit 8 bit.
        """
        if not 1 <= self.steps <= MAX_STEPS:
            raise ConfigurationError(f'{self.steps} time steps: choose 1 to {MAX_STEPS}')
        code = _CODES[self.kind](self.steps, self.burst)
        if code.max_level > 255:
            raise ConfigurationError(f'{code} reaches level {code.max_level}, but levels are sent '
                                     'in 8 bit: lower steps or burst')
        return code


def convert(
    network: FloatNetwork,
    images: Pictures,
    options: SuhdOptions | None = None,
) -> SpikingNetwork:
    """
    Convert a float network with the pictures that it is calibrated on.

    :param images: uint8 [H, W, 3], blue-green-red, letterboxed to the network's input size.
    :raises ConversionError: if the network or the pictures cannot be used.
    :raises ConfigurationError: if the spike code cannot be used.
    """
    options = options or SuhdOptions()
    code = options.code
    maxima = calibrate(network, images, percentile=options.percentile)
    steps = choose_steps(network, maxima, code.max_level, options.normalisation)
    signed = network.signed
    covariances = input_covariances(network, images) if options.rounding == 'joint' else {}
    means = mean_inputs(network, images) if options.bias_correction else {}

    def converted(layer: FloatLayer) -> Layer:
        if not isinstance(layer, FloatConvolution):
            return layer
        return convert_convolution(
            layer, steps, code.max_level, signed=layer.source in signed,
            covariance=covariances.get(layer.name), mean=means.get(layer.source))

    layers = tuple(map(converted, network.layers))
    result = SpikingNetwork(
        network.name, code, options.initial_membrane, network.input_size, layers, network.outputs,
        network.head, network.class_names,
        {**network.provenance, **_provenance(network, options, maxima, len(images))})
    validate(result)
    return result


def _provenance(
    network: FloatNetwork, options: SuhdOptions, maxima: Maxima, image_count: int,
) -> dict[str, str]:
    """Say how the network was made, without dates: the same input gives the same file."""
    needs_vnni = 2 * options.code.max_level * WEIGHT_MAX > PAIR_MAX
    return {
        'method': 'SUHD',
        'calibration_images': str(image_count),
        'percentile': 'maximum' if options.percentile is None else f'{options.percentile:g}',
        'normalisation': options.normalisation,
        'rounding': options.rounding,
        'bias_correction': 'yes' if options.bias_correction else 'no',
        'silent_channels': silent_channels(network, maxima),
        'file_is_exact_on_x86': 'with VNNI only' if needs_vnni else 'all',
    }


def silent_channels(network: FloatNetwork, maxima: Maxima) -> str:
    """List how many channels of each layer never fired on the calibration pictures."""
    counts = {layer.name: int((maxima[layer.name] == 0).sum()) for layer in network.layers
              if isinstance(layer, FloatConvolution) and layer.name in maxima}
    return ', '.join(f'{name} {count} of {len(maxima[name])}'
                     for name, count in counts.items() if count) or 'none'
