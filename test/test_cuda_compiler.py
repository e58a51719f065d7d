# SPDX-License-Identifier: Apache-2.0
"""The kernels in CUDA C++ and nvcc: which tiles fit, and what machine code they give."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from snn_detector_ros.engines.cuda import compiler
from snn_detector_ros.engines.cuda.compiler import compile_spec, definitions, parameters
from snn_detector_ros.engines.gpu.parameters import type_of
from snn_detector_ros.engines.gpu.plan import KernelSpec
from snn_detector_ros.engines.gpu.tiles import DEPTHS, TILES, Tile
from snn_detector_ros.errors import EngineError

KERNELS = ('convolution', 'relay', 'pooling', 'letterbox')

needs_nvcc = pytest.mark.skipif(compiler.find_nvcc() is None, reason='nvcc is not installed')


@pytest.mark.parametrize('kernel', KERNELS)
def test_parameters_are_those_of_the_triton_kernels(kernel: str) -> None:
    table = pytest.importorskip('snn_detector_ros.engines.triton.kernels',
                                reason='triton is not installed (extra: gpu)')
    found = parameters(kernel)
    # Constants are in capitals; these kernels let no convolution follow another.
    assert list(found) == [name for name in table.KERNELS[kernel].arg_names
                           if name.islower() and not name.startswith('tail_')]
    assert found == {name: type_of(name) for name in found}


def convolution(tile: Tile, depth: int = 64, **constants: int) -> KernelSpec:
    names = dict.fromkeys(('PICTURE', 'FIRES', 'SIGNED', 'RESIDUAL', 'COUNTS', 'OTHER'), 1)
    values = {'BLOCK_M': tile.pixels, 'BLOCK_N': tile.channels, 'BLOCK_K': depth,
              **names, **constants}
    return KernelSpec('convolution', tuple(values.items()), tile.warps, tile.stages)


POOLING = KernelSpec('pooling', (('BLOCK_M', 32), ('BLOCK_N', 32), ('CHAIN', 3), ('COUNTS', True),
                                 ('OTHER', False)))
RELAY = KernelSpec('relay', (('BLOCK_M', 32), ('BLOCK_N', 32), ('RESIDUAL', True),
                             ('COUNTS', True), ('OTHER', True)))
LETTERBOX = KernelSpec('letterbox', (('BLOCK_M', 256), ('BLOCKS', True)))


@pytest.mark.parametrize('arch', [75, 80])
def test_all_tiles_of_the_planner_are_taken_with_all_their_warps(arch: int) -> None:
    for tile in TILES:
        for depth in DEPTHS:
            assert definitions(convolution(tile, depth), arch)['THREADS'] == 32 * tile.warps


@pytest.mark.parametrize(('tile', 'arch', 'warps', 'stages'), [
    (Tile(32, 16, 4, 3), 80, 2, 3),
    (Tile(32, 32, 16, 3), 80, 4, 3),
    (Tile(128, 64, 8, 9), 80, 8, 3),
    (Tile(64, 32, 4, 1), 80, 4, 2),
    (Tile(64, 32, 4, 4), 75, 4, 2),
])
def test_a_tile_gets_the_warps_and_stages_that_it_has_room_for(
    tile: Tile, arch: int, warps: int, stages: int,
) -> None:
    defined = definitions(convolution(tile), arch)
    assert (defined['THREADS'], defined['STAGES']) == (32 * warps, stages)


@pytest.mark.parametrize(
    'tile', [Tile(256, 128, 8, 3), Tile(8, 32, 1, 2), Tile(32, 8, 1, 2)], ids=str)
def test_a_tile_that_cannot_be_used_is_refused(tile: Tile) -> None:
    with pytest.raises(EngineError, match=f'{tile.pixels}x{tile.channels}x64'):
        definitions(convolution(tile), 80)


def test_a_convolution_that_follows_another_is_refused() -> None:
    with pytest.raises(EngineError, match='without tails'):
        definitions(convolution(TILES[0], TAIL=1), 80)


def test_a_missing_compiler_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv('PATH', str(tmp_path))
    monkeypatch.setenv('CUDA_HOME', str(tmp_path))
    with pytest.raises(EngineError, match='nvcc.*CUDA toolkit'):
        compile_spec(POOLING, 87)


def test_the_compiler_is_found_in_the_toolkit(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path,
) -> None:
    nvcc = tmp_path / 'bin' / 'nvcc'
    nvcc.parent.mkdir()
    nvcc.write_text('#!/bin/sh\n')
    nvcc.chmod(0o755)
    monkeypatch.setenv('PATH', str(tmp_path))
    monkeypatch.setenv('CUDA_HOME', str(tmp_path))
    assert compiler.find_nvcc() == str(nvcc)


@needs_nvcc
def test_an_unknown_gpu_is_named() -> None:
    with pytest.raises(EngineError, match='compute capability 1.1'):
        compile_spec(POOLING, 11)


def check_machine_code(spec: KernelSpec, arch: int) -> None:
    disassembly = pytest.importorskip('snn_detector_ros.engines.triton.disassembly')
    pytest.importorskip('triton', reason='triton is not installed (extra: gpu)')
    kernel = compile_spec(spec, arch)
    found = disassembly.read_resources(kernel.cubin)
    print(f'sm_{arch} {spec.name}: {found.registers} registers, {found.shared_bytes} bytes shared, '
          f'{found.integer_mma} integer mma')
    assert not found.spills
    assert (found.integer_mma > 0) == (spec.kernel == 'convolution')
    assert found.shared_bytes + kernel.shared_bytes <= compiler.SHARED_BYTES
    assert found.registers * kernel.threads <= 1 << 16
    assert kernel.parameters == tuple(parameters(spec.kernel))


def skip_unknown(arch: int) -> None:
    nvcc = compiler.find_nvcc()
    assert nvcc is not None
    known = subprocess.run([nvcc, '--list-gpu-arch'], capture_output=True, text=True).stdout
    if f'compute_{arch}\n' not in known:
        pytest.skip(f'this nvcc cannot compile for compute capability {arch / 10}')


ARCHITECTURES = (75, 80, 87, 89, 90)


@needs_nvcc
@pytest.mark.parametrize('arch', ARCHITECTURES)
def test_machine_code_uses_tensor_cores_and_does_not_spill(arch: int) -> None:
    skip_unknown(arch)
    check_machine_code(convolution(TILES[-1]), arch)


@needs_nvcc
@pytest.mark.slow
@pytest.mark.parametrize('arch', ARCHITECTURES)
def test_machine_code_of_all_tiles_and_kernels(arch: int) -> None:
    skip_unknown(arch)
    for spec in (*map(convolution, TILES), POOLING, RELAY, LETTERBOX):
        check_machine_code(spec, arch)
