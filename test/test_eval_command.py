# SPDX-License-Identifier: Apache-2.0
"""`snn-detector eval`, from options to tables and JSON."""

import json

import cv2
import numpy as np
import pytest
from float_onnx_builder import fixed_detector, tiny_detector
from network_builder import small_detector

from snn_detector_ros.cli import main
from snn_detector_ros.datasets.formats import open_dataset
from snn_detector_ros.evaluation.float_detector import FloatDetector
from snn_detector_ros.evaluation.runner import DETECTOR_OPTIONS, evaluate
from snn_detector_ros.network import model_file

#: A box around the cat of the pictures below, and two of other classes.
ROWS = np.array([
    [32, 32, 20, 40, 0.9, 0.8, 0.1, 0.1],
    [96, 32, 40, 20, 0.6, 0.1, 0.5, 0.1],
    [96, 32, 40, 21, 0.5, 0.1, 0.5, 0.1]], dtype=np.float32)


@pytest.fixture
def pets(tmp_path):
    """A data.yaml with two tests: one picture with a cat, one with a cat and a dog."""
    (tmp_path / 'images').mkdir()
    (tmp_path / 'labels').mkdir()
    for name, label in (('one', '0 0.25 0.5 0.15625 0.625\n'),
                        ('two', '0 0.25 0.5 0.15625 0.625\n1 0.5 0.5 0.1 0.1\n')):
        image = np.full((64, 128, 3), 255, np.uint8)
        assert cv2.imwrite(str(tmp_path / 'images' / f'{name}.png'), image)
        (tmp_path / 'labels' / f'{name}.txt').write_text(label)
        (tmp_path / f'{name}.txt').write_text(f'images/{name}.png\n')
    (tmp_path / 'data.yaml').write_text('names: [cat, dog]\ntest: one.txt\n')
    fixed_detector(tmp_path / 'float.onnx', ROWS, json.dumps(['cat', 'tree', 'bush']))
    model_file.save(small_detector(), tmp_path / 'spiking.onnx')
    return tmp_path


def _eval(*arguments) -> int:
    return main.main(['eval', *map(str, arguments)])


def test_command_compares_models_as_json(pets, capsys):
    assert _eval(pets / 'float.onnx', pets / 'spiking.onnx', '--data', pets / 'data.yaml',
                 '--split', 'test', 'two.txt', '--json', '-') == 0
    reports = json.loads(capsys.readouterr().out)
    assert [(one['split'], one['model'].rsplit('/')[-1]) for one in reports] == [
        ('test', 'float.onnx'), ('test', 'spiking.onnx'),
        ('two.txt', 'float.onnx'), ('two.txt', 'spiking.onnx')]
    # The float network finds the cat exactly, and knows no dogs.
    assert reports[0]['map50'] == pytest.approx(1)
    assert reports[2]['map50'] == pytest.approx(0.5)
    assert [one['name'] for one in reports[3]['classes']] == ['cat', 'dog']


def test_command_prints_a_table_for_a_list_of_pictures(pets, capsys):
    assert _eval(pets / 'float.onnx', '--data', pets / 'two.txt', '--classes', 'cat') == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == 'float.onnx on two.txt: 1 pictures'
    assert lines[2].split() == ['cat', '1', '1.000', '1.000'] and len(lines) == 3


def test_command_names_a_wrong_model_file(pets, capsys):
    assert _eval(pets / 'absent.onnx', '--data', pets / 'data.yaml') == 1
    assert 'absent.onnx' in capsys.readouterr().err


def test_command_decodes_a_head_that_the_file_does_not_name(pets, capsys):
    anchors = [[[8, 8], [16, 8], [8, 16]], [[16, 16], [32, 16], [16, 32]]]
    model = tiny_detector(pets / 'raw.onnx')
    options = (model, '--data', pets / 'two.txt')
    assert _eval(*options) == 1
    assert 'name the kind of its head (--head)' in capsys.readouterr().err
    options += ('--anchors', json.dumps(anchors), '--names', 'cat,dog')
    assert _eval(*options, '--json', '-') == 0
    figures, = json.loads(capsys.readouterr().out)
    dataset = open_dataset(pets / 'two.txt')
    assert figures['map50'] == evaluate(FloatDetector(
        model, anchors=anchors, class_names=('cat', 'dog'), **DETECTOR_OPTIONS), dataset).map50
    assert _eval('--compare', *options, '-o', pets / 'report', '--error-pictures', 0) == 0
    assert (pets / 'report' / 'report.md').is_file()


def test_command_evaluates_a_public_network(shared_data, capsys):
    assert _eval(shared_data / 'weights' / 'fastestdet' / 'FastestDet.onnx', '--head', 'fastestdet',
                 '--data', shared_data / 'people_vehicles' / 'data.yaml', '--split',
                 'test_people.txt', '--classes', 'person', '--limit', 10, '--json', '-') == 0
    figures, = json.loads(capsys.readouterr().out)
    # 0.95 on all pictures; ten of them may be harder.
    assert figures['map50'] > 0.8


def test_command_names_a_missing_folder_before_it_evaluates(pets, capsys):
    assert _eval(pets / 'absent.onnx', '--data', pets / 'two.txt', '--json',
                 pets / 'absent' / 'figures.json') == 1
    assert 'there is no folder' in capsys.readouterr().err
