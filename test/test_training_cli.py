# SPDX-License-Identifier: Apache-2.0
"""``snn-detector train`` from options to files, and what it refuses."""

import argparse
import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from snn_detector_ros.cli import train
from snn_detector_ros.errors import ConfigurationError, MissingDependencyError


def parse(*options: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    train.add_arguments(parser)
    return parser.parse_args(options)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Ten pictures with one rectangle each, the same for training and validation."""
    random = np.random.default_rng(0)
    for folder in ('images', 'labels'):
        (tmp_path / folder).mkdir()
    for k in range(10):
        x, y, w, h = (int(v) for v in random.integers(8, 28, 4))
        image = random.integers(0, 60, (64, 64, 3), np.uint8)
        image[y:y + h, x:x + w] = 230
        cv2.imwrite(str(tmp_path / 'images' / f'{k}.png'), image)
        box = np.array([x + w / 2, y + h / 2, w, h]) / 64
        (tmp_path / 'labels' / f'{k}.txt').write_text(f'{k % 2} ' + ' '.join(map(str, box)))
    (tmp_path / 'data.yaml').write_text('train: images\nval: images\nnames: [light, bright]\n')
    return tmp_path / 'data.yaml'


def test_train_then_resume_writes_the_run(data: Path) -> None:
    pytest.importorskip('torch', reason='torch is not installed (extra: train)')
    onnx = pytest.importorskip('onnx', reason='onnx is not installed (extra: train)')
    out, exported = data.parent / 'run', data.parent / 'float.onnx'
    options = (
        '--data', str(data), '--out', str(out), '--export', str(exported), '--size', '64',
        '--small-size', '64', '--batch', '5', '--workers', '0', '--threads', '1',
        '--provenance', 'made by the test')
    assert train.run(parse(*options, '--epochs', '1')) == 0
    with pytest.raises(ConfigurationError, match='holds a run; add --resume'):
        train.run(parse(*options))
    with pytest.raises(ConfigurationError, match='size is 64, not 96'):
        train.run(parse(*options, '--size', '96', '--resume'))
    exported.unlink()
    assert train.run(parse(*options, '--epochs', '1', '--resume')) == 0
    records = [json.loads(line) for line in (out / 'log.jsonl').read_text().splitlines()]
    assert [record['epoch'] for record in records] == [0]
    assert 0 <= records[0]['map50'] <= 1
    metadata = {p.key: json.loads(p.value) for p in onnx.load(str(exported)).metadata_props}
    assert metadata['names'] == ['light', 'bright']
    assert metadata['training']['data'] == 'made by the test'
    assert metadata['training']['options']['batch'] == 5
    assert str(data.parent) not in str(metadata), 'provenance must not name local paths'


@pytest.mark.parametrize(('options', 'words'), [
    (('--size', '100'), '--size 100 is not a multiple of 32'),
    (('--small-size', '0'), '--small-size 0 is not'),
    (('--mosaic', '1.5'), '--mosaic 1.5 is not in 0..1'),
    (('--batch', '0'), '--batch 0 must be at least 1'),
])
def test_options_that_cannot_work_are_refused(
        tmp_path: Path, options: tuple[str, ...], words: str,
        monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(train, 'REQUIRED', ())
    with pytest.raises(ConfigurationError, match=words):
        train.run(parse('--data', 'x', '--out', str(tmp_path), *options))


def test_missing_torch_names_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(train, 'find_spec', lambda module: None)
    with pytest.raises(MissingDependencyError, match='torch') as error:
        train.run(parse('--data', 'x', '--out', str(tmp_path)))
    assert 'train' in str(error.value)
