# SPDX-License-Identifier: Apache-2.0
"""The float opponent in torch computes what the exported float network computes."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from network_builder import small_detector, small_signed_detector
from random_graphs import SLOPES, networks

torch = pytest.importorskip('torch', reason='torch is not installed (extra: train)')

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.float_torch import TorchNetwork  # noqa: E402
from benchmarks.sessions import OnnxRuntimeSession  # noqa: E402
from snn_detector_ros.conversion import FloatNetwork, dequantise, to_onnx  # noqa: E402
from snn_detector_ros.network import SpikingNetwork  # noqa: E402


def odd_float_network() -> FloatNetwork:
    """Return caps, and padding that torch does not take."""
    float_network = dequantise(small_detector())
    first, second, *others = float_network.layers
    return replace(float_network, layers=(
        replace(first, cap=0.4), replace(second, padding=(2, 1, 0, 1)), *(
            replace(layer, padding=(3, 2, 1, 2)) if layer.name.startswith('pool') else layer
            for layer in others)))


def assert_torch_equals_onnx(float_network: FloatNetwork) -> None:
    height, width = float_network.input_size
    image = np.random.default_rng(0).random((1, 3, height, width), dtype=np.float32)
    expected = OnnxRuntimeSession(to_onnx(float_network), {'images': image}, threads=1)
    expected.run()
    found = TorchNetwork(float_network)(torch.from_numpy(image))
    for name, values in zip(float_network.outputs, found, strict=True):
        want = expected.output(name)
        np.testing.assert_allclose(
            values.numpy(), want, rtol=0, atol=1e-5 * max(np.abs(want).max(), 1e-6), err_msg=name)


@pytest.mark.parametrize('float_network', [
    dequantise(small_detector()), dequantise(small_signed_detector()), odd_float_network()],
    ids=['rectified', 'signed', 'odd'])
def test_the_float_network_in_torch_is_the_exported_one(float_network: FloatNetwork) -> None:
    assert_torch_equals_onnx(float_network)


@settings(max_examples=25, deadline=None, derandomize=True,
          suppress_health_check=[HealthCheck.too_slow])
@given(network=networks(slopes=SLOPES), seed=st.integers(0, 99))
def test_random_float_networks_in_torch(network: SpikingNetwork, seed: int) -> None:
    assert_torch_equals_onnx(dequantise(network))
