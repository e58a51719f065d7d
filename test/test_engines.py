# SPDX-License-Identifier: Apache-2.0
"""The fast engine equals the simulator: every level, every membrane, every spike."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from network_builder import NetworkBuilder, small_detector, small_signed_detector
from numpy.typing import NDArray
from onnx import TensorProto
from random_graphs import CODES, SIGNED_CODES, SLOPES, networks

from snn_detector_ros.engines import Engine, make_engine, onnxruntime
from snn_detector_ros.engines.integer_graph import emit, exceeds_pairs
from snn_detector_ros.engines.simulator import SimulatorEngine, convolve
from snn_detector_ros.engines.stems import reads_blocks
from snn_detector_ros.errors import ConfigurationError, EngineError, ImageError, NetworkError
from snn_detector_ros.network import IMAGE, Convolution, SpikeCode, SpikingNetwork


def picture(size: tuple[int, int], seed: int = 0) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8)


def mismatches(first: Engine, second: Engine, pixels: NDArray[np.uint8]) -> dict[str, int]:
    """Return the tensors in which two engines differ, and in how many places."""
    readouts = first.run(pixels), second.run(pixels)
    pairs = [(readouts[0], readouts[1]), (first.levels(), second.levels())]
    counts = {name: int((one[name] != two[name]).sum()) for one, two in pairs for name in one}
    return {name: count for name, count in counts.items() if count}


def assert_equal_engines(network: SpikingNetwork, pixels: NDArray[np.uint8]) -> None:
    simulator, fast = make_engine('simulator', network), make_engine('onnxruntime', network)
    assert mismatches(simulator, fast, pixels) == {}
    assert simulator.firing().layers == fast.firing().layers


@pytest.mark.parametrize('code', CODES, ids=str)
@pytest.mark.parametrize('initial_membrane', ['zero', 'half'])
def test_engines_agree(code: SpikeCode, initial_membrane: str) -> None:
    network = small_detector(code=code, initial_membrane=initial_membrane)
    assert_equal_engines(network, picture(network.input_size))


@pytest.mark.parametrize('code', SIGNED_CODES, ids=str)
def test_engines_agree_on_signed_neurons(code: SpikeCode) -> None:
    network = small_signed_detector(code=code)
    assert_equal_engines(network, picture(network.input_size))


@pytest.mark.parametrize('network', [
    small_detector(code=SpikeCode.linear(1, 255)),
    small_signed_detector(code=SpikeCode.linear(1, 127))], ids=['255 levels', 'signed'])
@pytest.mark.parametrize('value', ['random', 'white'])
def test_engines_agree_where_pairs_of_products_saturate(
    network: SpikingNetwork, value: str, monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As on a CPU without VNNI, whatever this one is."""
    monkeypatch.setattr(onnxruntime, 'pairs_saturate', lambda: True)
    weights = [node.name for node in emit(network, network.input_size, (), saturates=True)
               .model.graph.initializer if node.data_type == TensorProto.UINT8
               and node.name.endswith('/weight')]
    assert len(weights) == sum(exceeds_pairs(network, conv) for conv in network.convolutions) > 1
    size = network.input_size
    assert_equal_engines(network, picture(size) if value == 'random' else np.full(
        (*size, 3), 255, np.uint8))


@pytest.mark.parametrize('value', [0, 255])
def test_engines_agree_on_extreme_pictures(value: int) -> None:
    network = small_detector()
    assert_equal_engines(network, np.full((*network.input_size, 3), value, dtype=np.uint8))


def test_levels_are_spread_enough_to_test_anything() -> None:
    network = small_detector()
    engine = make_engine('onnxruntime', network)
    engine.run(picture(network.input_size))
    for name, levels in engine.levels().items():
        assert levels.max() <= network.code.max_level
        if name.startswith('conv'):
            assert len(np.unique(levels)) > 20, name


