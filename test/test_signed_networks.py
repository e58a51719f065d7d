# SPDX-License-Identifier: Apache-2.0
"""Signed levels and the layers that move channels: what is exact, counted, refused."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from network_builder import NetworkBuilder, small_detector, small_signed_detector
from numpy.typing import NDArray

from snn_detector_ros.engines import make_engine
from snn_detector_ros.engines.channel_moves import as_dense, fold_moves
from snn_detector_ros.engines.integer_graph import emit
from snn_detector_ros.engines.onnxruntime import OnnxRuntimeEngine
from snn_detector_ros.engines.simulator import SimulatorEngine, convolve, max_pool
from snn_detector_ros.engines.statistics import FiringModel
from snn_detector_ros.engines.stems import column_stem
from snn_detector_ros.errors import NetworkError
from snn_detector_ros.network import (
    IMAGE,
    Convolution,
    DepthToSpace,
    Layer,
    MaxPool,
    Permutation,
    Rectifier,
    Slice,
    SpikeCode,
    SpikingNetwork,
)
from snn_detector_ros.network.validation import validate

CODE = SpikeCode.linear(4, 12)


def picture(network: SpikingNetwork, seed: int = 0) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(
        0, 256, (*network.input_size, 3), dtype=np.uint8)


def run(name: str, network: SpikingNetwork) -> dict[str, NDArray[np.int64]]:
    """Return the levels and outputs that an engine computes for one picture."""
    engine = make_engine(name, network)
    outputs = engine.run(picture(network))
    return {name: value.astype(np.int64) for name, value in {**engine.levels(), **outputs}.items()}


def with_layer(network: SpikingNetwork, layer: Layer) -> SpikingNetwork:
    """Put a layer in the place of the one that has its name."""
    return replace(network, layers=tuple(
        layer if old.name == layer.name else old for old in network.layers))


def test_signed_levels_use_both_signs() -> None:
    """Otherwise the tests of equality would test nothing."""
    network = small_signed_detector()
    levels = run('simulator', network)
    for name in network.signed_tensors & levels.keys():
        assert levels[name].min() < 0 < levels[name].max(), name
    for layer in network.firing_layers:
        if layer.name not in network.signed_tensors:
            assert levels[layer.name].min() >= 0


def test_levels_are_int8_exactly_where_they_are_signed() -> None:
    network = small_signed_detector()
    for name in ('simulator', 'onnxruntime'):
        engine = make_engine(name, network)
        engine.run(picture(network))
        for layer, levels in engine.levels().items():
            assert levels.dtype == (np.int8 if layer in network.signed_tensors else np.uint8)


def test_a_rectifier_ends_what_a_signed_neuron_began() -> None:
    net = NetworkBuilder(0, CODE)
    leaky = net.conv(IMAGE, 4, slope=0.1)
    copies = [net.pool(leaky), net.permute(leaky), net.concat(leaky, leaky), net.slice(leaky, 0, 2),
              net.upsample(leaky), net.depth_to_space(leaky), net.rectify(leaky, 0.5),
              net.add(leaky, leaky)]
    rectified = net.rectify(leaky)
    net.conv(rectified, 2, readout=True)
    assert net.build().signed_tensors == {leaky, *copies}


@pytest.mark.parametrize('slope', [0.2, 1.0, 0.0])
def test_another_slope_gives_other_levels(slope: float) -> None:
    network = small_signed_detector()
    stem = network.layers[0]
    assert isinstance(stem, Convolution)
    other = run('onnxruntime', with_layer(network, replace(stem, slope=slope)))
    assert (run('simulator', network)['conv0'] != other['conv0']).any()


def test_padding_never_wins_against_negative_levels() -> None:
    pool = MaxPool('pool', 'x', (3, 3), (1, 1), (1, 1, 1, 1))
    assert (max_pool(np.full((4, 4, 2), -5), pool) == -5).all()
    net = NetworkBuilder(0, CODE, input_size=(8, 8))
    pooled = net.pool(net.conv(IMAGE, 4, slope=1.0))
    net.conv(pooled, 3, 3, readout=True)
    network = net.build()
    stem = network.layers[0]
    assert isinstance(stem, Convolution) and stem.threshold is not None
    network = with_layer(network, replace(
        stem, weight=np.zeros_like(stem.weight), bias=-7 * stem.threshold))
    for name in ('simulator', 'onnxruntime'):
        assert (run(name, network)[pooled] == -7).all()


def test_a_spike_of_either_sign_is_a_spike() -> None:
    network = small_signed_detector()
    simulator = SimulatorEngine(network)
    simulator.run(picture(network))
    firing = simulator.firing()
    for layer in firing.layers:
        assert layer.spikes == np.abs(simulator.trains[layer.name]).sum()
        assert layer.spikes != simulator.trains[layer.name].sum() or (
            layer.name not in network.signed_tensors)


def test_an_output_may_fire_and_needs_no_statistics_for_it() -> None:
    network = small_signed_detector()
    counted = network.outputs[-1]
    levels = run('simulator', network)[counted]
    assert levels.min() < 0 < levels.max()
    engine = make_engine('onnxruntime', network, statistics=False)
    outputs = engine.run(picture(network))
    assert outputs[counted].dtype == np.int32
    np.testing.assert_array_equal(outputs[counted], levels)


def test_a_rectifier_costs_no_operator() -> None:
    """Behind an add of linear branches it shares the bytes of the add."""
    network = small_signed_detector()
    rectifier = next(layer for layer in network.layers if isinstance(layer, Rectifier))
    stored = emit(network, network.input_size, [rectifier.name, rectifier.source]).levels
    assert stored[rectifier.name].tensor == stored[rectifier.source].tensor
    assert stored[rectifier.name].slope == 0 != stored[rectifier.source].slope


def test_fan_out_follows_moved_channels() -> None:
    net = NetworkBuilder(0, CODE, input_size=(4, 4))
    stem = net.conv(IMAGE, 8, slope=0.1)
    moved = net.permute(stem)
    space = net.depth_to_space(net.slice(moved, 0, 4))
    net.conv(space, 7, readout=True)
    network = net.build()
    permutation = network[moved]
    assert isinstance(permutation, Permutation)
    expected = np.zeros(8)
    expected[list(permutation.order[:4])] = 7  # each spike becomes one pixel, which reaches seven
    np.testing.assert_array_equal(network.fan_out()[stem], expected)


def test_a_shuffle_leaves_few_groups_of_channels_to_count() -> None:
    net = NetworkBuilder(0, CODE, input_size=(4, 4))
    stem = net.conv(IMAGE, 64, slope=0.1)
    moved = net.permute(stem)
    net.conv(net.slice(moved, 0, 32), 7, readout=True)
    network = net.build()
    assert len(FiringModel(network, network.input_size).runs) == 2
    simulator, fast = make_engine('simulator', network), make_engine('onnxruntime', network)
    for engine in (simulator, fast):
        engine.run(picture(network))
    assert simulator.firing().layers == fast.firing().layers
    permutation, train = network[moved], simulator.levels()[stem]
    assert isinstance(permutation, Permutation)
    read = train[..., list(permutation.order[:32])].astype(int)
    spikes = CODE.spike_table[np.abs(read)].sum()
    assert fast.firing().synaptic_operations == 7 * spikes


@pytest.mark.parametrize(('groups', 'count'), [(2, 6), (3, 3), (6, 12)])
def test_a_dense_twin_sums_the_same(groups: int, count: int) -> None:
    net = NetworkBuilder(0, CODE)
    net.channels['x'] = 6
    net.conv('x', count, 3, groups=groups)
    conv = net.layers[0]
    assert isinstance(conv, Convolution)
    values = np.random.default_rng(0).integers(-120, 121, (7, 5, 6))
    dense = as_dense(conv)
    assert dense.groups == 1
    np.testing.assert_array_equal(convolve(values, dense), convolve(values, conv))


def test_readers_of_moved_channels_do_the_moving() -> None:
    net = NetworkBuilder(0, CODE)
    stem = net.conv(IMAGE, 8, slope=0.1)
    moved = net.permute(stem)
    half = net.slice(moved, 0, 4)
    net.conv(net.slice(net.permute(moved), 2, 7), 5, readout=True)
    net.conv(net.concat(half, net.conv(half, 4, 3)), 3, readout=True)
    network = net.build()
    layers = fold_moves(network.layers, network.shapes())
    assert [layer.name for layer in layers if isinstance(layer, Permutation)] == [half]
    assert not any(isinstance(layer, Slice) for layer in layers)
    first, second = run('simulator', network), run('onnxruntime', network)
    for name, value in first.items():
        np.testing.assert_array_equal(value, second[name], err_msg=name)


def test_depthwise_and_very_wide_groups_stay() -> None:
    net = NetworkBuilder(0, CODE)
    net.channels['x'] = 512
    net.conv('x', 512, 3, groups=512)
    net.conv('x', 512, 3, groups=4)
    for conv in net.layers:
        assert isinstance(conv, Convolution) and as_dense(conv) is conv


@settings(max_examples=60, deadline=None)
@given(kernel=st.integers(1, 7), before=st.integers(0, 6), after=st.integers(0, 6),
       width=st.integers(4, 12), rows=st.integers(1, 4), slope=st.sampled_from([0.0, 0.1]))
def test_a_stem_of_stride_one_may_join_columns(
    kernel: int, before: int, after: int, width: int, rows: int, slope: float,
) -> None:
    net = NetworkBuilder(kernel, CODE, input_size=(9, 2 * width))
    net.conv(IMAGE, 5, kernel, 1, padding=0, slope=slope)
    stem = net.layers[0]
    assert isinstance(stem, Convolution)
    net.layers[0] = replace(stem, weight=stem.weight[:, :, :min(rows, kernel)],
                            padding=(1, before, 0, after))
    net.conv(stem.name, 3, readout=True)
    network = net.build()
    if before + after == kernel - 1:  # as many columns as before: they can always be joined
        assert column_stem(net.layers[0], network.shapes()) is not None  # type: ignore[arg-type]
    first, second = run('simulator', network), run('onnxruntime', network)
    for name, value in first.items():
        np.testing.assert_array_equal(value, second[name], err_msg=name)


def first(network: SpikingNetwork, kind: type) -> Any:
    """Return the first layer of a kind."""
    return next(layer for layer in network.layers if isinstance(layer, kind))


REFUSED: dict[str, tuple[Callable[[Any], SpikingNetwork], str]] = {
    'wide signed code': (lambda n: replace(n, code=SpikeCode.linear(4, 13)),
                         r'Q = 130, but signed levels, such as those of `\w+`, travel as int8'),
    'steep slope': (lambda n: with_layer(n, replace(n.layers[0], slope=1.5)), 'slope 1.5: 0'),
    'negative slope': (lambda n: with_layer(n, replace(n.layers[0], slope=-0.1)), 'slope -0.1'),
    'no slope': (lambda n: with_layer(n, replace(n.layers[0], slope=float('nan'))), 'slope nan'),
    'short order': (lambda n: with_layer(n, replace(first(n, Permutation), order=(0, 1))),
                    'order of 2 channels does not name each of 28 once'),
    'repeated order': (lambda n: with_layer(n, replace(first(n, Permutation), order=(0,) * 28)),
                       'does not name each'),
    'channels left over': (lambda n: with_layer(n, replace(first(n, DepthToSpace), factor=3)),
                           '16 channels are no multiple of 9'),
    'endless factor': (lambda n: with_layer(n, replace(first(n, DepthToSpace), factor=99)),
                       '1..16 is supported'),
    'output that never fires': (lambda n: replace(n, outputs=(*n.outputs, 'pool1')),
                                'convolutions that fire'),
    'readout left out': (lambda n: replace(n, outputs=n.outputs[1:]), 'exactly the readouts'),
    'unknown dynamics': (lambda n: replace(n, dynamics='both'), '`both` is neither `separated`'),
    'concurrent bursts': (lambda n: replace(n, dynamics='concurrent'), 'constant code of burst 1'),
}


@pytest.mark.parametrize('case', REFUSED)
def test_networks_that_would_not_be_exact_are_refused(case: str) -> None:
    change, message = REFUSED[case]
    with pytest.raises(NetworkError, match=message):
        validate(change(small_signed_detector()))


@pytest.mark.parametrize('engine', [SimulatorEngine, OnnxRuntimeEngine])
def test_engines_of_levels_refuse_neurons_that_fire_while_they_receive(
    engine: type[SimulatorEngine | OnnxRuntimeEngine],
) -> None:
    network = replace(small_detector(), code=SpikeCode.constant(1000), dynamics='concurrent')
    with pytest.raises(NetworkError, match=f'`{engine.name}` does not do: choose the engine'):
        engine(network)


@pytest.mark.parametrize('bias', [-2**31 + 16384, 2**31 - 1 - 16383])
def test_engines_agree_on_the_largest_signed_membranes(bias: int) -> None:
    net = NetworkBuilder(0, CODE)
    net.conv(net.conv(net.conv(IMAGE, 4, slope=0.1), 4, slope=1.0), 4, readout=True)
    network = net.build()
    middle = network.layers[1]
    assert isinstance(middle, Convolution)
    network = with_layer(network, replace(
        middle, weight=np.zeros_like(middle.weight), bias=np.full(4, bias, np.int32),
        threshold=np.full(4, 32767, np.int32)))
    levels = run('onnxruntime', network)[middle.name]
    assert (levels == np.sign(bias) * CODE.max_level).all()
    np.testing.assert_array_equal(levels, run('simulator', network)[middle.name])
