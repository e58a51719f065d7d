# SPDX-License-Identifier: Apache-2.0
"""Directly trained networks: the fast engine fires as the step-by-step simulation does."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
from lif_builder import assert_same_spikes, random_pixels, small_lif_detector

from snn_detector_ros.engines import ENERGY_PER_AC, ENERGY_PER_MAC, make_engine
from snn_detector_ros.engines.base import StatefulEngine
from snn_detector_ros.engines.lif_onnxruntime import LifOnnxRuntimeEngine
from snn_detector_ros.engines.lif_simulator import LifSimulator
from snn_detector_ros.errors import ConfigurationError, EngineError, ImageError
from snn_detector_ros.network import IMAGE, Lif, LifNetwork, Mean, Synapses
from snn_detector_ros.network.model_file import save

CODINGS = ('repeated', 'binned')


@pytest.mark.parametrize('steps', [1, 2, 5])
@pytest.mark.parametrize('coding', CODINGS)
@pytest.mark.parametrize('seed', range(3))
def test_the_engine_fires_as_the_simulation(coding: Any, steps: int, seed: int) -> None:
    network = small_lif_detector(coding=coding, steps=steps, seed=seed)
    simulator, engine = LifSimulator(network), LifOnnxRuntimeEngine(network, threads=1)
    pixels = random_pixels(network, seed)
    expected, readouts = simulator.run(pixels), engine.run(pixels)
    assert_same_spikes(network, simulator, engine.trains)
    for name in network.outputs:
        assert expected[name].dtype == readouts[name].dtype == np.float32
        np.testing.assert_allclose(readouts[name], expected[name], rtol=0, atol=1e-4)
    rates = [train.mean() for train in simulator.trains.values()]
    assert 0.02 < min(rates) and max(rates) < 0.9


def test_a_neuron_does_as_its_equation_says() -> None:
    # At the threshold; above it; reset; at the threshold again, since nothing was left.
    pixels = np.array([2, 3, 0, 2], np.uint8).reshape(4, 1, 1, 1)
    layers = (
        Synapses('current', IMAGE, np.full((1, 1, 1, 1), 0.25, np.float32),
                 np.zeros(1, np.float32)),
        Lif('neuron', 'current'), Mean('mean', 'neuron'),
        Synapses('out', 'mean', np.ones((1, 1, 1, 1), np.float32), np.zeros(1, np.float32)))
    network = LifNetwork('one', 4, 'binned', (0.0,), (1, 1), layers, ('out',))
    membranes = [0.5, 0.75 + 0.25 * 0.5, 0.0, 0.5]
    spikes = [False, True, False, False]
    simulator, engine = LifSimulator(network), LifOnnxRuntimeEngine(network, threads=1)
    assert simulator.run(pixels)['out'].item() == engine.run(pixels)['out'].item() == 0.25
    assert simulator.membranes['neuron'].ravel().tolist() == membranes
    assert simulator.trains['neuron'].ravel().tolist() == spikes
    assert engine.trains['neuron'].ravel().tolist() == spikes


@pytest.mark.parametrize('coding', CODINGS)
def test_the_model_file_runs_by_itself(coding: Any, tmp_path: Path) -> None:
    network = small_lif_detector(coding=coding)
    pixels = random_pixels(network)
    save(network, tmp_path / 'model.onnx')
    session = onnxruntime.InferenceSession(
        str(tmp_path / 'model.onnx'), providers=['CPUExecutionProvider'])
    batch = pixels.reshape(-1, *pixels.shape[-3:]).transpose(0, 3, 1, 2)
    outputs = session.run(list(network.outputs), {IMAGE: np.ascontiguousarray(batch)})
    expected = LifSimulator(network).run(pixels)
    for name, output in zip(network.outputs, outputs, strict=True):
        np.testing.assert_allclose(
            np.asarray(output)[0].transpose(1, 2, 0), expected[name], rtol=0, atol=1e-4)


def test_a_network_runs_at_other_sizes() -> None:
    network = small_lif_detector()
    engine = make_engine('auto', network, input_size=(64, 32), threads=1)
    simulator = make_engine('simulator', network, input_size=(64, 32))
    pixels = random_pixels(replace(network, input_size=(64, 32)))
    expected = simulator.run(pixels)
    for name, readout in engine.run(pixels).items():
        assert readout.shape == expected[name].shape
        np.testing.assert_allclose(readout, expected[name], rtol=0, atol=1e-4)


@pytest.mark.parametrize('coding', CODINGS)
@pytest.mark.parametrize('name', ['onnxruntime', 'simulator'])
def test_two_windows_with_carried_state_are_one_long_window(name: str, coding: Any) -> None:
    long = small_lif_detector(coding=coding, steps=6)
    short = replace(long, steps=3)
    pixels = random_pixels(long)
    halves = (pixels[:3], pixels[3:]) if coding == 'binned' else (pixels, pixels)
    whole = make_engine(name, long, threads=1)
    carrying = make_engine(name, short, threads=1, carry_state=True)
    whole.run(pixels)
    counts = []
    for half in halves:
        carrying.run(half)
        counts.append(carrying.firing().spikes_per_step)
    np.testing.assert_array_equal(np.hstack(counts), whole.firing().spikes_per_step)
    fresh = make_engine(name, short, threads=1)
    fresh.run(halves[1])
    assert (fresh.firing().spikes_per_step != counts[1]).any()
    assert isinstance(carrying, StatefulEngine)
    carrying.reset()
    carrying.run(halves[1])
    np.testing.assert_array_equal(
        carrying.firing().spikes_per_step, fresh.firing().spikes_per_step)


@pytest.mark.parametrize('name', ['onnxruntime', 'simulator'])
def test_without_carried_state_every_window_is_the_first(name: str) -> None:
    network = small_lif_detector(coding='binned')
    engine = make_engine(name, network, threads=1)
    pixels = random_pixels(network)
    first = {key: value.copy() for key, value in engine.run(pixels).items()}
    engine.run(random_pixels(network, 1))
    again = engine.run(pixels)
    assert all(np.array_equal(first[key], again[key]) for key in first)


@pytest.mark.parametrize('coding', CODINGS)
def test_both_engines_report_the_same_statistics(coding: Any) -> None:
    network = small_lif_detector(coding=coding)
    pixels = random_pixels(network)
    engines = [make_engine(name, network, threads=1) for name in ('onnxruntime', 'simulator')]
    for engine in engines:
        engine.run(pixels)
    fast, slow = (engine.firing() for engine in engines)
    assert fast.names == slow.names == ('fired', 'slow')
    np.testing.assert_array_equal(fast.spikes_per_step, slow.spikes_per_step)
    assert fast.synaptic_operations == slow.synaptic_operations
    levels = engines[0].levels()
    assert {name: counts.dtype for name, counts in levels.items()} == {
        'fired': np.uint8, 'slow': np.uint8}
    for name, counts in engines[1].levels().items():
        np.testing.assert_array_equal(levels[name], counts)
        assert counts.sum() == slow.spikes_per_step[slow.names.index(name)].sum()


@pytest.mark.parametrize(('coding', 'stem_passes'), [('repeated', 1), ('binned', 4)])
def test_energy_counts_real_inputs_as_multiplications(coding: Any, stem_passes: int) -> None:
    network = small_lif_detector(coding=coding)
    engine = make_engine('auto', network, threads=1)
    engine.run(random_pixels(network))
    firing = engine.firing()
    operations = network.multiply_accumulates()
    # Spikes are seen by `grown`, `deep` and `coarse`; the stem sees pixels, readouts see means.
    real = stem_passes * operations['stem'] + operations['detect0'] + operations['detect1']
    assert firing.pixel_operations == real
    fired, slow = firing.spikes_per_step.sum(axis=1)
    # 4 * 1 * 1 to `grown`; 6 * 3 * 3 to `deep` and 8 * 3 * 3 to `coarse`, of a quarter of the size.
    accumulates = fired * (4 + 54 / 4) + slow * (72 / 4)
    assert firing.synaptic_operations == accumulates
    assert firing.energy_joules == pytest.approx(
        ENERGY_PER_MAC * real + ENERGY_PER_AC * accumulates)
    assert firing.ann_energy_joules == pytest.approx(ENERGY_PER_MAC * sum(operations.values()))


def test_engines_refuse_what_they_cannot_do() -> None:
    network = small_lif_detector()
    with pytest.raises(ConfigurationError, match='trained with spikes'):
        make_engine('concurrent', network)
    with pytest.raises(ImageError, match=r'needs uint8 of \(32, 48, 3\)'):
        make_engine('auto', network).run(np.zeros((4, 32, 48, 3), np.uint8))
    with pytest.raises(ImageError, match=r'needs uint8 of \(4, 32, 48, 1\)'):
        make_engine('auto', small_lif_detector(coding='binned')).run(
            np.zeros((32, 48, 1), np.uint8))
    engine = make_engine('auto', network, statistics=False)
    engine.run(random_pixels(network))
    with pytest.raises(EngineError, match='statistics=True'):
        engine.firing()
