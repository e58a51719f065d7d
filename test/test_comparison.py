# SPDX-License-Identifier: Apache-2.0
"""Several detectors on the same pictures: costs, errors by layer, disagreements, the report."""

from __future__ import annotations

import json
import re
import sys
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from network_builder import small_detector

from snn_detector_ros.cli import main
from snn_detector_ros.conversion import dequantise
from snn_detector_ros.datasets.yolo_txt import YoloTxtDataset
from snn_detector_ros.detection.types import Detections
from snn_detector_ros.engines import make_engine
from snn_detector_ros.engines.statistics import ENERGY_PER_AC, ENERGY_PER_MAC
from snn_detector_ros.errors import ConfigurationError, MissingDependencyError
from snn_detector_ros.evaluation.coco import GroundTruth
from snn_detector_ros.evaluation.comparison import Comparison, compare
from snn_detector_ros.evaluation.comparison_plots import families
from snn_detector_ros.evaluation.contestants import Contestant, from_network, unique
from snn_detector_ros.evaluation.disagreements import agreement, disagreements, worst
from snn_detector_ros.evaluation.float_twins import OWN_WEIGHTS, errors_by_layer
from snn_detector_ros.evaluation.layer_errors import is_ancestor, layer_errors
from snn_detector_ros.evaluation.markdown import millions, table
from snn_detector_ros.evaluation.panels import PANEL_HEIGHT, side_by_side
from snn_detector_ros.evaluation.plots import Line, bar_plot, line_plot, styles
from snn_detector_ros.evaluation.report import write_report
from snn_detector_ros.evaluation.runner import look
from snn_detector_ros.evaluation.variants import parse_codes, variants
from snn_detector_ros.network import Convolution, SpikeCode, model_file

NAMES = ('cat', 'dog')


