# SPDX-License-Identifier: Apache-2.0
"""Which engine runs, and why."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from lif_builder import small_lif_detector
from network_builder import small_detector
from numpy.typing import NDArray

from snn_detector_ros import Detector
from snn_detector_ros.engines import EngineOptions, choose_engine, make_engine
from snn_detector_ros.engines.select import AS_ASKED, GPU_ENGINES
from snn_detector_ros.engines.simulator import SimulatorEngine
from snn_detector_ros.errors import ConfigurationError, EngineError
from snn_detector_ros.network import SpikeCode, SpikingNetwork
from snn_detector_ros.network.model_file import save

DEFAULTS = EngineOptions()
GPU = 'snn_detector_ros.engines.gpu'


class GpuStandIn:
    """Takes what the engine on the GPU takes, and keeps it."""

    def __init__(self, network: SpikingNetwork, *, kernels: str, **options: Any) -> None:
        self.network, self.name, self.options = network, kernels, options
        self.input_size = options['input_size'] or network.input_size
        self._simulator = SimulatorEngine(network, input_size=self.input_size)

    def run(self, pixels: NDArray[np.uint8]) -> dict[str, NDArray[np.int32]]:
        return self._simulator.run(pixels)


class WrongGpu(GpuStandIn):
    """Computes something else, by little."""

    def run(self, pixels: NDArray[np.uint8]) -> dict[str, NDArray[np.int32]]:
        readouts = super().run(pixels)
        next(iter(readouts.values()))[0, 0, 0] += 1
        return readouts


def broken_gpu(*_: Any, **__: Any) -> None:
    raise EngineError('the GPU has no memory left')


def install_gpu(monkeypatch: pytest.MonkeyPatch, obstacle: str | None,
                engine: Any = GpuStandIn) -> None:
    """Let the engine on the GPU be another one, which `obstacle` keeps from being used."""
    usable, module = ModuleType(f'{GPU}.usable'), ModuleType(f'{GPU}.engine')
    usable.why_unusable = lambda network, kernels, model: obstacle  # type: ignore[attr-defined]
    module.GpuEngine = engine  # type: ignore[attr-defined]
    for stand_in in (usable, module):
        monkeypatch.setitem(sys.modules, stand_in.__name__, stand_in)


def test_auto_takes_a_gpu_that_can_be_used(monkeypatch: pytest.MonkeyPatch) -> None:
    install_gpu(monkeypatch, None)
    choice = choose_engine('auto', small_detector(), replace(
        DEFAULTS, input_size=(48, 64), statistics=False, model_path=Path('a.onnx')))
    assert choice.engine.name == 'triton'
    assert choice.reason == 'auto: the GPU gives the results of the CPU'
    assert choice.engine.options == {  # type: ignore[attr-defined]
        'input_size': (48, 64), 'statistics': False, 'model_path': Path('a.onnx')}


@pytest.mark.parametrize(('obstacle', 'engine', 'said'), [
    ('no NVIDIA driver is installed', GpuStandIn, 'no NVIDIA driver is installed'),
    (None, broken_gpu, 'the GPU has no memory left'),
    (None, WrongGpu, 'the GPU gives other results than the CPU')],
    ids=['unusable', 'broken', 'wrong'])
def test_auto_takes_the_cpu_where_no_gpu_serves(
    monkeypatch: pytest.MonkeyPatch, obstacle: str | None, engine: Any, said: str,
) -> None:
    install_gpu(monkeypatch, obstacle, engine)
    choice = choose_engine('auto', small_detector(), DEFAULTS)
    assert choice.engine.name == 'onnxruntime'
    assert choice.reason == f'auto: {said}, so ONNX Runtime on the CPU'


@pytest.mark.parametrize('name', GPU_ENGINES)
def test_a_gpu_that_was_asked_for_is_taken_or_refused(
    monkeypatch: pytest.MonkeyPatch, name: str,
) -> None:
    install_gpu(monkeypatch, None)
    choice = choose_engine(name, small_detector(), DEFAULTS)
    assert (choice.engine.name, choice.reason) == (name, AS_ASKED)
    install_gpu(monkeypatch, 'no NVIDIA driver is installed')
    with pytest.raises(EngineError, match=f'`{name}` cannot be used: no NVIDIA driver is installed;'
                                          ' choose the engine `auto`'):
        choose_engine(name, small_detector(), DEFAULTS)


def test_other_networks_keep_their_own_engines_beside_a_gpu(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    install_gpu(monkeypatch, None)
    trained = choose_engine('auto', small_lif_detector(), DEFAULTS)
    assert trained.engine.name == 'onnxruntime'
    assert trained.reason.startswith('auto: networks that were trained with spikes')
    network = replace(small_detector(code=SpikeCode.constant(8)), dynamics='concurrent')
    concurrent = choose_engine('auto', network, DEFAULTS)
    assert concurrent.engine.name == 'concurrent'
    assert concurrent.reason.startswith('auto: the neurons of this network fire while')
    accelerated = make_engine('triton', network)
    assert accelerated.name == 'triton (accelerated, not the concurrent dynamics)'
    with pytest.raises(ConfigurationError, match='`triton`: .* was trained with spikes'):
        make_engine('triton', small_lif_detector())


@pytest.mark.parametrize('name', ['simulator', 'onnxruntime'])
def test_a_named_engine_is_as_asked(name: str) -> None:
    choice = choose_engine(name, small_detector(), DEFAULTS)
    assert (choice.engine.name, choice.reason) == (name, AS_ASKED)


def test_a_detector_passes_its_file_on_and_says_why(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path,
) -> None:
    path = tmp_path / 'small.onnx'
    save(small_detector(), path)
    made: list[dict[str, Any]] = []

    def make(network: SpikingNetwork, **options: Any) -> GpuStandIn:
        made.append(options)
        return GpuStandIn(network, **options)

    install_gpu(monkeypatch, None, make)
    detector = Detector(path, engine='cuda')
    assert (detector.engine_name, detector.engine_reason) == ('cuda', AS_ASKED)
    assert made[0]['model_path'] == path
    install_gpu(monkeypatch, 'PyTorch is not installed')
    detector = Detector(path)
    assert detector.engine_name == 'onnxruntime'
    assert 'PyTorch is not installed' in detector.engine_reason
