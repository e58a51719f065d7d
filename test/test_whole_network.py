# SPDX-License-Identifier: Apache-2.0
"""The shipped network on real pictures: every engine, code and file gives the same levels."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from snn_detector_ros.conversion import SuhdOptions, convert
from snn_detector_ros.conversion.dequantise import dequantise
from snn_detector_ros.detection.letterbox import Letterbox
from snn_detector_ros.engines import make_engine
from snn_detector_ros.network import SpikingNetwork
from snn_detector_ros.network.model_file import load
from snn_detector_ros.resources import DEFAULT_MODEL, resource

SIZE = (160, 160)


@pytest.fixture(scope='module')
def pictures() -> list[NDArray[np.uint8]]:
    """Return two photographs that come in a wheel, as network input."""
    spec = find_spec('skimage')
    if spec is None or spec.origin is None:
        pytest.skip('needs the photographs of scikit-image')
    folder = Path(spec.origin).parent / 'data'
    letterbox = Letterbox(SIZE)
    return [letterbox(cv2.imread(str(folder / name))).copy()
            for name in ('astronaut.png', 'coffee.png')]


@pytest.fixture(scope='module')
def shipped() -> SpikingNetwork:
    return load(resource(DEFAULT_MODEL))


def assert_engines_agree(network: SpikingNetwork, pixels: NDArray[np.uint8]) -> None:
    simulator = make_engine('simulator', network, input_size=SIZE)
    fast = make_engine('onnxruntime', network, input_size=SIZE)
    readouts = simulator.run(pixels), fast.run(pixels)
    for name in network.outputs:
        np.testing.assert_array_equal(readouts[0][name], readouts[1][name], err_msg=name)
    levels = fast.levels()
    for name, truth in simulator.levels().items():
        np.testing.assert_array_equal(levels[name], truth, err_msg=name)
    assert simulator.firing().layers == fast.firing().layers
    assert fast.firing().spikes > 1000


def test_the_shipped_network_is_exact(
    shipped: SpikingNetwork, pictures: list[NDArray[np.uint8]],
) -> None:
    for pixels in pictures:
        assert_engines_agree(shipped, pixels)


@pytest.mark.parametrize('options', [
    SuhdOptions(steps=4, burst=12, initial_membrane='zero'),
    SuhdOptions(steps=4, burst=25),
    SuhdOptions(steps=4, burst=1),
    SuhdOptions(steps=2, burst=40),
    SuhdOptions(steps=1, burst=127),
    SuhdOptions(kind='binary', steps=7, burst=1, initial_membrane='zero'),
    SuhdOptions(kind='constant', steps=8, burst=3),
], ids=str)
def test_other_codes_of_the_same_network_are_exact(
    shipped: SpikingNetwork, pictures: list[NDArray[np.uint8]], options: SuhdOptions,
) -> None:
    """Convert the float twin of the shipped network again, with another code."""
    float_twin = dequantise(shipped)
    letterbox = Letterbox(float_twin.input_size)
    calibration = [letterbox(pixels).copy() for pixels in pictures]
    assert_engines_agree(convert(float_twin, calibration, options), pictures[0])