@settings(max_examples=60, deadline=None)
@given(network=networks(), seed=st.integers(0, 99))
def test_engines_agree_on_random_graphs(network: SpikingNetwork, seed: int) -> None:
    assert_equal_engines(network, picture(network.input_size, seed))


@settings(max_examples=120, deadline=None)
@given(network=networks(slopes=SLOPES), seed=st.integers(0, 99))
def test_engines_agree_on_random_signed_graphs(network: SpikingNetwork, seed: int) -> None:
    assert_equal_engines(network, picture(network.input_size, seed))


@settings(max_examples=40, deadline=None)
@given(kernel=st.integers(1, 7), padding=st.integers(0, 6), half=st.tuples(
    st.integers(4, 9), st.integers(4, 9)))
def test_a_stem_of_any_kernel_reads_blocks(
    kernel: int, padding: int, half: tuple[int, int],
) -> None:
    net = NetworkBuilder(kernel, CODES[0], input_size=(2 * half[0], 2 * half[1]))
    net.conv(net.conv(IMAGE, 4, kernel, 2, padding=min(padding, kernel - 1)), 3, readout=True)
    network = net.build()
    assert reads_blocks(network, network.input_size)
    assert_equal_engines(network, picture(network.input_size))


def test_a_readout_may_be_any_convolution() -> None:
    net = NetworkBuilder(0, CODES[0])
    stem = net.conv(IMAGE, 8, 3, 1)
    net.conv(stem, 5, 3, 2, readout=True)
    net.conv(stem, 8, 3, groups=4, readout=True)
    network = net.build()
    assert_equal_engines(network, picture(network.input_size))


