# SPDX-License-Identifier: Apache-2.0
"""What reaches the driver: addresses, arguments, and one graph a frame. On a driver of our own."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from network_builder import NetworkBuilder

pytest.importorskip('triton', reason='triton is not installed (extra: gpu)')
pytest.importorskip('torch', reason='torch is not installed: Triton interprets on its tensors')

from fake_cuda import FakeCuda, uncompiled  # noqa: E402

from snn_detector_ros.engines import make_engine  # noqa: E402
from snn_detector_ros.engines.gpu import driver, kernel_store, session, usable  # noqa: E402
from snn_detector_ros.engines.gpu.engine import GpuEngine  # noqa: E402
from snn_detector_ros.engines.gpu.kernel_file import KernelFile, load_kernels  # noqa: E402
from snn_detector_ros.engines.picture import Fit  # noqa: E402
from snn_detector_ros.errors import EngineError, ModelFileError  # noqa: E402
from snn_detector_ros.network import IMAGE, SpikeCode, SpikingNetwork  # noqa: E402


@pytest.fixture
def network() -> SpikingNetwork:
    net = NetworkBuilder(0, SpikeCode.linear(4, 12), input_size=(8, 8))
    net.conv(net.conv(IMAGE, 5, 3, 2), 3, readout=True)
    return net.build()


@pytest.fixture
def cuda(monkeypatch: pytest.MonkeyPatch) -> FakeCuda:
    fake = FakeCuda()

    def find_kernels(specs, kernels, arch, model):  # type: ignore[no-untyped-def]
        assert (kernels, arch) == ('triton', 87)
        fake.specs |= {spec.name: spec for spec in specs}
        return {spec.name: uncompiled(spec) for spec in specs}

    monkeypatch.setattr(driver, 'driver_module', lambda: fake)
    monkeypatch.setattr(driver, 'is_installed', lambda: True)
    monkeypatch.setattr(session, 'find_kernels', find_kernels)
    usable._arch.cache_clear()
    yield fake
    usable._arch.cache_clear()


def picture(size: tuple[int, int] = (8, 8), seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8)


def test_the_engine_on_a_driver_equals_the_simulator(
        network: SpikingNetwork, cuda: FakeCuda) -> None:
    engine, simulator = GpuEngine(network), make_engine('simulator', network)
    for seed in (0, 1):
        expected = simulator.run(picture(seed=seed))
        for name, values in engine.run(picture(seed=seed)).items():
            np.testing.assert_array_equal(values, expected[name])
        assert engine.firing().layers == simulator.firing().layers
    for name, levels in engine.levels().items():
        np.testing.assert_array_equal(levels, simulator.levels()[name])


def test_a_frame_is_one_graph_and_one_wait(network: SpikingNetwork, cuda: FakeCuda) -> None:
    engine = GpuEngine(network)
    assert cuda.calls.count('cuLaunchKernel') == 3
    cuda.calls.clear()
    engine.run(picture())
    engine.run(picture())
    assert cuda.calls == 2 * ['cuCtxSetCurrent', 'cuGraphLaunch', 'cuStreamSynchronize']


def test_another_size_of_picture_records_anew_and_gives_memory_back(
        network: SpikingNetwork, cuda: FakeCuda) -> None:
    engine = GpuEngine(network)
    blocks = len(cuda.allocated)
    for size in ((20, 30), (30, 20)):
        engine.run_picture(picture(size), Fit(size, (6, 8) if size[0] < size[1] else (8, 6)))
        assert len(cuda.allocated) == blocks


@pytest.mark.parametrize('name', [
    'cuMemAlloc', 'cuMemcpyHtoD', 'cuMemAllocHost', 'cuStreamBeginCapture', 'cuLaunchKernel',
    'cuGraphInstantiate'])
def test_what_fails_while_it_is_prepared_gives_everything_back(
        network: SpikingNetwork, cuda: FakeCuda, name: str) -> None:
    cuda.failing = name
    with pytest.raises(EngineError, match=f'{name}: out of luck'):
        GpuEngine(network)
    assert cuda.allocated == {}
    assert cuda.calls.count('cuStreamDestroy') == cuda.calls.count('cuStreamCreate')


def test_the_driver_s_words_are_passed_on(network: SpikingNetwork, cuda: FakeCuda) -> None:
    engine = GpuEngine(network)
    cuda.failing = 'cuGraphLaunch'
    with pytest.raises(EngineError, match='cuGraphLaunch: out of luck'):
        engine.run(picture())


@pytest.mark.parametrize(('fake', 'reason'), [
    (FakeCuda(devices=0), 'this machine has no NVIDIA GPU'),
    (FakeCuda(arch=(7, 5)), 'capability 7.5, but the triton kernels need 8.0')])
def test_why_a_gpu_is_not_used(
        network: SpikingNetwork, fake: FakeCuda, reason: str,
        monkeypatch: pytest.MonkeyPatch) -> None:
    usable._arch.cache_clear()
    monkeypatch.setattr(driver, 'driver_module', lambda: fake)
    monkeypatch.setattr(driver, 'is_installed', lambda: True)
    assert reason in str(usable.why_unusable(network, 'triton'))
    usable._arch.cache_clear()


def test_what_a_gpu_needs(
        network: SpikingNetwork, cuda: FakeCuda, monkeypatch: pytest.MonkeyPatch,
        tmp_path: Path) -> None:
    assert usable.why_unusable(network, 'triton') is None
    monkeypatch.setattr(usable, 'has_compiler', lambda kernels: False)
    assert 'no compiler for them' in str(usable.why_unusable(network, 'triton'))
    model = tmp_path / 'model.onnx'
    kernel_store.kernel_path(model, 'triton', 87).touch()
    assert usable.why_unusable(network, 'triton', model) is None


def test_a_real_driver_is_not_needed_to_say_that_there_is_none(network: SpikingNetwork) -> None:
    pytest.importorskip('cuda.bindings', reason='cuda-bindings is not installed (extra: gpu)')
    usable._arch.cache_clear()
    reason = usable.why_unusable(network, 'triton')
    assert reason is None or 'no NVIDIA' in reason


def test_all_functions_exist_in_the_bindings() -> None:
    bindings = pytest.importorskip(
        'cuda.bindings.driver', reason='cuda-bindings is not installed (extra: gpu)')
    names = [name for name in dir(FakeCuda) if name.startswith(('cu', 'CU'))]
    assert len(names) > 20
    for name in names:
        assert hasattr(bindings, name), name
    for table in ('CUdevice_attribute', 'CUfunction_attribute', 'CUstream_flags',
                  'CUstreamCaptureMode'):
        for member in vars(getattr(FakeCuda, table)):
            assert hasattr(getattr(bindings, table), member), member


def test_kernels_come_from_the_file_beside_the_model(
        network: SpikingNetwork, cuda: FakeCuda, tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch) -> None:
    specs = GpuEngine(network)._plan.specs
    model = tmp_path / 'model.onnx'
    path = kernel_store.kernel_path(model, 'triton', 87)
    assert path.name == 'model.triton-sm87.kernels'
    kernels = {spec.name: uncompiled(spec) for spec in specs}
    KernelFile('triton', 87, kernel_store.source_hash('triton'), kernels).save(path)
    monkeypatch.setattr(kernel_store, 'has_compiler', lambda kernels: False)
    found = kernel_store.find_kernels(specs, 'triton', 87, model)
    assert found == kernels
    for arch, source in ((87, 'of another release'), (90, kernel_store.source_hash('triton'))):
        KernelFile('triton', arch, source, kernels).save(path)
        with pytest.raises(
                EngineError, match=r'3 kernels for .* 8\.7 are not in .*snn-detector build'):
            kernel_store.find_kernels(specs, 'triton', 87, model)


def test_a_gpu_without_room_for_another_picture_goes_on_with_the_last(
        network: SpikingNetwork, cuda: FakeCuda) -> None:
    engine = GpuEngine(network)
    before = {name: values.copy() for name, values in engine.run(picture()).items()}
    cuda.failing = 'cuMemAlloc'
    with pytest.raises(EngineError, match='cuMemAlloc: out of luck'):
        engine.run_picture(picture((20, 30)), Fit((20, 30), (6, 8)))
    cuda.failing = None
    for name, values in engine.run(picture()).items():
        np.testing.assert_array_equal(values, before[name])


@pytest.mark.parametrize('content', [b'', b'PK\3\4 something', b'\0' * 100])
def test_a_damaged_file_of_kernels_is_refused(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / 'model.kernels'
    path.write_bytes(content)
    with pytest.raises(ModelFileError, match=r'is no file of kernels .*snn-detector build'):
        load_kernels(path)
    with pytest.raises(ModelFileError, match='No such file'):
        load_kernels(tmp_path / 'none')


def test_a_file_of_kernels_of_another_version_is_refused(tmp_path: Path) -> None:
    import json
    import zipfile

    path = tmp_path / 'model.kernels'
    with zipfile.ZipFile(path, 'w') as archive:
        archive.writestr('kernels.json', json.dumps({'version': 2}))
    with pytest.raises(ModelFileError, match='version 2 of the file is not 1'):
        load_kernels(path)
