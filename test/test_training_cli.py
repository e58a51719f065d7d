# SPDX-License-Identifier: Apache-2.0
"""``snn-detector train`` from options to files, and what it refuses."""

import argparse
import json
from pathlib import Path

import pytest
from training_pictures import make_pictures

from snn_detector_ros.cli import run_options, train
from snn_detector_ros.errors import ConfigurationError, MissingDependencyError
from snn_detector_ros.network import SpikeCode
from snn_detector_ros.network.model_file import load


def parse(*options: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    train.add_arguments(parser)
    return parser.parse_args(options)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return make_pictures(tmp_path)


def test_train_then_resume_writes_the_run(data: Path) -> None:
    pytest.importorskip('torch', reason='torch is not installed (extra: train)')
    onnx = pytest.importorskip('onnx', reason='onnx is not installed (extra: train)')
    out, exported = data.parent / 'run', data.parent / 'float.onnx'
    options = (
        '--data', str(data), '--out', str(out), '--export', str(exported), '--size', '64',
        '--small-size', '64', '--batch', '5', '--workers', '0', '--threads', '1',
        '--provenance', 'made by the test')
    with pytest.raises(ConfigurationError, match='does not exist; start without --resume'):
        train.run(parse(*options, '--resume'))
    assert train.run(parse(*options, '--epochs', '1')) == 0
    with pytest.raises(ConfigurationError, match='holds a run; add --resume'):
        train.run(parse(*options))
    with pytest.raises(ConfigurationError, match='size is 64, not 96'):
        train.run(parse(*options, '--size', '96', '--resume'))
    exported.unlink()
    # The folder of a data.yaml stands for it.
    assert train.run(parse(
        *options, '--epochs', '1', '--resume', '--data', str(data.parent))) == 0
    records = [json.loads(line) for line in (out / 'log.jsonl').read_text().splitlines()]
    assert [record['epoch'] for record in records] == [0]
    assert 0 <= records[0]['map50'] <= 1
    metadata = {p.key: json.loads(p.value) for p in onnx.load(str(exported)).metadata_props}
    assert metadata['names'] == ['light', 'bright']
    assert metadata['training']['data'] == 'made by the test'
    assert metadata['training']['options']['batch'] == 5
    assert str(data.parent) not in str(metadata), 'provenance must not name local paths'


def test_a_run_for_spikes_is_scored_as_spikes(data: Path) -> None:
    pytest.importorskip('torch', reason='torch is not installed (extra: train)')
    onnx = pytest.importorskip('onnx', reason='onnx is not installed (extra: train)')
    out, exported = data.parent / 'run', data.parent / 'float.onnx'
    options = (
        '--data', str(data), '--out', str(out), '--export', str(exported), '--size', '64',
        '--small-size', '64', '--batch', '5', '--workers', '0', '--threads', '1',
        '--model', 'tiny-yolo-leaky', '--epochs', '1', '--multi-scale', '0.5')
    assert train.run(parse(
        *options, '--spikes', '2,12', '--percentile', '99.9', '--firing-penalty', '0.01')) == 0
    record = json.loads((out / 'log.jsonl').read_text())
    assert 0 < record['mean_level'] < 36
    assert 0 < record['firing_rate'] < 12
    assert load(out / 'average_spikes.onnx').code == SpikeCode.linear(2, 12)
    operators = {node.op_type for node in onnx.load(str(exported)).graph.node}
    assert 'LeakyRelu' in operators and 'Round' not in operators
    with pytest.raises(ConfigurationError, match=r'spikes is \[2, 12\], not None'):
        train.run(parse(*options, '--resume'))


def test_coco_files_train_with_their_own_validation_part(data: Path) -> None:
    pytest.importorskip('torch', reason='torch is not installed (extra: train)')
    file = data.parent / 'instances.json'
    file.write_text(json.dumps({
        'categories': [{'id': 3, 'name': 'thing'}],
        'images': [{'id': k, 'file_name': f'{k}.png'} for k in range(6)],
        'annotations': [
            {'id': 10 * k + j, 'image_id': k, 'category_id': 3, 'bbox': [4 * j, 8, 12 + j, 9 + k]}
            for k in range(6) for j in range(2)]}))
    options = (
        '--data', str(file), '--images', str(data.parent / 'images'), '--out',
        str(data.parent / 'run'), '--model', 'tiny-yolo-relu', '--size', '64', '--small-size',
        '64', '--batch', '6', '--workers', '0', '--epochs', '1', '--threads', '1', '--no-cache')
    with pytest.raises(ConfigurationError, match='no validation part; name it with --val'):
        train.run(parse(*options))
    with pytest.raises(ConfigurationError, match='classes light, bright, but .* thing; label'):
        train.run(parse(*options, '--val', str(data)))
    assert train.run(parse(
        *options, '--val', str(file), '--val-images', str(data.parent / 'images'))) == 0
    assert 'ap50_thing' in json.loads((data.parent / 'run' / 'log.jsonl').read_text())


def test_the_names_of_the_models_are_those_of_the_table() -> None:
    pytest.importorskip('torch', reason='torch is not installed (extra: train)')
    from snn_detector_ros.training.models import MODELS

    assert train.MODEL_NAMES == tuple(MODELS)


@pytest.mark.parametrize('text', ['4', '4,', 'a,b', '1,2,3'])
def test_a_code_is_two_numbers(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parse('--data', 'x', '--out', 'y', '--spikes', text)
    assert 'is not like 4,12' in capsys.readouterr().err


@pytest.mark.parametrize(('options', 'words'), [
    (('--multi-scale', '1'), '--multi-scale 1.0 is not in 0..0.9'),
    (('--firing-penalty', '0.1'), 'of use with --spikes only'),
    (('--percentile', '99'), 'of use with --spikes only'),
    (('--size', '100'), '--size 100 is not a multiple of 32'),
    (('--small-size', '0'), '--small-size 0 is not'),
    (('--mosaic', '1.5'), '--mosaic 1.5 is not in 0..1'),
    (('--batch', '0'), '--batch 0 is not in 1..65536'),
    (('--learning-rate', 'nan'), '--learning-rate nan is not in 0..10'),
    (('--seed', '-1'), '--seed -1 is not in'),
    (('--threads', '-1'), '--threads -1 is not in'),
    (('--workers', '-1'), '--workers -1 is not in'),
    (('--time-limit', '0'), '--time-limit 0.0 is not in'),
    (('--size', '99999999968'), '--size 99999999968 is not a multiple of 32 px up to'),
    (('--spikes', '0,12'), '0 time steps'),
    (('--export', 'nowhere/float.onnx'), 'no folder nowhere'),
])
def test_options_that_cannot_work_are_refused(
        tmp_path: Path, options: tuple[str, ...], words: str) -> None:
    with pytest.raises(ConfigurationError, match=words):
        train.run(parse('--data', 'x', '--out', str(tmp_path), *options))


def test_missing_torch_names_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_options, 'find_spec', lambda module: None)
    with pytest.raises(MissingDependencyError, match='torch') as error:
        train.run(parse('--data', 'x', '--out', str(tmp_path)))
    assert 'train' in str(error.value)
