# SPDX-License-Identifier: Apache-2.0
"""What of the GPU's benchmark needs no GPU; times are those of a clock of our own."""

from __future__ import annotations

import ctypes
import json
import math
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from network_builder import NetworkBuilder

torch = pytest.importorskip('torch', reason='torch is not installed (extra: train)')
pytest.importorskip('triton', reason='triton is not installed (extra: gpu)')

from fake_cuda import FakeCuda, uncompiled  # noqa: E402

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks import gpu, gpu_launches, report  # noqa: E402
from benchmarks.contestants import SPIKINGJELLY  # noqa: E402
from benchmarks.gpu_contestants import (  # noqa: E402
    ONNX_CUDA,
    OURS,
    TENSORRT,
    TORCH,
    Ours,
    opponents,
)
from benchmarks.gpu_launches import LaunchTime, repeated, time_launches  # noqa: E402
from benchmarks.results import GpuRace  # noqa: E402
from benchmarks.roofline import Gpu, Work  # noqa: E402
from benchmarks.subjects import Subject, picture  # noqa: E402
from benchmarks.timing import Contestant, GpuSummary, race_on_gpu  # noqa: E402
from snn_detector_ros.conversion import dequantise  # noqa: E402
from snn_detector_ros.engines import make_engine  # noqa: E402
from snn_detector_ros.engines.gpu import driver, session, usable  # noqa: E402
from snn_detector_ros.engines.gpu.engine import GpuEngine  # noqa: E402
from snn_detector_ros.engines.gpu.planner import make_plan  # noqa: E402
from snn_detector_ros.engines.gpu.session import GpuSessions  # noqa: E402
from snn_detector_ros.engines.picture import Fit  # noqa: E402
from snn_detector_ros.errors import EngineError  # noqa: E402
from snn_detector_ros.network import IMAGE, SpikeCode, SpikingNetwork  # noqa: E402
from snn_detector_ros.network.model_file import save  # noqa: E402

SIZE = 8


class TimedCuda(FakeCuda):
    """
    Adds events: each item of a graph takes 1 ms, and so does a copy of a byte.

    Between two events, graphs take their time but compute nothing: the interpreter is slow.
    """

    now = 0.0
    timing = False

    def cuDriverGetVersion(self) -> int:  # noqa: N802
        return 13000

    def cuEventCreate(self, flags: int) -> list[float]:  # noqa: N802
        return []

    def cuEventRecord(self, event: list[float], stream: str) -> None:  # noqa: N802
        event.append(self.now)
        self.timing = not self.timing

    def cuEventElapsedTime(self, start: list[float], end: list[float]) -> float:  # noqa: N802
        return end[-1] - start[-1]

    def cuEventDestroy(self, event: list[float]) -> None: ...  # noqa: N802

    def cuMemcpyDtoDAsync(self, target: int, source: int, size: int, stream: str) -> None:  # noqa: N802
        ctypes.memmove(target, source, size)
        self.now += size

    def cuGraphLaunch(self, graph: list[Any], stream: str) -> None:  # noqa: N802
        if not self.timing:
            super().cuGraphLaunch(graph, stream)
        self.now += len(graph)


@pytest.fixture
def network() -> SpikingNetwork:
    net = NetworkBuilder(0, SpikeCode.linear(4, 12), input_size=(SIZE, SIZE))
    net.conv(net.conv(IMAGE, 5, 3, 2), 14, readout=True)
    return net.build(head=True)


@pytest.fixture
def cuda(monkeypatch: pytest.MonkeyPatch) -> Iterator[TimedCuda]:
    fake = TimedCuda()

    def find_kernels(specs, kernels, arch, model):  # type: ignore[no-untyped-def]
        fake.specs |= {spec.name: spec for spec in specs}
        return {spec.name: uncompiled(spec) for spec in specs}

    monkeypatch.setattr(driver, 'driver_module', lambda: fake)
    monkeypatch.setattr(driver, 'is_installed', lambda: True)
    monkeypatch.setattr(session, 'find_kernels', find_kernels)
    monkeypatch.setattr(usable, 'has_compiler', lambda kernels: kernels == 'triton')
    monkeypatch.setattr(gpu_launches, 'REPEATS', 3)
    monkeypatch.setattr(gpu_launches, 'COPY_BYTES', 1000)
    usable._arch.cache_clear()
    yield fake
    usable._arch.cache_clear()


def run_main(network: SpikingNetwork, folder: Path) -> int:
    save(network, folder / 'tiny.onnx')
    return gpu.main(['--model', str(folder / 'tiny.onnx'), '--sizes', str(SIZE), '--rounds', '1',
                     '--pictures', '2', '--json', str(folder / 'results' / 'gpu.json')])


