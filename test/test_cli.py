# SPDX-License-Identifier: Apache-2.0
"""The command line: help, one sentence for an error, and the report of `inspect`."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from network_builder import small_detector

from snn_detector_ros.cli.main import COMMANDS, main
from snn_detector_ros.network.model_file import save


@pytest.mark.parametrize('command', COMMANDS)
def test_every_command_has_help(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main([command, '--help'])
    assert stop.value.code == 0
    assert f'snn-detector {command}' in capsys.readouterr().out


def test_errors_are_one_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(['inspect', str(tmp_path / 'absent.onnx')]) == 1
    captured = capsys.readouterr()
    assert captured.err.count('\n') == 1
    assert 'absent.onnx: No such file' in captured.err


@pytest.mark.parametrize('place', ['missing/model.onnx', '.'])
def test_convert_says_first_that_it_cannot_write(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], place: str,
) -> None:
    command = ['convert', str(tmp_path / 'absent.onnx'), '--calibration', str(tmp_path)]
    assert main([*command, '-o', str(tmp_path / place)]) == 1
    assert 'cannot be written' in capsys.readouterr().err


def test_inspect_shows_the_rates_of_calibration(
    tmp_path: Path, capsys: pytest.CaptureFixture[str],
) -> None:
    save(small_detector(), tmp_path / 'model.onnx')
    assert main(['inspect', str(tmp_path / 'model.onnx')]) == 0
    rows = [line for line in capsys.readouterr().out.splitlines() if line.startswith('conv0 ')]
    assert rows[0].endswith(' 0.2500')


def test_inspect_lists_layers_and_rates(
    tmp_path: Path, capsys: pytest.CaptureFixture[str],
) -> None:
    network = small_detector()
    save(network, tmp_path / 'model.onnx')
    noise = np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8)
    cv2.imwrite(str(tmp_path / 'noise.png'), noise)
    assert main(['inspect', str(tmp_path / 'model.onnx'), '--images', str(tmp_path)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert 'linear T=4 burst=12 (Q = 120)' in lines[0]
    for layer in network.layers:
        assert any(line.startswith(f'{layer.name} ') for line in lines), layer.name
    assert 'mean of 1 pictures' in lines[-1]
