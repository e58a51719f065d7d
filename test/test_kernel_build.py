# SPDX-License-Identifier: Apache-2.0
"""The Triton kernels compile for all GPUs named, without one, and use them as they should."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from network_builder import NetworkBuilder, small_signed_detector

pytest.importorskip('triton', reason='triton is not installed (extra: gpu)')

from snn_detector_ros.cli.main import main  # noqa: E402
from snn_detector_ros.engines.gpu.kernel_file import load_kernels  # noqa: E402
from snn_detector_ros.engines.gpu.kernel_store import kernel_path, source_hash  # noqa: E402
from snn_detector_ros.engines.gpu.planner import make_plan  # noqa: E402
from snn_detector_ros.engines.gpu.tiles import TILES  # noqa: E402
from snn_detector_ros.engines.picture import Fit  # noqa: E402
from snn_detector_ros.network import IMAGE, SpikeCode, model_file  # noqa: E402

#: A100, Orin, RTX 40, H100; shared memory that a block may have there, bytes (CUDA C++ Programming
#: Guide, table of compute capabilities).
SHARED_LIMITS = {80: 163 << 10, 87: 163 << 10, 89: 99 << 10, 90: 227 << 10}

#: Compiles each tile of the convolution with everything in it, and the rest once.
SCRIPT = """
import json, sys
from snn_detector_ros.engines.gpu.plan import KernelSpec
from snn_detector_ros.engines.triton.disassembly import read_resources
from snn_detector_ros.engines.triton.kernels import compile_spec
for kernel, constants, warps, stages, arch in json.load(sys.stdin):
    compiled = compile_spec(KernelSpec(kernel, tuple(map(tuple, constants)), warps, stages), arch)
    read = read_resources(compiled.cubin)
    print(json.dumps({
        'kernel': kernel, 'arch': arch, 'mma': read.integer_mma, 'spills': read.spills,
        'registers': read.registers, 'shared': compiled.shared_bytes + read.shared_bytes,
        'ahead': read.instructions.get('LDGSTS', 0), 'threads': compiled.threads,
        'paths': b'/snn_detector_ros/' in compiled.cubin}))
"""


def compiling_environment() -> dict[str, str]:
    """Return an environment in which kernels are not interpreted."""
    return {name: value for name, value in os.environ.items() if name != 'TRITON_INTERPRET'}


def convolution(tile: Any, **options: bool) -> tuple[Any, ...]:
    flags = {'PICTURE': False, 'FIRES': True, 'SIGNED': True, 'RESIDUAL': True, 'COUNTS': True,
             'OTHER': True, 'TAIL': tile.channels >= 32} | options
    constants = {'BLOCK_M': tile.pixels, 'BLOCK_N': tile.channels, 'BLOCK_K': 64} | flags
    return 'convolution', list(constants.items()), tile.warps, tile.stages


def compiled(specs: list[tuple[Any, ...]]) -> list[dict[str, Any]]:
    done = subprocess.run(
        [sys.executable, '-c', SCRIPT], input=json.dumps(specs), text=True, capture_output=True,
        env=compiling_environment())
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def assert_fits(row: dict[str, Any]) -> None:
    print(row)
    assert not row['spills'], row
    assert row['shared'] <= SHARED_LIMITS[row['arch']], row
    # A multiprocessor has 65,536 registers.
    assert row['registers'] * row['threads'] <= 65_536, row
    assert not row['paths'], 'paths of this machine stand in the machine code'


def test_the_convolution_runs_on_tensor_cores_everywhere() -> None:
    rows = compiled([(*convolution(TILES[0]), arch) for arch in SHARED_LIMITS])
    assert [row['arch'] for row in rows] == list(SHARED_LIMITS)
    for row in rows:
        assert_fits(row)
        assert row['mma'] > 0, 'int8 products belong on tensor cores'
        assert row['ahead'] > 0, 'levels should be loaded ahead'


@pytest.mark.slow
@pytest.mark.parametrize('tile', TILES, ids=str)
def test_every_tile_fits(tile: Any) -> None:
    for row in compiled([(*convolution(tile), arch) for arch in SHARED_LIMITS]):
        assert_fits(row)
        assert row['mma'] > 0


def test_a_model_is_built_for_a_robot_without_a_compiler(tmp_path: Path) -> None:
    net = NetworkBuilder(0, SpikeCode.linear(4, 12), input_size=(32, 32))
    deep = net.conv(net.pool(net.conv(IMAGE, 16, 3, 2)), 16)
    net.conv(net.add(deep, 'conv0'), 4, readout=True)
    network, model = net.build(), tmp_path / 'tiny.onnx'
    model_file.save(network, model)
    done = subprocess.run(
        [sys.executable, '-m', 'snn_detector_ros.cli.main', 'build', str(model), '--arch', '87'],
        text=True, capture_output=True, env=compiling_environment())
    assert done.returncode == 0, done.stderr
    path = kernel_path(model, 'triton', 87)
    assert str(path) in done.stdout
    file = load_kernels(path)
    assert (file.compiler, file.arch, file.source) == ('triton', 87, source_hash('triton'))
    for statistics in (True, False):
        plan = make_plan(network, (32, 32), Fit((48, 64), (24, 32), 4, 0), statistics=statistics)
        for launch in plan.launches:
            kernel = file.kernels[launch.spec.name]
            assert kernel.cubin.startswith(b'\x7fELF')
            assert kernel.threads == launch.spec.warps * 32
            assert kernel.symbol == launch.spec.kernel


@pytest.mark.parametrize(('arguments', 'words'), [
    (['--arch', '75'], '--arch 75: the triton kernels need 80 or more'),
    (['--arch', '87', '--input-size', '100', '100'], 'height and width must agree')])
def test_what_cannot_be_built(
    arguments: list[str], words: str, capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(['build', *arguments]) == 1
    assert words in capsys.readouterr().err


def test_levels_that_fit_no_int8_are_refused(
        tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    net = NetworkBuilder(0, SpikeCode.linear(4, 25), input_size=(32, 32))
    net.conv(net.conv(IMAGE, 4), 4, readout=True)
    model_file.save(net.build(), tmp_path / 'fine.onnx')
    assert main(['build', str(tmp_path / 'fine.onnx'), '--arch', '87']) == 1
    assert 'levels up to 250, but tensor cores take int8' in capsys.readouterr().err


def test_interpreted_kernels_are_not_compiled(
        tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """This process interprets: see conftest.py."""
    model_file.save(small_signed_detector(), tmp_path / 'small.onnx')
    assert main(['build', str(tmp_path / 'small.onnx'), '--arch', '90']) == 1
    assert 'unset TRITON_INTERPRET' in capsys.readouterr().err