def detections(*rows: tuple[list[float], float, int]) -> Detections:
    return Detections(
        np.array([row[0] for row in rows], np.float32).reshape(-1, 4),
        np.array([row[1] for row in rows], np.float32),
        np.array([row[2] for row in rows], np.int64), NAMES)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Three pictures of noise, each with a cat in the middle."""
    random = np.random.default_rng(3)
    for folder in ('images', 'labels'):
        (tmp_path / 'data' / folder).mkdir(parents=True)
    for index in range(3):
        picture = random.integers(0, 256, (32, 48, 3), np.uint8)
        assert cv2.imwrite(str(tmp_path / 'data' / 'images' / f'{index}.png'), picture)
        (tmp_path / 'data' / 'labels' / f'{index}.txt').write_text('0 0.5 0.5 0.5 0.5\n')
    (tmp_path / 'data' / 'data.yaml').write_text('names: [cat, dog]\ntest: images\n')
    return tmp_path / 'data' / 'data.yaml'


@pytest.fixture
def comparison(data: Path) -> Comparison:
    """A float detector that is always right, and a spiking network in two codes."""
    network = small_detector()
    right = detections(([12, 8, 36, 24], 0.9, 0))
    faster = replace(network, code=SpikeCode.linear(2, 40))  # as many levels
    return compare(
        [Contestant('exact', lambda: lambda image: right, float_network=dequantise(network)),
         from_network(network, 'T=4', family='linear'),
         from_network(faster, 'T=2', family='linear')],
        YoloTxtDataset.open(data, 'test'))


def test_equal_levels_give_equal_detections_but_other_spikes(comparison: Comparison) -> None:
    exact, slow, fast = comparison.outcomes
    assert exact.result.map50 == pytest.approx(1)
    assert comparison.reference is exact and comparison.spiking == (slow, fast)
    assert slow.result == fast.result
    for one, other in zip(slow.found, fast.found, strict=True):
        np.testing.assert_array_equal(one.boxes, other.boxes)
    assert slow.cost is not None and fast.cost is not None
    assert slow.cost.spikes != fast.cost.spikes


def test_costs_are_those_of_the_engine(comparison: Comparison) -> None:
    exact, slow, _ = comparison.outcomes
    network = slow.contestant.network
    assert network is not None and slow.cost is not None and exact.cost is not None
    detector = slow.contestant.open()
    frames = []
    look(detector, comparison.dataset, after=lambda: frames.append(detector.firing()))
    assert slow.cost.spikes == pytest.approx(np.mean([frame.spikes for frame in frames]))
    assert slow.cost.equation_23 == slow.cost.spikes + 32 * 32 * 3
    operations = np.mean([frame.synaptic_operations for frame in frames])
    assert slow.cost.synaptic_operations == pytest.approx(operations)
    assert slow.cost.energy_joules == pytest.approx(
        ENERGY_PER_AC * operations + ENERGY_PER_MAC * slow.cost.multiply_accumulates)
    assert exact.cost.multiply_accumulates == sum(network.multiply_accumulates().values())


def test_only_chosen_classes_are_kept(data: Path) -> None:
    both = detections(([12, 8, 36, 24], 0.9, 0), ([0, 0, 9, 9], 0.8, 1))
    result = compare([Contestant('one', lambda: lambda image: both)],
                     YoloTxtDataset.open(data, 'test'), classes=['cat'])
    assert [found.classes.tolist() for found in result.outcomes[0].found] == [[0]] * 3


def test_families_are_sorted_by_time_steps(comparison: Comparison) -> None:
    assert [one.name for one in families(comparison.spiking)['linear']] == ['T=2', 'T=4']


def test_contestants_need_names_of_their_own(data: Path) -> None:
    dataset = YoloTxtDataset.open(data, 'test')
    one = Contestant('same', lambda: lambda image: Detections.empty(NAMES))
    with pytest.raises(ConfigurationError, match='name of its own'):
        compare([one, one], dataset)
    with pytest.raises(ConfigurationError, match='at least one'):
        compare([], dataset)
    assert [other.name for other in unique([one, one, one])] == ['same', 'same (2)', 'same (3)']


def test_layer_errors_are_those_computed_by_hand() -> None:
    """The first layer is compared here with a convolution written out in float64."""
    network = small_detector()
    pixels = np.random.default_rng(0).integers(0, 256, (32, 32, 3), np.uint8)
    errors = {one.name: one for one in layer_errors(dequantise(network), network, [pixels])}
    assert list(errors) == [layer.name for layer in network.convolutions]
    stem = next(network.convolutions)
    assert isinstance(stem, Convolution) and stem.threshold is not None
    padded = np.pad(pixels.astype(np.float64), ((2, 2), (2, 2), (0, 0)))
    membrane = np.array([
        [(padded[y:y + 6, x:x + 6].transpose(2, 0, 1) * stem.weight).sum(axis=(1, 2, 3))
         for x in range(0, 32, 2)][:16] for y in range(0, 32, 2)][:16])[:16, :16]
    activation = np.clip((membrane + stem.bias) * stem.step / stem.threshold, 0, None)
    engine = make_engine('simulator', network)
    engine.run(pixels)
    levels = engine.levels()[stem.name]
    wrong = np.abs(levels * stem.step - activation)
    assert wrong.mean() > 0
    found = errors[stem.name]
    # The float network computes in float32: sums of 108 products, each 2^-24 off at most.
    assert found.absolute == pytest.approx(wrong.mean(), rel=1e-4)
    assert found.magnitude == pytest.approx(activation.mean(), rel=1e-4)
    assert found.relative == found.absolute / found.magnitude
    assert found.saturated == (levels == network.code.max_level).mean()
    assert [one.readout for one in errors.values()].count(True) == 1


def test_engines_have_equal_layer_errors() -> None:
    network = small_detector()
    pixels = [np.random.default_rng(1).integers(0, 256, (32, 32, 3), np.uint8)]
    floats = dequantise(network)
    assert layer_errors(floats, network, pixels, engine='simulator') == layer_errors(
        floats, network, pixels, engine='onnxruntime')


def test_float_twin_is_found_by_its_layers(comparison: Comparison) -> None:
    errors = errors_by_layer(comparison, limit=2)
    assert [one.twin for one in errors.values()] == ['exact', 'exact']
    assert errors['T=4'].layers == errors['T=2'].layers
    alone = replace(comparison, outcomes=comparison.outcomes[1:])
    assert errors_by_layer(alone, limit=2)['T=4'].twin == OWN_WEIGHTS
    smaller = dequantise(small_detector())
    assert not is_ancestor(replace(smaller, layers=smaller.layers[:-1]), small_detector())


BOX, FAR = [0, 0, 10, 10], [50, 50, 60, 60]


@pytest.mark.parametrize(('one', 'other', 'value'), [
    ([], [], 0),
    ([(BOX, 0.9, 0)], [(BOX, 0.9, 0)], 0),
    ([(BOX, 0.9, 0)], [(BOX, 0.7, 0)], 0.2),
    ([(BOX, 0.9, 0)], [], 0.9),
    ([], [(BOX, 0.9, 0)], 0.9),
    ([(BOX, 0.9, 0)], [(BOX, 0.8, 1)], 1.7),
    ([(BOX, 0.9, 0)], [(FAR, 0.8, 0)], 1.7),
    # On either side of the score that is shown: a small step.
    ([(BOX, 0.26, 0)], [(BOX, 0.24, 0)], 0.02),
    ([(BOX, 0.2, 0)], [(BOX, 0.1, 0), (FAR, 0.2, 0)], 0),
])
def test_disagreement_computed_by_hand(one: list, other: list, value: float) -> None:
    # Scores are float32.
    result = agreement(detections(*one), detections(*other))
    assert result.disagreement == pytest.approx(value, abs=1e-6)
    back = agreement(detections(*other), detections(*one))
    assert back.disagreement == pytest.approx(value, abs=1e-6)


def test_worst_pictures_come_first_and_agreement_is_left_out() -> None:
    nothing, something = detections(), detections((BOX, 0.9, 0))
    values = disagreements([nothing, something, nothing], [nothing, nothing, something])
    assert worst(values, 5) == [1, 2]
    assert worst(values, 1) == [1]


def test_panels_stand_side_by_side() -> None:
    image = np.zeros((60, 80, 3), np.uint8)
    box = [20, 20, 60, 50]
    truth = GroundTruth(np.array([box], np.float32), np.array([0]))
    panel = side_by_side(image, detections((box, 0.9, 0)), detections(), truth, ('a', 'b'))
    width = round(80 * PANEL_HEIGHT / 60)
    assert abs(panel.shape[1] - 3 * width) < 20 and panel.shape[0] > PANEL_HEIGHT
    parts = [panel[60:, start:start + width] for start in (0, width + 6, 2 * width + 12)]
    coloured = [int((np.ptp(part.astype(int), axis=2) > 30).sum()) for part in parts]
    assert coloured[0] > 1000 and coloured[1] == 0 and coloured[2] > 1000


def test_codes_are_read_as_all_combinations() -> None:
    codes = [str(one.code) for one in parse_codes(['linear:2,4:1,12', 'binary:3:1'])]
    assert codes == ['linear T=2 burst=1', 'linear T=4 burst=1', 'linear T=2 burst=12',
                     'linear T=4 burst=12', 'binary T=3 burst=1']


@pytest.mark.parametrize(('text', 'words'), [
    ('linear', 'write KIND:STEPS:BURST'), ('linear:4', 'write KIND'), ('round:4:1', 'write KIND'),
    ('linear:4:x', 'write KIND'), ('linear:8:12', 'reaches level 432'), ('linear:0:1', 'steps')])
def test_wrong_codes_are_refused(text: str, words: str) -> None:
    with pytest.raises(ConfigurationError, match=words):
        parse_codes([text])


def test_variants_are_converted_once_for_each_number_of_levels() -> None:
    network = small_detector()
    pictures = list(np.random.default_rng(0).integers(0, 256, (2, 32, 32, 3), np.uint8))
    codes = parse_codes(['linear:2:40', 'constant:4:1', 'binary:2:1', 'constant:1:3'])
    made = [variant for _, variant in variants(network, codes, pictures)]
    assert [one.code for one in made] == [one.code for one in codes]
    assert made[0].layers is network.layers, 'its 120 levels are kept'
    assert made[2].layers is made[3].layers
    assert made[1].layers is not made[2].layers
    with pytest.raises(ConfigurationError, match='constant T=4 burst=1 has other levels'):
        list(variants(network, codes, None))


def test_tables_align_numbers() -> None:
    assert table(['a', 'b'], [['x|y', 1], ['z', None]]) == (
        '| a | b |\n| --- | ---: |\n| x\\|y | 1 |\n| z |  |')
    assert [millions(value) for value in (1234.0, 1.5e6, 1.709e9)] == ['0.00123', '1.5', '1709']


def test_names_keep_their_styles() -> None:
    looks = styles([f'n{index}' for index in range(25)] + ['float'], ['float'])
    assert looks['float'].dash == '--'
    assert len({(one.colour, one.dash) for one in looks.values()}) == 26


def test_missing_matplotlib_names_the_extra(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, 'matplotlib.figure', None)
    with pytest.raises(MissingDependencyError, match=r'matplotlib.*\[eval\]'):
        bar_plot(tmp_path / 'x.png', {'a': {'b': 1.0}}, title='')


def test_plots_show_their_lines(tmp_path: Path) -> None:
    """Each line leaves pixels of its own colour."""
    line_plot(tmp_path / 'x.png', {'a': Line([1, 2], [0, 1]), 'b': Line([2], [1])}, title='t',
              x_label='x', y_label='y', levels={'c': 0.5}, log_x=True)
    image = cv2.imread(str(tmp_path / 'x.png'))
    for one in styles(['a', 'b']).values():
        rgb = [int(one.colour[start:start + 2], 16) for start in (1, 3, 5)]
        assert (image == rgb[::-1]).all(axis=2).sum() > 20


def test_report_holds_every_figure_and_picture(comparison: Comparison, tmp_path: Path) -> None:
    errors = errors_by_layer(comparison, limit=1)
    file = write_report(tmp_path / 'report', comparison, errors, data='noise', pictures=2)
    text = file.read_text()
    links = re.findall(r'!\[[^]]*\]\(<([^>]*)>\)', text)
    assert len(links) == 5 + 2 * 2, 'five plots, two pictures of each spiking network'
    for link in links:
        assert cv2.imread(str(file.parent / link)) is not None, link
    assert {path.name for path in file.parent.rglob('*.[jp][pn]g')} == {
        Path(link).name for link in links}
    assert '4.6 pJ' in text and '0.9 pJ' in text and 'estimate' in text
    figures = json.loads((file.parent / 'report.json').read_text())
    exact, slow, _ = figures['detectors']
    assert figures['reference'] == 'exact' and exact['map50'] == pytest.approx(1)
    assert slow['code'] == 'linear T=4 burst=12' and slow['levels'] == 120
    assert len(slow['error']['layers']) == len(list(small_detector().convolutions))
    assert list(slow['disagreement']) == ['0.png', '1.png', '2.png']
    assert len(slow['precision']['cat']) == len(figures['recalls']) == 101


def test_report_of_float_detectors_has_no_spikes(comparison: Comparison, tmp_path: Path) -> None:
    alone = replace(comparison, outcomes=comparison.outcomes[:1])
    text = write_report(tmp_path / 'report', alone, {}, data='noise').read_text()
    assert 'Accuracy' in text and 'Spikes' not in text and 'Disagreements' not in text


def test_command_compares_codes(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str],
) -> None:
    model_file.save(small_detector(), tmp_path / 'net.onnx')
    report = tmp_path / 'report'
    arguments = ['eval', '--compare', str(tmp_path / 'net.onnx'), '--data', str(data), '--limit',
                 '2', '--codes', 'constant:1,2:1', '-o', str(report)]
    assert main.main(arguments) == 1
    assert '--calibration DIR' in capsys.readouterr().err
    assert main.main([*arguments, '--calibration', str(data.parent / 'images')]) == 0
    assert str(report / 'report.md') in capsys.readouterr().out
    figures = json.loads((report / 'report.json').read_text())
    assert [one['name'] for one in figures['detectors']] == [
        'net', 'constant T=1 burst=1', 'constant T=2 burst=1']
    assert [one['images'] for one in figures['detectors']] == [2, 2, 2]


@pytest.mark.parametrize(('options', 'words'), [
    (['--codes', 'linear:4:12'], '--codes needs --compare'),
    (['--compare', '--split', 'test', 'train'], 'one split at a time'),
    (['--compare', '--worst', '-1'], 'must be 0 or more'),
    (['--alias', 'dog'], 'write MODEL_NAME=DATA_NAME'),
])
def test_command_refuses_options_that_do_not_go_together(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], options: list[str],
    words: str,
) -> None:
    model_file.save(small_detector(), tmp_path / 'net.onnx')
    assert main.main(['eval', str(tmp_path / 'net.onnx'), '--data', str(data), *options]) == 1
    assert words in capsys.readouterr().err


def test_command_writes_json_beside_its_table(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str],
) -> None:
    model_file.save(small_detector(), tmp_path / 'net.onnx')
    file = tmp_path / 'figures.json'
    assert main.main(['eval', str(tmp_path / 'net.onnx'), '--data', str(data), '--engine',
                      'simulator', '--alias', 'dog=cat', '--json', str(file)]) == 0
    (figures,) = json.loads(file.read_text())
    assert figures['images'] == 3 and [one['name'] for one in figures['classes']] == ['cat']
    assert 'AP50-95' in capsys.readouterr().out
