# SPDX-License-Identifier: Apache-2.0
"""Several processes do together what one does; ``torchrun`` starts them as on a GPU machine."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

torch = pytest.importorskip('torch', reason='torch is not installed (extra: train)')

from training_pictures import make_pictures  # noqa: E402
from training_without_normalisation import train  # noqa: E402

from snn_detector_ros.errors import ConfigurationError  # noqa: E402
from snn_detector_ros.training.checkpoint import load_checkpoint  # noqa: E402
from snn_detector_ros.training.processes import Processes  # noqa: E402

HERE = Path(__file__).parent
TORCHRUN = (
    sys.executable, '-m', 'torch.distributed.run', '--standalone', '--nproc-per-node', '2')


def torchrun(*command: str) -> None:
    environment = os.environ | {
        'CUDA_VISIBLE_DEVICES': '', 'OMP_NUM_THREADS': '1', 'GLOO_SOCKET_IFNAME': 'lo'}
    result = subprocess.run(
        [*TORCHRUN, *command], env=environment, cwd=HERE, capture_output=True, text=True,
        timeout=300, check=False)
    assert result.returncode == 0, result.stderr[-4000:]


def test_two_processes_learn_what_one_learns(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: False)
    data = make_pictures(tmp_path, 12)
    torchrun(str(HERE / 'training_without_normalisation.py'), str(data), str(tmp_path / 'two'))
    train(data, tmp_path / 'one')
    one, two = (load_checkpoint(tmp_path / run / 'checkpoint.pt') for run in ('one', 'two'))
    assert one['position']['steps'] == two['position']['steps'] == 6
    for name, value in one['model'].items():
        # fp32 sums over a batch in another order, six steps in a row.
        torch.testing.assert_close(two['model'][name], value, rtol=1e-4, atol=1e-5)
    logs = [json.loads((tmp_path / run / 'log.jsonl').read_text().splitlines()[-1])
            for run in ('one', 'two')]
    assert logs[0]['train_loss'] == pytest.approx(logs[1]['train_loss'], rel=1e-3)
    assert logs[0]['val_loss'] == pytest.approx(logs[1]['val_loss'], rel=1e-3)


@pytest.mark.slow
def test_the_command_trains_under_torchrun(tmp_path: Path) -> None:
    data = make_pictures(tmp_path)
    torchrun(
        '-m', 'snn_detector_ros.cli.main', 'train', '--data', str(data), '--out',
        str(tmp_path / 'run'), '--export', str(tmp_path / 'float.onnx'), '--size', '64',
        '--small-size', '64', '--batch', '4', '--workers', '0', '--threads', '1', '--epochs', '2',
        '--model', 'yolov5n-relu', '--spikes', '2,12')
    lines = (tmp_path / 'run' / 'log.jsonl').read_text().splitlines()
    assert [json.loads(line)['epoch'] for line in lines] == [0, 1], 'one process writes the log'
    assert 0 <= json.loads(lines[-1])['map50'] <= 1
    assert (tmp_path / 'float.onnx').exists()


def test_parts_make_up_the_whole_batches() -> None:
    parts = [Processes(rank, 3).part(range(20), 6) for rank in range(3)]
    assert parts[0] == [0, 1, 6, 7, 12, 13]
    for batch in range(3):
        together = [item for part in parts for item in part[2 * batch:2 * batch + 2]]
        assert together == list(range(6 * batch, 6 * batch + 6))


def test_one_process_takes_everything() -> None:
    assert Processes().part(range(5), 4) == [0, 1, 2, 3, 4]


@pytest.mark.parametrize(('batch', 'items'), [(5, 20), (8, 7)])
def test_batches_that_cannot_be_shared_are_refused(batch: int, items: int) -> None:
    with pytest.raises(ConfigurationError, match='choose a multiple of 2 for --batch'):
        Processes(0, 2).part(range(items), batch)
