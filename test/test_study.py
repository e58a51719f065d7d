# SPDX-License-Identifier: Apache-2.0
"""The experiments of `snn-detector study`, on small networks and pictures of noise."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from float_onnx_builder import pictures
from network_builder import NetworkBuilder, small_detector, small_signed_detector

from snn_detector_ros.cli import main
from snn_detector_ros.conversion import FloatConvolution, FloatNetwork, dequantise, read_onnx
from snn_detector_ros.conversion.float_file import save_float
from snn_detector_ros.conversion.spiking_yolo import (
    SpikingYoloOptions,
    convert_spiking_yolo,
    without_sign,
)
from snn_detector_ros.datasets.yolo_txt import YoloTxtDataset
from snn_detector_ros.engines import make_engine
from snn_detector_ros.errors import ConfigurationError, ConversionError
from snn_detector_ros.evaluation.contestants import Contestant, from_file
from snn_detector_ros.network import IMAGE, SpikeCode, model_file
from snn_detector_ros.study.bench import Bench, EngineDetector, rate_curve
from snn_detector_ros.study.firing_budget import firing_budget
from snn_detector_ros.study.levels import (
    codes,
    has_signed_neurons,
    normalisation,
    pooling,
)
from snn_detector_ros.study.pooling import StepwisePoolEngine
from snn_detector_ros.study.rates import rates


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Four pictures of noise, each with a cat in the middle."""
    for folder in ('images', 'labels'):
        (tmp_path / 'data' / folder).mkdir(parents=True)
    for index, picture in enumerate(pictures(4, (32, 32))):
        assert cv2.imwrite(str(tmp_path / 'data' / 'images' / f'{index}.png'), picture)
        (tmp_path / 'data' / 'labels' / f'{index}.txt').write_text('0 0.5 0.5 0.5 0.5\n')
    (tmp_path / 'data' / 'data.yaml').write_text('names: [cat, dog]\ntest: images\n')
    return tmp_path / 'data' / 'data.yaml'


@pytest.fixture
def bench(data: Path) -> Bench:
    return Bench(YoloTxtDataset.open(data, 'test'), 2, lambda size: pictures(3, size))


@pytest.fixture
def relu() -> FloatNetwork:
    return dequantise(small_detector())


@pytest.fixture
def leaky(relu: FloatNetwork) -> FloatNetwork:
    return replace(relu, name='leaky', layers=tuple(
        replace(layer, slope=0.1)
        if isinstance(layer, FloatConvolution) and layer.name not in relu.outputs else layer
        for layer in relu.layers))


def reference(network: FloatNetwork, folder: Path) -> Contestant:
    save_float(network, folder / 'reference.onnx')
    return from_file(folder / 'reference.onnx')


def test_saved_float_network_is_read_back(relu: FloatNetwork, tmp_path: Path) -> None:
    save_float(relu, tmp_path / 'float.onnx')
    again = read_onnx(tmp_path / 'float.onnx')
    assert again.head == relu.head and again.class_names == relu.class_names
    for one, other in zip(relu.layers, again.layers, strict=True):
        if isinstance(one, FloatConvolution):
            assert isinstance(other, FloatConvolution)
            np.testing.assert_array_equal(one.weight, other.weight)
            assert one.slope == other.slope


def test_network_without_anchors_is_not_saved(relu: FloatNetwork, tmp_path: Path) -> None:
    with pytest.raises(ConversionError, match='no YOLOv5 head'):
        save_float(replace(relu, head=None), tmp_path / 'float.onnx')


@pytest.mark.parametrize('code', [SpikeCode.constant(4), SpikeCode.constant(4, 12)], ids=str)
def test_stepwise_pools_lose_nothing_for_equal_weights(code: SpikeCode) -> None:
    network = small_detector(code=code)
    pixels = pictures(1, network.input_size)[0]
    truth, stepwise = make_engine('simulator', network), StepwisePoolEngine(network)
    truth.run(pixels)
    stepwise.run(pixels)
    for name, levels in truth.levels().items():
        np.testing.assert_array_equal(stepwise.levels()[name], levels, err_msg=name)


def test_stepwise_pools_add_up_the_largest_spike_of_each_step() -> None:
    code = SpikeCode.linear(4, 3)
    net = NetworkBuilder(1, code, input_size=(32, 32))
    pool = net.pool(net.conv(IMAGE, 4, 3, 2))
    net.conv(pool, 2 * 7, readout=True)
    network = net.build(head=True)
    engine = StepwisePoolEngine(network)
    engine.run(pictures(1, network.input_size)[0])
    levels = engine.levels()
    spikes = np.pad(code.digits(levels[network.layers[0].name]), ((0, 0), (2, 2), (2, 2), (0, 0)))
    expected = np.zeros_like(levels[pool], dtype=np.int64)
    for y, x in np.ndindex(expected.shape[:2]):
        window = spikes[:, y:y + 5, x:x + 5].max(axis=(1, 2))
        expected[y, x] = np.tensordot(code.tau, window, 1)
    np.testing.assert_array_equal(levels[pool], expected)
    decoded = make_engine('simulator', network)
    decoded.run(pictures(1, network.input_size)[0])
    assert (levels[pool] != decoded.levels()[pool]).any()  # STDI needs Spike-Maxpooling


def test_stepwise_pools_refuse_signed_spikes() -> None:
    with pytest.raises(ConfigurationError, match='ReLU networks only'):
        StepwisePoolEngine(small_signed_detector())


