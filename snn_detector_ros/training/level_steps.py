# SPDX-License-Identifier: Apache-2.0
"""
Take the steps of a network in training from the converter.

So training and conversion cannot differ: neither in what a maximum or a percentile is, nor in which
channels share a step because a residual sum adds their levels.
"""

import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from snn_detector_ros.conversion import SuhdOptions, read_onnx
from snn_detector_ros.conversion.calibration import calibrate
from snn_detector_ros.conversion.scales import choose_steps
from snn_detector_ros.datasets.image_folder import evenly_spread
from snn_detector_ros.errors import ConfigurationError
from snn_detector_ros.training.augmentation import letterbox
from snn_detector_ros.training.data_loader import PictureCache
from snn_detector_ros.training.export import export_onnx
from snn_detector_ros.training.head import STRIDES, AnchorDetector
from snn_detector_ros.training.spike_levels import level_activations

#: Training pictures that the steps are calibrated on.
CALIBRATION_PICTURES = 64


class CalibrationPictures:
    """Training pictures, evenly spread, as the converter reads them: uint8 [H, W, 3], BGR."""

    def __init__(self, cache: PictureCache, size: int) -> None:
        self._cache, self._size = cache, size
        self._indices = evenly_spread(range(len(cache)), CALIBRATION_PICTURES)

    def __len__(self) -> int:
        return len(self._indices)

    def __iter__(self) -> Iterator[NDArray[np.uint8]]:
        for index in self._indices:
            image = letterbox(self._cache.picture(index), self._size).image
            yield np.ascontiguousarray(image[..., ::-1])


@dataclass(frozen=True)
class LevelSteps:
    """
    How the steps of a network are found.

    :param options: of the conversion that the network is trained for.
    :param pictures: what it is calibrated on.
    :param size: edge of these pictures in px.
    """

    options: SuhdOptions
    pictures: CalibrationPictures
    size: int

    def of(self, model: AnchorDetector) -> list[tuple[str, NDArray[np.float32]]]:
        """
        Return the steps that a conversion of the network would choose.

        :param model: a network with levels, in evaluation mode.
        :returns: name of each ``LevelActivation`` and its steps, float32 [C].
        :raises ConversionError: if the network cannot be converted.
        """
        names = [str(index) for index in range(model.head.outputs - 5)]
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / 'float.onnx'
            export_onnx(model, file, names=names, size=(self.size, self.size), training={})
            network = read_onnx(file)
        maxima = calibrate(network, self.pictures, percentile=self.options.percentile)
        steps = choose_steps(
            network, maxima, self.options.code.max_level, self.options.normalisation)
        return _pair(model, [steps[name] for name in network.calibrated])


def _pair(
        model: AnchorDetector,
        steps: Sequence[NDArray[np.float32]]) -> list[tuple[str, NDArray[np.float32]]]:
    """Pair the layers of both networks, which stand in the order of execution."""
    order: list[str] = []
    hooks = [
        activation.register_forward_hook(lambda _m, _i, _o, name=name: order.append(name))
        for name, activation in level_activations(model)]
    device = next(model.parameters()).device
    with torch.no_grad():
        model(torch.zeros(1, 3, STRIDES[-1], STRIDES[-1], device=device))
    for hook in hooks:
        hook.remove()
    channels = [len(model.get_submodule(name).step) for name in order]
    if channels != [len(step) for step in steps]:
        raise ConfigurationError(
            f'the converter sees {len(steps)} firing layers where the network has {len(order)}, '
            'or others; this network cannot be trained with --spikes')
    return list(zip(order, steps, strict=True))
