# SPDX-License-Identifier: Apache-2.0
"""Neurons that fire while they receive: the engine equals loops over neurons and steps."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from concurrent_reference import simulate
from network_builder import NetworkBuilder, small_detector
from numpy.typing import NDArray

from snn_detector_ros.engines import concurrent, make_engine
from snn_detector_ros.engines.accumulate_and_fire import CountingMaxPool, Population
from snn_detector_ros.engines.concurrent import ConcurrentEngine
from snn_detector_ros.errors import ConfigurationError, EngineError, ImageError
from snn_detector_ros.network import IMAGE, Convolution, MaxPool, SpikeCode, SpikingNetwork


def picture(size: tuple[int, int], seed: int = 0) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8)


def neuron(theta: int, opposite: int | None = None, start: int = 0) -> Population:
    population = Population(
        (1, 1, 1), np.array([theta]), None if opposite is None else np.array([opposite]),
        start=np.array([start]))
    population.reset()
    return population


def spikes_of(population: Population, inputs: list[int]) -> list[int]:
    currents = np.array(inputs, dtype=np.float32).reshape(-1, 1, 1, 1)
    return population.fire(currents).ravel().astype(int).tolist()


# One neuron.

def test_a_spike_cannot_be_taken_back() -> None:
    """Two spikes and a membrane of -2, where the sum of the inputs is 0."""
    one = neuron(1)
    assert spikes_of(one, [1, 1, -1, -1]) == [1, 1, 0, 0]
    assert spikes_of(one, [2, 1]) == [0, 1]


def test_a_late_current_leaves_a_rest() -> None:
    """Inputs 0, 0, 1.5, 1.5 are worth three spikes; two fit, and one threshold is left."""
    late = neuron(2)
    assert spikes_of(late, [0, 0, 3, 3]) == [0, 0, 1, 1]
    assert spikes_of(late, [0, 0]) == [1, 0]


@pytest.mark.parametrize('current', [1, 7, 50, 99])
def test_a_signed_neuron_fires_below_zero_at_slope_times_the_rate(current: int) -> None:
    """Threshold 10, slope 0.1: one spike of -1 for each 100 that is taken away."""
    assert sum(spikes_of(neuron(10, 100), [-current] * 1000)) == -(current * 1000 // 100)
    assert sum(spikes_of(neuron(10), [-current] * 1000)) == 0


def test_a_signed_neuron_reaches_its_thresholds() -> None:
    assert spikes_of(neuron(3, 6), [2, 1, -5, -1, 1]) == [0, 1, 0, -1, 0]


@pytest.mark.parametrize('initial_membrane', ['zero', 'half'])
def test_a_constant_current_gives_its_count_exactly(initial_membrane: str) -> None:
    """floor((v0 + T I) / theta), also where T does not divide the current."""
    net = NetworkBuilder(0, SpikeCode.constant(7))
    net.conv(net.conv(IMAGE, 6), 2, readout=True)
    network = replace(net.build(initial_membrane=initial_membrane), dynamics='concurrent')
    stem = network.layers[0]
    assert isinstance(stem, Convolution) and stem.threshold is not None
    pixels = picture(network.input_size)
    engine = ConcurrentEngine(network)
    engine.run(pixels)
    total = pixels.astype(np.int64) @ stem.weight[:, :, 0, 0].T.astype(np.int64) + stem.bias
    expected = (network.start_membrane(stem) + total) // stem.threshold
    inside = (total >= 0) & (total <= 7 * stem.threshold)
    assert len(np.unique(expected[inside])) >= 7
    np.testing.assert_array_equal(engine.levels()[stem.name][inside], expected[inside])


def test_membranes_beyond_32_bit_are_exact() -> None:
    steps, theta = 4096, 32767
    bias = np.array([2**30, 2**30 - 1, 123_456_789, -2**30], dtype=np.int32)
    layer = Convolution(
        'stem', IMAGE, np.zeros((4, 3, 1, 1), np.int8), bias, np.full(4, theta, np.int32),
        np.ones(4, np.float32))
    readout = Convolution('out', 'stem', np.ones((1, 4, 1, 1), np.int8), np.zeros(1, np.int32),
                          None, np.ones(1, np.float32))
    network = SpikingNetwork('large', SpikeCode.constant(steps), 'zero', (1, 1), (layer, readout),
                             ('out',), dynamics='concurrent')
    engine = ConcurrentEngine(network)
    engine.run(np.zeros((1, 1, 3), np.uint8))
    # The first two bring more than a threshold in each step.
    np.testing.assert_array_equal(
        engine.levels()['stem'].ravel(), [4096, 4096, 123_456_789 // theta, 0])


# Max pooling by cumulative count.

def pooled(left: list[int], right: list[int]) -> list[int]:
    pool = CountingMaxPool(MaxPool('pool', 'x', (1, 2)), (1, 2, 1))
    pool.reset()
    spikes = np.array([left, right], dtype=np.float32).T.reshape(len(left), 1, 1, 2)
    # In two parts, since counts go on from one call to the next.
    return np.concatenate([pool.relay(spikes[:2]), pool.relay(spikes[2:])]).ravel().tolist()


def test_the_input_that_fired_most_is_passed_on() -> None:
    assert pooled([0, 0, 1, 0, 1], [1, 1, 0, 1, 0]) == [1, 1, 0, 1, 0]
    assert pooled([1, 0, 0, 1], [0, 1, 1, 1]) == [1, 0, 1, 1]


@pytest.mark.parametrize('turns', [([1, 0] * 8, [0, 1] * 8), ([0, 1] * 8, [1, 0] * 8)])
def test_inputs_that_take_turns_are_not_added_up(turns: tuple[list[int], list[int]]) -> None:
    assert sum(pooled(*turns)) == 8


def test_negative_spikes_count_down_in_a_pool() -> None:
    assert pooled([-1, 0, 1, 0], [0, -1, 0, -1]) == [0, -1, 1, 0]


# Whole networks against loops.

def every_layer(seed: int, steps: int, *, initial_membrane: str = 'zero') -> SpikingNetwork:
    """Return a small network of concurrent dynamics with every kind of layer and neuron."""
    net = NetworkBuilder(seed, SpikeCode.constant(steps), input_size=(8, 8))
    stem = net.conv(IMAGE, 4, 3, 2, slope=0.1)
    plain = net.conv(IMAGE, 4, 3, 2)
    residual = net.add(net.conv(stem, 4, 3, slope=1.0), stem)
    pooled = net.pool(net.rectify(residual, 0.3), 2, 2)
    spread = net.depth_to_space(net.conv(pooled, 8, slope=0.3))
    joined = net.permute(net.concat(
        net.upsample(pooled), net.add(net.rectify(residual), plain), spread,
        net.pool(residual, 3)))
    counted = net.conv(joined, 14, 3, groups=14, slope=0.25)
    net.conv(net.slice(counted, 1, 6), 3, readout=True)
    return replace(net.build(initial_membrane=initial_membrane, fired=(counted,)),
                   dynamics='concurrent')


@pytest.mark.parametrize(('seed', 'steps', 'initial_membrane'), [
    (0, 8, 'zero'), (1, 12, 'half'), (2, 11, 'zero'), (3, 16, 'half')])
def test_the_engine_fires_every_spike_of_the_loops(
    seed: int, steps: int, initial_membrane: str, monkeypatch: pytest.MonkeyPatch,
) -> None:
    network = every_layer(seed, steps, initial_membrane=initial_membrane)
    pixels = picture(network.input_size, seed)
    trains, sums = simulate(network, pixels)
    monkeypatch.setattr(concurrent, 'MAX_STEPS_AT_ONCE', 5)  # some steps are left over
    engine = ConcurrentEngine(network)
    outputs = engine.run(pixels)
    firing = engine.firing()
    assert firing.names == tuple(layer.name for layer in network.firing_layers)
    for name, levels in engine.levels().items():
        np.testing.assert_array_equal(levels, trains[name].sum(axis=0), err_msg=name)
    for name, spikes in zip(firing.names, firing.spikes_per_step, strict=True):
        np.testing.assert_array_equal(
            spikes, np.abs(trains[name]).sum(axis=(1, 2, 3)), err_msg=name)
    readout, counted = network.outputs
    np.testing.assert_array_equal(outputs[readout], sums[readout])
    np.testing.assert_array_equal(outputs[counted], trains[counted].sum(axis=0))
    assert outputs[readout].dtype == outputs[counted].dtype == np.int32


def test_the_networks_of_the_loops_fire_on_both_sides() -> None:
    network = every_layer(0, 16)
    engine = ConcurrentEngine(network)
    engine.run(picture(network.input_size))
    levels = engine.levels()
    assert all(values.any() for values in levels.values())
    assert {name for name, values in levels.items() if values.min() < 0} >= {
        layer.name for layer in network.firing_layers
        if layer.name in network.signed_tensors and not isinstance(layer, MaxPool)}


def test_a_run_does_not_remember_the_last_picture() -> None:
    network = every_layer(0, 16)
    engine = ConcurrentEngine(network)
    first = engine.run(picture(network.input_size, 1))
    engine.run(picture(network.input_size, 2))
    again = engine.run(picture(network.input_size, 1))
    for name in first:
        np.testing.assert_array_equal(first[name], again[name])


# Reading a run at several steps.

def test_the_first_steps_of_a_run_are_a_run_of_fewer_steps() -> None:
    """Parts of 64 steps that are whole numbers of parts of 16 steps: the same current a step."""
    long = every_layer(0, 64)
    layers = []
    for layer in long.layers:
        if isinstance(layer, Convolution):
            weight = layer.weight // 4 * 4 if layer.source == IMAGE else layer.weight
            layer = replace(layer, weight=weight, bias=layer.bias // 4 * 4)
        layers.append(layer)
    long = replace(long, layers=tuple(layers))
    short = replace(long, code=SpikeCode.constant(16), layers=tuple(
        replace(layer, bias=layer.bias // 4,
                weight=layer.weight // 4 if layer.source == IMAGE else layer.weight)
        if isinstance(layer, Convolution) else layer for layer in layers))
    pixels = picture(long.input_size)
    engine, few = ConcurrentEngine(long), ConcurrentEngine(short)
    expected = few.run(pixels)
    reads = engine.curve(pixels, (16, 64))
    steps, outputs = next(reads)
    assert steps == 16
    for name in expected:
        np.testing.assert_array_equal(outputs[name], 4 * expected[name])
    np.testing.assert_array_equal(
        engine.firing().spikes_per_step, few.firing().spikes_per_step)
    for name, levels in few.levels().items():
        np.testing.assert_array_equal(engine.levels()[name], levels)
    steps, outputs = next(reads)
    whole = ConcurrentEngine(long).run(pixels)
    for name in whole:
        np.testing.assert_array_equal(outputs[name], whole[name])


@pytest.mark.parametrize('steps', [(3,), (8, 4), (0,), (32,), (4, 4)])
def test_steps_to_read_at_must_divide_all(steps: tuple[int, ...]) -> None:
    network = every_layer(0, 16)
    with pytest.raises(ConfigurationError, match='increasing divisors of T = 16'):
        ConcurrentEngine(network).curve(picture(network.input_size), steps)


# The choice of the engine.

def test_auto_takes_the_engine_of_the_dynamics() -> None:
    assert make_engine('auto', every_layer(0, 8)).name == 'concurrent'
    assert make_engine('auto', small_detector()).name in ('onnxruntime', 'triton')


def test_a_network_of_separated_dynamics_is_refused() -> None:
    with pytest.raises(ConfigurationError, match='convert with --method spiking-yolo'):
        make_engine('concurrent', small_detector())


def test_acceleration_is_named_and_treats_the_network_as_separated() -> None:
    network = every_layer(0, 16)
    pixels = picture(network.input_size)
    accelerated = make_engine('simulator', network)
    assert 'accelerated' in accelerated.name
    separated = make_engine('simulator', replace(network, dynamics='separated'))
    expected, outputs = separated.run(pixels), accelerated.run(pixels)
    spikes = ConcurrentEngine(network).run(pixels)
    for name in expected:
        np.testing.assert_array_equal(outputs[name], expected[name])
        assert (outputs[name] != spikes[name]).any()


@pytest.mark.parametrize('name', ['onnxruntime', 'simulator'])
def test_too_many_steps_are_not_accelerated(name: str) -> None:
    with pytest.raises(EngineError, match='128 steps cannot be accelerated.*--steps 127'):
        make_engine(name, every_layer(0, 128))


def test_the_engine_has_the_input_size_that_it_is_asked_for() -> None:
    engine = make_engine('auto', every_layer(0, 8), input_size=(16, 24))
    outputs = engine.run(picture((16, 24)))
    assert {values.shape[:2] for values in outputs.values()} == {(8, 12)}
    with pytest.raises(ImageError, match=r'needs uint8 of \(16, 24, 3\)'):
        engine.run(picture((8, 8)))


def test_without_statistics_the_outputs_are_the_same() -> None:
    network = every_layer(0, 16)
    pixels = picture(network.input_size)
    engine = make_engine('auto', network, statistics=False)
    outputs = engine.run(pixels)
    for name, values in ConcurrentEngine(network).run(pixels).items():
        np.testing.assert_array_equal(outputs[name], values)
    for ask in (engine.levels, engine.firing):
        with pytest.raises(EngineError, match='statistics=True'):
            ask()