def test_end_of_a_rate_curve_is_the_whole_run(bench: Bench, leaky: FloatNetwork) -> None:
    network = convert_spiking_yolo(
        leaky, pictures(3, leaky.input_size), SpikingYoloOptions(steps=32))
    curve = rate_curve(bench, network, (8, 16, 32), 'curve')
    detector = EngineDetector(make_engine('concurrent', network))
    spikes = []

    def detect(image):  # type: ignore[no-untyped-def]
        found = detector(image)
        spikes.append(detector.engine.firing().spikes_per_step.sum())
        return found

    assert curve[32].map50 == bench.evaluate(detect, 'whole').map50
    assert curve[32].spikes == pytest.approx(np.mean(spikes))
    assert 0 < curve[8].spikes < curve[16].spikes < curve[32].spikes


def test_codes_are_left_out_where_levels_do_not_fit(
    bench: Bench, relu: FloatNetwork, leaky: FloatNetwork, tmp_path: Path,
) -> None:
    section = codes(bench, relu, reference(relu, tmp_path), steps=(1, 6, 8))
    assert [table.headers[0].split('starts at ')[-1] for table in section.tables[:2]] == [
        'zero', 'half']
    both = next(row for row in section.tables[0].rows if row[0] == 'STDI and compression')
    assert both[1] is not None and both[2] is not None and both[3] is None  # 12, 252, 432 levels
    section = codes(bench, leaky, reference(leaky, tmp_path), steps=(1, 6))
    assert len(section.tables) == 2  # signed neurons have one start
    both = next(row for row in section.tables[0].rows if row[0] == 'STDI and compression')
    assert both[1] is not None and both[2] is None  # a sign takes one of the 8 bits


def test_sign_is_studied_where_there_is_one(
    bench: Bench, relu: FloatNetwork, leaky: FloatNetwork, tmp_path: Path,
) -> None:
    assert not has_signed_neurons(relu) and has_signed_neurons(leaky)
    plain = normalisation(bench, relu, reference(relu, tmp_path))
    signed = normalisation(bench, leaky, reference(leaky, tmp_path))
    assert len(plain.tables[0].rows) == 1 + 4 and len(signed.tables[0].rows) == 1 + 8
    assert pooling(bench, leaky, reference(leaky, tmp_path)) is None
    assert len(rates(bench, relu, reference(relu, tmp_path), most_steps=8).tables[0].rows) == 3
    assert len(rates(bench, leaky, reference(leaky, tmp_path), most_steps=8).tables[0].rows) == 5


def test_network_without_signs_keeps_its_outputs() -> None:
    network = small_signed_detector()
    plain = without_sign(network)
    changed = {layer.name for layer, old in zip(plain.layers, network.layers, strict=True)
               if getattr(layer, 'slope', None) != getattr(old, 'slope', None)}
    assert changed and not changed & set(network.outputs)


def test_budget_compares_spiking_networks_only(
    bench: Bench, relu: FloatNetwork, tmp_path: Path,
) -> None:
    for name, code in (('rich', SpikeCode.linear(4, 12)), ('poor', SpikeCode.linear(2, 40))):
        model_file.save(replace(small_detector(), code=code), tmp_path / f'{name}.onnx')
    section = firing_budget(bench, [tmp_path / 'rich.onnx', tmp_path / 'poor.onnx'])
    rich, poor = section.tables[0].rows
    assert rich[-1] == '1.00' and rich[1] == poor[1] and rich[4] != poor[4]
    save_float(relu, tmp_path / 'float.onnx')
    with pytest.raises(ConfigurationError, match='float network'):
        firing_budget(bench, [tmp_path / 'float.onnx'])


def test_command_writes_the_study(
    data: Path, leaky: FloatNetwork, tmp_path: Path, capsys: pytest.CaptureFixture[str],
) -> None:
    model_file.save(small_detector(), tmp_path / 'relu.onnx')
    save_float(leaky, tmp_path / 'leaky.onnx')
    out = tmp_path / 'study'
    assert main.main([
        'study', '--data', str(data), '--calibration', str(data.parent / 'images'),
        '--relu', str(tmp_path / 'relu.onnx'), '--leaky', str(tmp_path / 'leaky.onnx'),
        '--budget', str(tmp_path / 'relu.onnx'), '--slow-limit', '2', '--most-steps', '16',
        '--threads', '1', '-o', str(out)]) == 0
    assert str(out / 'study.md') in capsys.readouterr().out
    text = (out / 'study.md').read_text()
    figures = json.loads((out / 'study.json').read_text())
    assert text.count('\n## ') == len(figures) == 8
    drawn = {f'plots/{path.name}' for path in (out / 'plots').iterdir()}
    assert drawn == {line.split('(<')[1].rstrip('>)') for line in text.splitlines()
                     if line.startswith('![')}


def test_a_part_that_has_nothing_to_study_is_named(
    data: Path, leaky: FloatNetwork, tmp_path: Path, capsys: pytest.CaptureFixture[str],
) -> None:
    save_float(leaky, tmp_path / 'leaky.onnx')
    options = ['study', '--data', str(data), '--calibration', str(data.parent / 'images'),
               '--relu', str(tmp_path / 'leaky.onnx'), '--leaky', str(tmp_path / 'leaky.onnx'),
               '-o', str(tmp_path / 'out'), '--only']
    assert main.main([*options, 'budget']) == 1
    assert 'name the networks with --budget' in capsys.readouterr().err
    assert main.main([*options, 'pooling']) == 1
    assert 'has no max pools, or has signed neurons' in capsys.readouterr().err


@pytest.mark.parametrize('steps', ['12', '4', '0', '8192'])
def test_steps_of_a_curve_are_powers_of_two(
    data: Path, tmp_path: Path, steps: str, capsys: pytest.CaptureFixture[str],
) -> None:
    assert main.main(['study', '--data', str(data), '--calibration', str(data.parent),
                      '--most-steps', steps, '-o', str(tmp_path / 'out')]) == 1
    assert 'power of two' in capsys.readouterr().err
