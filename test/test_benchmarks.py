# SPDX-License-Identifier: Apache-2.0
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from network_builder import small_detector

from snn_detector_ros.engines.onnxruntime import OnnxRuntimeEngine
from snn_detector_ros.network import SpikeCode
from snn_detector_ros.network.model_file import save

REPOSITORY = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(REPOSITORY))

from benchmarks.contestants import COUNTED, FLOAT, OPTIONAL, unit_planes  # noqa: E402
from benchmarks.random_network import build_yolov5, random_yolov5  # noqa: E402
from benchmarks.stages import OBJECTS, synthetic_readouts  # noqa: E402
from benchmarks.timing import Contestant, Summary, race  # noqa: E402


def run_benchmark(*arguments):
    return subprocess.run(
        [sys.executable, '-m', 'benchmarks.run', *map(str, arguments)], cwd=REPOSITORY,
        capture_output=True, text=True, timeout=120)


@pytest.fixture(scope='module')
def quick_run(tmp_path_factory):
    folder = tmp_path_factory.mktemp('bench')
    save(small_detector(), folder / 'tiny.onnx')
    done = run_benchmark('--model', folder / 'tiny.onnx', '--sizes', 32, '--quick',
                         '--json', folder / 'results' / 'bench.json')
    assert done.returncode == 0, done.stderr
    return done.stdout, json.loads((folder / 'results' / 'bench.json').read_text())


def test_all_contestants_are_in_the_table_or_named_as_missing(quick_run):
    printed, results = quick_run
    (result,) = results['races']
    assert {FLOAT, COUNTED} <= set(result['times_ms'])
    assert set(OPTIONAL) <= set(result['times_ms']) | set(results['missing'])
    assert all(name in printed for name in [*result['times_ms'], *results['missing']])


def test_ratios_are_those_of_the_medians(quick_run):
    (result,) = quick_run[1]['races']
    for name, ratios in result['ratios'].items():
        for statistic, ratio in ratios.items():
            assert ratio == pytest.approx(
                result['times_ms'][name][statistic] / result['times_ms'][FLOAT][statistic])
        assert 0 < result['times_ms'][name]['wall_min'] <= result['times_ms'][name]['wall_median']


def test_goals_follow_from_the_races(quick_run):
    results = quick_run[1]
    value = results['races'][0]['ratios'][COUNTED]['cpu_median']
    goal = next(goal for goal in results['goals'] if FLOAT in goal['name'])
    assert goal['value'] == pytest.approx(value)
    assert goal['met'] == (value <= goal['limit'])


def test_other_runtimes_compute_the_same_levels(quick_run):
    (counts,) = quick_run[1]['levels']
    wrong = {name: count for name, count in counts.items()
             if name not in ('network', 'size', 'levels')}
    assert counts['levels'] > 7000
    assert set(wrong.values()) == {0}


def test_spikes_are_those_of_the_engine(quick_run):
    (result,) = quick_run[1]['races']
    assert result['spikes'] > 0
    assert result['spikes_per_second'] == pytest.approx(
        1e3 * result['spikes'] / result['times_ms'][COUNTED]['wall_median'])


def test_every_stage_was_timed(quick_run):
    stages = quick_run[1]['stages']
    assert all(stage['time']['cpu_min'] > 0 for stage in stages)
    assert any(f'{OBJECTS} detections' in stage['name'] for stage in stages)


def test_the_host_is_described(quick_run):
    facts = quick_run[1]['host']
    assert facts['cores'] >= 1
    assert facts['versions']['numpy'] == np.__version__


def test_a_missing_model_is_one_sentence(tmp_path):
    done = run_benchmark('--model', tmp_path / 'none.onnx', '--json', tmp_path / 'x.json')
    assert done.returncode == 1
    assert done.stderr.startswith('benchmark: ')
    assert 'Traceback' not in done.stderr


def test_random_networks_have_the_shape_of_yolov5():
    network = random_yolov5('n')
    assert len(list(network.convolutions)) == 60
    assert sum(network.multiply_accumulates((640, 640)).values()) == pytest.approx(
        2.234e9, rel=1e-3)


def test_random_networks_are_alive_in_every_layer():
    network = build_yolov5('small', width=0.125, depth=0.33, classes=2,
                           code=SpikeCode.linear(4, 12), input_size=(96, 96))
    engine = OnnxRuntimeEngine(network, threads=1)
    engine.run(np.random.default_rng(0).integers(0, 256, (96, 96, 3), dtype=np.uint8))
    for levels in engine.levels().values():
        assert 0.03 < np.mean(levels > 0) and np.mean(levels == network.code.max_level) < 0.7


def test_synthetic_readouts_stay_below_the_gate_without_objects():
    network = small_detector()
    head = network.head.levels[0]
    layer = network[head.readout]
    membranes = synthetic_readouts(network, (640, 640))[head.readout] + layer.bias
    logits = (membranes * layer.step).reshape(*membranes.shape[:2], len(head.anchors), -1)
    assert np.count_nonzero(logits[..., 4] > 0) == 2 * OBJECTS


def test_float_pictures_are_red_green_blue_in_unit_range():
    pixels = np.zeros((2, 2, 3), dtype=np.uint8)
    pixels[..., 2] = 255
    assert unit_planes(pixels)[0, :, 0, 0].tolist() == [1, 0, 0]


def test_a_slow_contestant_is_visited_less_often():
    calls = {'fast': 0, 'slow': 0}

    def count(name):
        calls[name] += 1

    times = race({'fast': Contestant(lambda: count('fast')),
                  'slow': Contestant(lambda: count('slow'), every=4)}, rounds=5, calls=3)
    assert (times['fast'].samples, times['slow'].samples) == (15, 2)
    assert calls == {'fast': 5 * 4, 'slow': 2 * 2}


def test_summary_of_known_samples():
    summary = Summary.of(np.array([[1.0, 2.0], [3.0, 4.0], [8.0, 9.0]]))
    assert (summary.wall_median, summary.wall_min, summary.cpu_median) == (3, 1, 4)


def test_spikingjelly_opponent_approaches_the_network_with_many_steps():
    torch = pytest.importorskip('torch')
    pytest.importorskip('spikingjelly')
    from benchmarks.contestants import planes
    from benchmarks.spikingjelly_network import SpikingJellyNetwork

    network = small_detector()
    pixels = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    name = network.outputs[0]
    expected = OnnxRuntimeEngine(network, threads=1).run(pixels)[name] + network[name].bias
    picture = torch.from_numpy(planes(pixels).astype(np.float32) / 255)
    with torch.inference_mode():
        (readout,) = SpikingJellyNetwork(network, steps=256)(picture)
    # A rate code of 256 steps: the rest is its rounding, 1 / 256 per neuron and layer.
    correlation = np.corrcoef(
        (expected * network[name].step).ravel(), readout[0].numpy().transpose(1, 2, 0).ravel())
    assert correlation[0, 1] > 0.95