class ConcurrentSimulator(SimulatorEngine):
    """Fires after each step instead of after the last (no time separation)."""

    def run(self, pixels: NDArray[np.uint8]) -> dict[str, NDArray[np.int32]]:
        super().run(pixels)
        for layer in self.network.layers:
            if isinstance(layer, Convolution) and layer.source != IMAGE and not layer.is_readout:
                self.trains[layer.name] = self._fire_concurrently(layer)
        return {}

    def _fire_concurrently(self, layer: Convolution) -> NDArray[np.int64]:
        assert layer.threshold is not None
        code = self.network.code
        membrane = self.network.start_membrane(layer) + layer.bias
        train = []
        for weight, spikes in zip(code.tau, self.trains[layer.source], strict=True):
            quantum = weight * layer.threshold.astype(np.int64)
            membrane = membrane + weight * convolve(spikes, layer)
            train.append(np.clip(membrane // quantum, 0, code.burst))
            membrane = membrane - train[-1] * quantum
        return np.stack(train)


def test_concurrent_accumulation_and_firing_is_not_equal() -> None:
    network = small_detector()
    concurrent = ConcurrentSimulator(network)
    concurrent.run(picture(network.input_size))
    fast = make_engine('onnxruntime', network)
    fast.run(picture(network.input_size))
    levels = fast.levels()
    assert any((value != levels[name]).any() for name, value in concurrent.levels().items())


def test_an_incomplete_code_is_refused_and_would_not_be_equal() -> None:
    code = SpikeCode((5, 1), 12)
    assert code.is_complete  # 5 <= 1 + 12 * 1: the cap fills the gap
    gappy = SpikeCode((20, 1), 12)
    membrane = np.arange(gappy.max_level)
    assert (gappy.levels(gappy.fire(membrane, np.int64(1))) != membrane).any()
    for engine in ('simulator', 'onnxruntime'):
        with pytest.raises(NetworkError, match='leaves gaps'):
            make_engine(engine, replace(small_detector(), code=gappy))


def test_statistics_follow_from_the_raster() -> None:
    network = small_detector()
    simulator = SimulatorEngine(network)
    simulator.run(picture(network.input_size))
    firing = simulator.firing()
    np.testing.assert_allclose(firing.rates, [layer.rate for layer in firing.layers])
    for layer in firing.layers:
        train = simulator.trains[layer.name]
        assert layer.spikes == train.sum()
        assert layer.neurons == train[0].size
        assert layer.rate == pytest.approx(train.mean())
    assert firing.spikes == sum(int(simulator.trains[layer.name].sum()) for layer in firing.layers)


def test_synaptic_operations_of_a_known_network() -> None:
    """One 1x1 layer after a 1x1 stem: each spike reaches Cout synapses, nothing is cut off."""
    net = NetworkBuilder(0, CODES[0], input_size=(4, 4))
    net.conv(net.conv(IMAGE, 5), 7, readout=True)
    network = net.build()
    engine = make_engine('simulator', network)
    engine.run(picture((4, 4)))
    firing = engine.firing()
    assert firing.synaptic_operations == 7 * firing.spikes
    assert firing.pixel_operations == 4 * 4 * 3 * 5
    assert firing.float_operations == 4 * 4 * (3 * 5 + 5 * 7)
    assert firing.energy_joules == pytest.approx(4.6e-12 * 240 + 0.9e-12 * 7 * firing.spikes)


def test_input_size_may_differ_from_the_models_own() -> None:
    network = small_detector()
    pixels = picture((48, 64))
    simulator = make_engine('simulator', network, input_size=(48, 64))
    assert mismatches(simulator, make_engine('onnxruntime', network, input_size=(48, 64)),
                      pixels) == {}


@pytest.mark.parametrize('bias', [-2**31 + 16384, 2**31 - 1 - 16383])
def test_engines_agree_on_the_largest_membranes(bias: int) -> None:
    """The half threshold by which biases differ with the initial membrane must fit int32 too."""
    net = NetworkBuilder(0, CODES[0])
    net.conv(net.conv(IMAGE, 4), 4, readout=True)
    network = net.build(initial_membrane='zero')
    stem, readout = network.layers
    stem = replace(stem, weight=np.zeros_like(stem.weight), bias=np.full(4, bias, np.int32),
                   threshold=np.full(4, 32767, np.int32))
    assert_equal_engines(replace(network, layers=(stem, readout)), picture((16, 16)))
    beyond = replace(stem, bias=stem.bias + np.int32(np.sign(bias)))
    with pytest.raises(NetworkError, match='more than int32 holds'):
        make_engine('auto', replace(network, layers=(beyond, readout)))


@pytest.mark.parametrize('name', ['one', 'max_level', 'conv1.weight'])
def test_layers_may_be_called_like_constants(name: str) -> None:
    net = NetworkBuilder(0, CODES[0])
    net.conv(net.conv(IMAGE, 4), 4, readout=True)
    stem, readout = net.build().layers
    layers = replace(stem, name=name), replace(readout, source=name)
    assert_equal_engines(replace(net.build(), layers=layers), picture((16, 16)))
    with pytest.raises(NetworkError, match='without a slash'):
        make_engine('auto', replace(net.build(), layers=(replace(stem, name='a/b'), readout)))


def test_wrong_pictures_are_named() -> None:
    for name in ('simulator', 'onnxruntime'):
        engine = make_engine(name, small_detector())
        with pytest.raises(ImageError, match=r'needs uint8 of \(32, 32, 3\)'):
            engine.run(np.zeros((31, 32, 3), dtype=np.uint8))
        with pytest.raises(ImageError, match='float32'):
            engine.run(np.zeros((32, 32, 3), dtype=np.float32))  # type: ignore[arg-type]


def test_unknown_engines_and_missing_statistics_are_named() -> None:
    with pytest.raises(ConfigurationError, match='`quantum` is unknown; known: auto'):
        make_engine('quantum', small_detector())
    for threads in (-1, 100_000):
        with pytest.raises(ConfigurationError, match=f'{threads} threads'):
            make_engine('auto', small_detector(), threads=threads)
    engine = make_engine('auto', small_detector(), statistics=False)
    engine.run(picture((32, 32)))
    with pytest.raises(EngineError, match='statistics=True'):
        engine.firing()
