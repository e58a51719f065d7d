# SPDX-License-Identifier: Apache-2.0
"""Engines in ONNX Runtime's other providers: the graph of the model file equals the simulator."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnxruntime
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lif_builder import random_pixels, small_lif_detector
from network_builder import NetworkBuilder, small_detector, small_signed_detector
from numpy.typing import NDArray
from random_graphs import SLOPES, networks

from snn_detector_ros.engines import make_engine, onnxruntime_providers
from snn_detector_ros.engines.lif_onnxruntime import LifOnnxRuntimeEngine
from snn_detector_ros.engines.onnxruntime import CPU_PROVIDER, open_session
from snn_detector_ros.engines.onnxruntime_providers import (
    PACKAGES,
    PROVIDERS,
    OnnxProviderEngine,
    providers_of,
)
from snn_detector_ros.engines.select import ENGINES, PROVIDER_ENGINES
from snn_detector_ros.errors import EngineError, ImageError
from snn_detector_ros.network import IMAGE, SpikeCode, SpikingNetwork

#: Few enough levels for the 16-bit sums of any CPU, signed ones too.
CODE = SpikeCode.linear(4, 6)


def on_cpu(network: SpikingNetwork, **options: Any) -> OnnxProviderEngine:
    """Return the engine of another provider with the one that is always there."""
    return OnnxProviderEngine(
        network, name='onnxruntime-openvino', providers=[CPU_PROVIDER], threads=1, **options)


def picture(size: tuple[int, int], seed: int = 0) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8)


def assert_equals_the_simulator(engine: OnnxProviderEngine, seed: int = 0) -> None:
    simulator = make_engine('simulator', engine.network, input_size=engine.input_size)
    pixels = picture(engine.input_size, seed)
    expected, readouts = simulator.run(pixels), engine.run(pixels)
    levels = engine.levels()
    for name, values in simulator.levels().items():
        assert levels[name].dtype == values.dtype
        np.testing.assert_array_equal(levels[name], values, err_msg=name)
    for name, sums in expected.items():
        assert readouts[name].dtype == np.int32
        np.testing.assert_array_equal(readouts[name], sums, err_msg=name)
    assert engine.firing().layers == simulator.firing().layers


NETWORKS = pytest.mark.parametrize('network', [
    small_detector(initial_membrane='zero'), small_detector(code=CODE),
    small_signed_detector(code=CODE)], ids=['zero', 'half', 'signed'])


@NETWORKS
@pytest.mark.parametrize('size', [None, (48, 64)])
def test_the_file_s_graph_equals_the_simulator(
    network: SpikingNetwork, size: tuple[int, int] | None,
) -> None:
    assert_equals_the_simulator(on_cpu(network, input_size=size))


@NETWORKS
@pytest.mark.skipif(
    'OpenVINOExecutionProvider' not in onnxruntime.get_available_providers(),
    reason='this ONNX Runtime has no OpenVINO; pip uninstall onnxruntime; pip install '
           'onnxruntime-openvino')
def test_openvino_equals_the_simulator(network: SpikingNetwork) -> None:
    engine = make_engine('onnxruntime-openvino', network)
    assert isinstance(engine, OnnxProviderEngine)
    assert_equals_the_simulator(engine)


@settings(max_examples=40, deadline=None)
@given(network=networks(slopes=SLOPES), seed=st.integers(0, 99))
def test_it_does_on_random_graphs(network: SpikingNetwork, seed: int) -> None:
    assert_equals_the_simulator(on_cpu(replace(network, code=CODE)), seed)


def test_the_bias_and_step_of_a_readout_are_left_to_the_decoder() -> None:
    """They are too large, and too odd, for float32 to give the sums back."""
    net = NetworkBuilder(0, CODE)
    net.conv(net.conv(IMAGE, 4), 4, readout=True)
    stem, readout = net.build().layers
    readout = replace(readout, bias=np.full(4, 2**30 + 1, np.int32),
                      step=np.full(4, 1 / 3, np.float32))
    assert_equals_the_simulator(on_cpu(replace(net.build(), layers=(stem, readout))))


def test_without_statistics_only_readouts_are_kept() -> None:
    network = small_signed_detector(code=CODE)
    engine, simulator = on_cpu(network, statistics=False), make_engine('simulator', network)
    pixels = picture(network.input_size)
    expected = simulator.run(pixels)
    for name, sums in engine.run(pixels).items():
        np.testing.assert_array_equal(sums, expected[name])
    with pytest.raises(EngineError, match='statistics=True'):
        engine.firing()
    with pytest.raises(ImageError, match=r'needs uint8 of \(32, 32, 3\)'):
        engine.run(np.zeros((31, 32, 3), np.uint8))


def test_a_cpu_that_would_get_the_file_wrong_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onnxruntime_providers, 'pairs_saturate', lambda: True)
    with pytest.raises(EngineError, match=r'conv\d+: .* overflow .*`onnxruntime`, which avoids'):
        on_cpu(small_detector(code=SpikeCode.linear(4, 25)))
    on_cpu(small_detector())


def test_every_provider_is_in_all_tables() -> None:
    assert set(PROVIDERS) == set(PACKAGES) == set(PROVIDER_ENGINES)
    assert set(PROVIDERS) < set(ENGINES)


@pytest.mark.parametrize('name', PROVIDER_ENGINES)
@pytest.mark.parametrize('network', [small_detector(), small_lif_detector()],
                         ids=['converted', 'trained'])
def test_a_provider_that_the_build_lacks_is_refused(
    monkeypatch: pytest.MonkeyPatch, name: str, network: Any,
) -> None:
    monkeypatch.setattr(onnxruntime, 'get_available_providers', lambda: [CPU_PROVIDER])
    with pytest.raises(EngineError, match=f'`{name}`.* only {CPU_PROVIDER}; .*{PACKAGES[name]}'):
        make_engine(name, network)


def test_a_provider_that_cannot_be_started_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """ONNX Runtime itself goes on with the CPU, and tells nobody."""
    session = SimpleNamespace(get_providers=lambda: [CPU_PROVIDER])
    monkeypatch.setattr(onnxruntime, 'InferenceSession', lambda *_, **__: session)
    with pytest.raises(EngineError, match='could not start its CUDAExecutionProvider'):
        open_session(b'', threads=1, spinning=False, providers=PROVIDERS['onnxruntime-cuda'])


@pytest.mark.parametrize(('name', 'shown'), [
    ('onnxruntime-cuda', 'onnxruntime-cuda (close, not level-exact)'),
    ('onnxruntime-tensorrt', 'onnxruntime-tensorrt (close, not level-exact)'),
    ('onnxruntime-openvino', 'onnxruntime-openvino')])
def test_engines_that_only_come_close_say_so(
    monkeypatch: pytest.MonkeyPatch, name: str, shown: str,
) -> None:
    def open_on_cpu(model: bytes, *, providers: Any, **options: Any) -> Any:
        assert providers[-1] == CPU_PROVIDER
        return open_session(model, providers=providers[-1:], **options)

    monkeypatch.setattr(onnxruntime_providers, 'open_session', open_on_cpu)
    engine = OnnxProviderEngine(small_detector(), name=name, providers=PROVIDERS[name])
    assert engine.name == shown


def test_threads_reach_a_provider_that_has_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        onnxruntime, 'get_available_providers', lambda: ['OpenVINOExecutionProvider'])
    assert providers_of('onnxruntime-openvino') == PROVIDERS['onnxruntime-openvino']
    assert providers_of('onnxruntime-openvino', threads=3) == (
        ('OpenVINOExecutionProvider', {'num_of_threads': '3'}), CPU_PROVIDER)


def test_directly_trained_networks_take_providers_too() -> None:
    network = small_lif_detector()
    engine = LifOnnxRuntimeEngine(
        network, name='onnxruntime-openvino', providers=[CPU_PROVIDER], threads=1)
    plain = LifOnnxRuntimeEngine(network, threads=1)
    assert (engine.name, plain.name) == ('onnxruntime-openvino', 'onnxruntime')
    pixels = random_pixels(network)
    expected = plain.run(pixels)
    for name, values in engine.run(pixels).items():
        np.testing.assert_array_equal(values, expected[name])
