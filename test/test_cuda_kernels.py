# SPDX-License-Identifier: Apache-2.0
"""The kernels in CUDA C++ equal the simulator, run by a processor."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from itertools import cycle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cuda_emulation import EmulatedSession, Emulation
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from network_builder import NetworkBuilder, small_detector, small_signed_detector
from numpy.typing import NDArray
from random_graphs import CODES, SIGNED_CODES, SLOPES, networks

from snn_detector_ros.engines.cuda import compiler
from snn_detector_ros.engines.gpu import tiles
from snn_detector_ros.engines.gpu.engine import GpuEngine
from snn_detector_ros.engines.gpu.tiles import TILES, Tile
from snn_detector_ros.engines.picture import Fit, fit_picture
from snn_detector_ros.engines.simulator import SimulatorEngine
from snn_detector_ros.network import IMAGE, Convolution, SpikeCode, SpikingNetwork
from snn_detector_ros.network.validation import MAX_SIGNED_LEVEL

KERNELS = ('convolution', 'relay', 'pooling', 'letterbox')
FITTING_CODES = [code for code in CODES if code.max_level <= MAX_SIGNED_LEVEL]
CODE = SpikeCode.linear(4, 12)
#: Both sets of instructions, both orders of threads, copies as early and as late as can be.
TURING = Emulation(arch=75, backwards=True)
EMULATIONS = {'sm_75': TURING, 'early': Emulation(late=False, backwards=True),
              'late': Emulation()}

needs_gxx = pytest.mark.skipif(shutil.which('g++') is None, reason='g++ is not installed')
needs_nvcc = pytest.mark.skipif(compiler.find_nvcc() is None, reason='nvcc is not installed')


def picture(size: tuple[int, int], seed: int = 0) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8)


def mismatches(
    network: SpikingNetwork, pixels: NDArray[np.uint8], emulation: Emulation = EMULATIONS['late'],
) -> dict[str, Any]:
    """Return where the kernels differ from the simulator, and in how many places."""
    gpu = GpuEngine(network, kernels='cuda',
                    open_session=partial(EmulatedSession, emulation=emulation))
    simulator = SimulatorEngine(network)
    pairs = (gpu.run(pixels), simulator.run(pixels)), (gpu.levels(), simulator.levels())
    found: dict[str, Any] = {name: int((one[name] != two[name]).sum())
                             for one, two in pairs for name in two}
    found |= {f'spikes of {one.name}': (one, two) for one, two in zip(
        gpu.firing().layers, simulator.firing().layers, strict=True) if one != two}
    return {name: difference for name, difference in found.items() if difference}


@needs_gxx
@pytest.mark.parametrize('emulation', EMULATIONS.values(), ids=EMULATIONS)
@pytest.mark.parametrize('make', [small_detector, small_signed_detector])
def test_kernels_equal_the_simulator(
    make: Callable[[], SpikingNetwork], emulation: Emulation,
) -> None:
    network = make()
    assert mismatches(network, picture(network.input_size), emulation) == {}


@needs_gxx
@pytest.mark.parametrize('code', FITTING_CODES, ids=str)
@pytest.mark.parametrize('initial_membrane', ['zero', 'half'])
def test_kernels_equal_the_simulator_for_any_code(code: SpikeCode, initial_membrane: str) -> None:
    network = small_detector(code=code, initial_membrane=initial_membrane)
    assert mismatches(network, picture(network.input_size)) == {}


@needs_gxx
@pytest.mark.parametrize('code', [code for code in SIGNED_CODES if code.steps < 20], ids=str)
def test_kernels_equal_the_simulator_for_any_code_of_signed_neurons(code: SpikeCode) -> None:
    network = small_signed_detector(code=code)
    assert mismatches(network, picture(network.input_size)) == {}


@needs_gxx
@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(network=networks(slopes=SLOPES), seed=st.integers(0, 99))
def test_kernels_equal_the_simulator_on_random_graphs(network: SpikingNetwork, seed: int) -> None:
    assert mismatches(network, picture(network.input_size, seed)) == {}


@needs_gxx
@pytest.mark.parametrize(('tile', 'emulation'), zip(TILES, cycle(EMULATIONS.values())),
                         ids=lambda value: str(value) if isinstance(value, Tile) else '')
def test_every_tile_computes_the_same(
    tile: Tile, emulation: Emulation, monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(tiles, 'TILES', (tile,))
    network = wide_network()
    assert mismatches(network, picture(network.input_size), emulation) == {}


def wide_network() -> SpikingNetwork:
    """Return one with enough channels for every tile, too many for some, and odd sizes."""
    net = NetworkBuilder(0, CODE, input_size=(23, 15))
    stem = net.conv(net.conv(IMAGE, 33, 3, 2), 70)
    residual = net.add(stem, net.conv(net.conv(stem, 37, slope=0.3), 70, 3))
    net.conv(net.upsample(residual), 75, 1, 2, readout=True)
    return net.build()


def with_last(network: NetworkBuilder, **changes: Any) -> SpikingNetwork:
    """Return a network whose last but one layer, a convolution, is changed."""
    changed = network.layers[-2]
    assert isinstance(changed, Convolution)
    network.layers[-2] = replace(changed, **changes)
    return network.build()


def one_convolution(slope: float = 0.0, **options: Any) -> NetworkBuilder:
    net = NetworkBuilder(1, CODE, input_size=(19, 13))
    net.conv(net.conv(net.conv(IMAGE, 21, 3), 11, slope=slope, **options), 3, readout=True)
    return net


CONVOLUTIONS = {
    'stride': one_convolution(kernel=5, stride=2).build(),
    'asymmetrical padding': with_last(one_convolution(kernel=3), padding=(2, 0, 1, 2)),
    'large window and padding': with_last(
        one_convolution(kernel=7), padding=(6, 5, 4, 3)),
    'saturated': with_last(
        one_convolution(), weight=np.full((11, 21, 1, 1), 127, np.int8),
        threshold=np.ones(11, np.int32)),
    'saturated below zero': with_last(
        one_convolution(slope=1.0), weight=np.full((11, 21, 1, 1), -127, np.int8),
        threshold=np.ones(11, np.int32)),
    'quiet': with_last(one_convolution(), bias=np.full(11, -(1 << 20), np.int32)),
    'no weights': with_last(one_convolution(), weight=np.zeros((11, 21, 1, 1), np.int8)),
}


@needs_gxx
@pytest.mark.parametrize('arch', [75, 80])
@pytest.mark.parametrize('network', CONVOLUTIONS.values(), ids=CONVOLUTIONS)
def test_convolutions_equal_the_simulator(network: SpikingNetwork, arch: int) -> None:
    assert mismatches(network, picture(network.input_size), Emulation(arch)) == {}


@needs_gxx
@pytest.mark.parametrize('value', [0, 255])
def test_extreme_pictures(value: int) -> None:
    pixels = np.full((19, 13, 3), value, np.uint8)
    assert mismatches(CONVOLUTIONS['asymmetrical padding'], pixels) == {}


@needs_gxx
def test_levels_of_the_cases_reach_the_limits() -> None:
    reached = {}
    for name in ('saturated', 'saturated below zero', 'quiet'):
        engine = SimulatorEngine(CONVOLUTIONS[name])
        engine.run(picture((19, 13)))
        levels = engine.levels()[CONVOLUTIONS[name].layers[1].name]
        reached[name] = int(levels.min()), int(levels.max())
    top = CODE.max_level
    assert reached == {'saturated': (top, top), 'saturated below zero': (-top, -top),
                       'quiet': (0, 0)}


@needs_gxx
@pytest.mark.parametrize('colour', ['bgr', 'rgb', 'mono'])
@pytest.mark.parametrize('kernel', [3, 6], ids=['pixels', 'blocks'])
def test_the_picture_is_fitted_as_on_a_cpu(colour: str, kernel: int) -> None:
    net = NetworkBuilder(0, CODE, input_size=(24, 32))
    net.conv(net.conv(IMAGE, 5, kernel, 1 + kernel // 6, padding=2), 4, readout=True)
    network = net.build()
    fit = Fit((31, 45), (20, 29), top=3, left=2, colour=colour, padding=114)
    image = picture(fit.source_size)[..., :fit.source_channels]
    gpu = GpuEngine(network, kernels='cuda', open_session=EmulatedSession)
    expected = SimulatorEngine(network).run(fit_picture(image, fit, network.input_size))

    found = gpu.run_picture(image, fit)

    for name, values in expected.items():
        np.testing.assert_array_equal(found[name], values)


#: What a kernel must not lack, and what it has instead.
MISTAKES = {
    'fewer copies are waited for': ('wait_for_copies<STAGES - 2>', 'wait_for_copies<STAGES - 1>'),
    'no barrier before a stage is read': (
        '__syncthreads();  // all copies of this block are there', '// '),
    'no barrier before membranes overwrite stages': (
        '    __syncthreads();\n    int level[LEVELS];', '    int level[LEVELS];'),
    'no barrier before membranes are read': (
        '    __syncthreads();\n#pragma unroll\n    for (int i = 0; i < LEVELS; i++)\n        mine',
        '    for (int i = 0; i < LEVELS; i++)\n        mine'),
    'no barrier before spikes are added': (
        '        __syncthreads();\n        atomicAdd', '        atomicAdd'),
    'no barrier before sums are read': (
        '        __syncthreads();\n        if (threadIdx.x', '        if (threadIdx.x'),
}


@needs_gxx
@pytest.mark.parametrize(('right', 'wrong'), MISTAKES.values(), ids=MISTAKES)
def test_the_emulation_notices_mistakes(right: str, wrong: str, tmp_path: Path) -> None:
    text = compiler.SOURCE.read_text()
    assert text.count(right) == 1
    broken = tmp_path / 'kernels.cu'
    broken.write_text(text.replace(right, wrong))
    network = CONVOLUTIONS['stride']
    assert any(mismatches(network, picture(network.input_size), replace(emulation, kernels=broken))
               for emulation in EMULATIONS.values())


SANITIZED = """
from test_cuda_kernels import *
emulation = Emulation(sanitizers='address,undefined')
for network in (small_detector(), small_signed_detector()):
    assert mismatches(network, picture(network.input_size), emulation) == {}
"""


@needs_gxx
@pytest.mark.slow
def test_kernels_stay_within_their_memory() -> None:
    found = subprocess.run(['g++', '-print-file-name=libasan.so'], capture_output=True, text=True)
    if not Path(found.stdout.strip()).is_absolute():
        pytest.skip('the address sanitizer of g++ is not installed')
    result = subprocess.run(
        [sys.executable, '-c', SANITIZED], cwd=Path(__file__).parent, capture_output=True,
        text=True, env=os.environ | {
            'LD_PRELOAD': found.stdout.strip(), 'ASAN_OPTIONS': 'detect_leaks=0'})
    assert result.returncode == 0, result.stderr[-4000:]