def test_without_a_gpu_there_is_one_sentence_and_no_result(
        network: SpikingNetwork, cuda: TimedCuda, tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(driver, 'driver_module', lambda: TimedCuda(devices=0))
    assert run_main(network, tmp_path) == 1
    printed = capsys.readouterr()
    assert (printed.out, printed.err) == ('', 'benchmark: this machine has no NVIDIA GPU\n')
    assert not (tmp_path / 'results').exists()


def test_the_whole_benchmark_on_a_driver_of_our_own(
        network: SpikingNetwork, cuda: TimedCuda, tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(gpu, 'opponents', lambda *_: (
        {TORCH: Contestant(lambda: 12.0)}, {TENSORRT: 'not here'}))
    assert run_main(network, tmp_path) == 0
    printed = capsys.readouterr().out
    results = json.loads((tmp_path / 'results' / 'gpu.json').read_text())
    (race,) = results['races']
    ours = OURS['triton']

    # An upload, counts set to zero, 3 launches, 2 downloads; 1000 bytes read and written in 1 s.
    assert race['times_ms'][ours]['gpu_median'] == 7
    assert race['ratios'] == {TORCH: 1, ours: pytest.approx(7 / 12)}
    assert [(launch['kernel'], launch['ms']) for launch in race['launches'][ours]] == [
        ('letterbox', 1), ('convolution', 1), ('convolution', 1)]
    assert results['gpu'] == {'name': 'Fake GPU', 'arch': 87, 'cuda': 13000, 'peak_tops': None,
                              'peak_gbs': pytest.approx(2e-6)}
    assert race['checked'][ours] == {
        'readouts': 2 * 4 * 4 * 14, 'spike counts': 2 * 4, 'levels': 2 * 4 * 4 * 5}
    assert f'without {OURS["cuda"]}: there are no compiled kernels' in printed
    assert f'without {TENSORRT}: not here' in printed
    assert f'{ours}: equal to `simulator` in 448 readouts' in printed


def test_nothing_is_timed_if_a_level_is_wrong(
        network: SpikingNetwork, cuda: TimedCuda, tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def tampered(engine: GpuEngine) -> dict[str, np.ndarray]:
        levels = right(engine)
        levels['conv0'][0, 0, 0] ^= 1
        return levels

    right = GpuEngine.levels
    monkeypatch.setattr(GpuEngine, 'levels', tampered)
    assert run_main(network, tmp_path) == 1
    assert ('engine `triton` is wrong: 1 of 80 levels of conv0 differ from `simulator` in picture 0'
            in capsys.readouterr().err)
    assert 'cuEventRecord' not in cuda.calls
    assert not (tmp_path / 'results').exists()


def test_readouts_and_spikes_are_compared_too(network: SpikingNetwork, cuda: TimedCuda) -> None:
    def with_first_conv(**changes: Any) -> SpikingNetwork:
        first, *others = network.layers
        return replace(network, layers=(replace(first, **changes), *others))

    reference, pictures = make_engine('simulator', network), [picture(None, SIZE)]
    with pytest.raises(EngineError, match=r'readouts of conv1 differ'):
        gpu.check(GpuEngine(with_first_conv(bias=network.layers[0].bias + 9000)), reference,
                  pictures)
    engine = GpuEngine(network)
    counted = engine.firing
    engine.firing = lambda: replace(  # type: ignore[method-assign]
        counted(), spikes_per_step=counted().spikes_per_step + 1)
    with pytest.raises(EngineError, match='4 of 4 spike counts of conv0 differ'):
        gpu.check(engine, reference, pictures)


def test_the_reference_of_a_large_network_is_the_engine_of_the_processor(
        network: SpikingNetwork, monkeypatch: pytest.MonkeyPatch) -> None:
    assert gpu.reference_engine(network, SIZE).name == 'simulator'
    monkeypatch.setattr(gpu, 'SIMULATED', 100)
    assert gpu.reference_engine(network, SIZE).name == 'onnxruntime'


def test_a_launch_is_repeated_in_a_plan_of_its_own(network: SpikingNetwork) -> None:
    plan = make_plan(network, (SIZE, SIZE), Fit((SIZE, SIZE), (SIZE, SIZE)))
    launch = plan.launches[1]
    alone = repeated(plan, launch, 5)
    assert alone.launches == [launch] * 5
    assert len(plan.launches) == 3
    assert (alone.buffers, alone.constants) == (plan.buffers, plan.constants)


def test_launches_are_timed_by_the_difference_of_two_graphs(
        network: SpikingNetwork, cuda: TimedCuda, monkeypatch: pytest.MonkeyPatch) -> None:
    sessions = GpuSessions('triton', None)
    ours = Ours.open(network, 'triton', SIZE, sessions)
    blocks = len(cuda.allocated)
    times = time_launches(sessions, ours.plan, rounds=2)
    assert [time.ms for time in times] == [1, 1, 1]
    assert [time.work for time in times] == [
        Work(launch.products, launch.traffic) for launch in ours.plan.launches]
    assert len(cuda.allocated) == blocks
    monkeypatch.setattr(TimedCuda, 'cuEventElapsedTime', lambda *_: 0.5)
    with pytest.raises(EngineError, match=r'letterbox image: 4 launches took 0\.500 ms and one'):
        time_launches(sessions, ours.plan, rounds=2)


def test_work_of_a_plan_is_what_its_launches_do(network: SpikingNetwork) -> None:
    plan = make_plan(network, (SIZE, SIZE), Fit((SIZE, SIZE), (SIZE, SIZE)))
    pixels, picture_bytes, levels = 4 * 4, SIZE * SIZE * 3, 4 * 4 * 5
    # The first layer's 3x3 pixels are 2x2 blocks of 12 bytes.
    assert Work.of(plan.launches) == Work(
        products=pixels * 5 * 4 * 12 + pixels * 14 * 5,
        traffic=2 * picture_bytes + picture_bytes + 5 * 4 * 12 + levels
        + levels + 14 * 5 + 4 * pixels * 14)


def test_figures_follow_from_products_bytes_and_time() -> None:
    work = Work(products=500_000_000, traffic=2_000_000)
    values = gpu_launches.figures(work, 0.5, Gpu('made up', 20, 100))
    assert values['tops'] == pytest.approx(2)  # 10^9 operations in 0.5 ms
    assert values['gbs'] == pytest.approx(4)
    assert values['least_ms'] == pytest.approx(0.05)  # operations: 0.05 ms, bytes: 0.02 ms
    assert values['share'] == pytest.approx(0.1)
    unknown = Gpu('made up', math.inf, 100)
    assert gpu_launches.figures(work, 0.5, unknown)['least_ms'] == pytest.approx(0.02)


def made_up_race(**times: float) -> GpuRace:
    summaries = {name: GpuSummary(1, ms, ms, ms, ms + 1) for name, ms in times.items()}
    launches = {OURS['triton']: [
        LaunchTime('convolution', ('one', 'two'), (3, 2), Work(10**9, 10**6), 0.02),
        LaunchTime('relay', (), (3, 2), Work(0, 10**6), 0.01)]}
    return GpuRace('net', 320, Gpu('made up', 200, 1000), Work(10**9, 2 * 10**6), summaries,
                   launches)


def test_tables_and_json_tell_the_same() -> None:
    race = made_up_race(**{TENSORRT: 0.08, OURS['triton']: 0.04, TORCH: 0.1})
    data = json.loads(json.dumps(race.as_json()))
    assert data['opponent'] == TORCH
    assert data['ratios'] == pytest.approx({TENSORRT: 0.8, OURS['triton']: 0.4, TORCH: 1})
    assert data['figures'].keys() == {OURS['triton']}
    table = report.gpu_race_table(race)
    assert f'ratios: to {TORCH}' in table
    assert ': 50.00 x 10^12 operations/s, 50.0 x 10^9 bytes/s, 25.0 % of the roofline' in table
    launches = report.launch_table('ours', race.launches[OURS['triton']], race.gpu)
    assert '20.00   100.00     50.0   50.0%  convolution  one, two' in launches
    assert '(copy)' in launches
    assert '30.00 all 2 launches' in launches


def test_without_a_float_network_there_are_no_ratios() -> None:
    race = made_up_race(**{OURS['triton']: 0.04})
    assert race.as_json()['ratios'] == {OURS['triton']: None}
    assert 'no ratios: no float network took part' in report.gpu_race_table(race)


def test_times_of_a_gpu_are_those_that_contestants_return() -> None:
    values = iter([99.0, 1.0, 2.0, 9.0])
    times = race_on_gpu({'it': Contestant(lambda: next(values))}, rounds=1, calls=3)
    assert (times['it'].gpu_median, times['it'].gpu_min, times['it'].samples) == (2, 1, 3)


@pytest.mark.skipif(torch.cuda.is_available(), reason='this torch can use a GPU')
def test_opponents_that_are_absent_have_a_reason(network: SpikingNetwork, cuda: TimedCuda) -> None:
    made, absent = opponents(
        Subject(network, dequantise(network), 0.5), picture(None, SIZE), driver.Driver())
    assert set(made) | set(absent) == {TORCH, TENSORRT, ONNX_CUDA, SPIKINGJELLY}
    assert 'cannot use the GPU: install its CUDA build' in absent[TORCH]
    assert SPIKINGJELLY in absent
    assert all('\n' not in reason for reason in absent.values())


def test_the_functions_that_time_exist_in_the_bindings() -> None:
    bindings = pytest.importorskip(
        'cuda.bindings.driver', reason='cuda-bindings is not installed (extra: gpu)')
    names = [name for name in vars(TimedCuda) if name.startswith('cu')]
    assert len(names) == 7
    assert [name for name in names if not hasattr(bindings, name)] == []
