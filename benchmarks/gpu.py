# SPDX-License-Identifier: Apache-2.0
"""
Race the engine for NVIDIA GPUs against its opponents on one GPU: ``python -m benchmarks.gpu``.

First, every readout, level and count of spikes must be those of an engine on the processor, or
nothing is timed. Then prints times of whole frames, ratios, how near our engine is to what the GPU
could do, and the same for each launch by itself; writes all of it as JSON.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks import host, report
from benchmarks.gpu_contestants import OURS, Ours, opponents
from benchmarks.gpu_launches import copy_speed, time_launches
from benchmarks.results import GpuRace
from benchmarks.roofline import Gpu, Work
from benchmarks.subjects import Subject, add_options, finish, picture, plain, subjects
from benchmarks.timing import race_on_gpu
from snn_detector_ros.engines import make_engine
from snn_detector_ros.engines.base import Engine
from snn_detector_ros.engines.gpu.driver import Driver
from snn_detector_ros.engines.gpu.kernel_store import Kernels
from snn_detector_ros.engines.gpu.session import GpuSessions
from snn_detector_ros.engines.gpu.usable import why_unusable
from snn_detector_ros.errors import EngineError
from snn_detector_ros.network import SpikingNetwork

#: Multiply-accumulates of a frame up to which the simulator is the reference.
SIMULATED = 50_000_000


@dataclass(frozen=True, eq=False)
class Entry:
    """
    A network at one size, with our engines, which are right.

    :param ours: by the name of the contestant.
    :param checked: how many values of each kind were compared, by contestant.
    """

    subject: Subject
    size: int
    ours: dict[str, Ours]
    checked: dict[str, dict[str, int]]


def main(arguments: Sequence[str] | None = None) -> int:
    """
    Run the benchmark.

    :param arguments: command line without the program's name; ``sys.argv`` if None.
    :returns: exit status; 1 for an error that was named, such as that there is no GPU.
    """
    options = _parser().parse_args(arguments)
    return finish(lambda: _run(options), options.json)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog='python -m benchmarks.gpu', description=__doc__)
    add_options(parser)
    parser.add_argument('--rounds', type=int, default=12, help='visits of each contestant')
    parser.add_argument('--pictures', type=int, default=3, metavar='N',
                        help='pictures whose results must be right: that of the race, and noise')
    parser.add_argument('--peak-tops', type=float, metavar='N',
                        help='10^12 dense int8 operations a second of this GPU, from its data '
                        'sheet; without, the roofline has no such side')
    parser.add_argument('--peak-gbs', type=float, metavar='N',
                        help='10^9 bytes a second of its memory; default: those of a large copy')
    parser.add_argument('--json', type=Path, default=Path('runs/bench_gpu.json'), metavar='FILE')
    return parser


def _run(options: argparse.Namespace) -> dict[str, Any]:
    chosen = subjects(options)
    usable = [_usable(subject) for subject in chosen]
    driver = Driver()
    cuda = driver.call('cuDriverGetVersion')
    facts = host.describe()
    print(f'{driver.device_name}, compute capability {driver.arch / 10}, CUDA {cuda} of the driver')
    print(', '.join(f'{name} {version}' for name, version in facts['versions'].items()))
    entries = [entry for subject, kernels in zip(chosen, usable, strict=True)
               for entry in _entries(subject, kernels, driver, options)]
    gpu = Gpu(driver.device_name, options.peak_tops or math.inf,
              options.peak_gbs or copy_speed(driver, rounds=options.rounds))
    races: list[dict[str, Any]] = []
    missing: dict[str, str] = {}
    for entry in entries:
        result, absent = _race(entry, driver, gpu, options)
        for name in absent.keys() - missing.keys():
            print(f'without {name}: {absent[name]}')
        missing |= absent
        print(f'\n{report.gpu_race_table(result)}', flush=True)
        for name, launches in result.launches.items():
            print(f'\n{report.launch_table(name, launches, gpu)}', flush=True)
        races.append(result.as_json() | {'checked': entry.checked})
    return {
        'host': facts | {'load_at_end': host.load()},
        'gpu': {'name': gpu.name, 'arch': driver.arch, 'cuda': cuda, 'peak_tops':
                options.peak_tops, 'peak_gbs': gpu.bandwidth},
        'options': plain(options), 'missing': missing, 'races': races}


def _usable(subject: Subject) -> list[Kernels]:
    """
    Return the sets of kernels that can run a network here, and say why another cannot.

    :raises EngineError: if none can.
    """
    reasons = {kernels: why_unusable(subject.network, kernels, subject.path) for kernels in OURS}
    usable = [kernels for kernels, reason in reasons.items() if reason is None]
    if not usable:
        raise EngineError('; '.join(dict.fromkeys(map(str, reasons.values()))))
    for kernels, reason in reasons.items():
        if reason is not None:
            print(f'without {OURS[kernels]}: {reason}')
    return usable


def _entries(
    subject: Subject, usable: Iterable[Kernels], driver: Driver, options: argparse.Namespace,
) -> list[Entry]:
    """Open our engines at all sizes, and check them."""
    network = subject.network
    sessions = {kernels: GpuSessions(kernels, subject.path, driver) for kernels in usable}
    entries = []
    for size in options.sizes:
        pictures = [picture(options.image, size)] + [
            picture(None, size, seed=seed) for seed in range(1, options.pictures)]
        ours = {OURS[kernels]: Ours.open(network, kernels, size, opener)
                for kernels, opener in sessions.items()}
        reference = reference_engine(network, size)
        checked = {name: check(each.engine, reference, pictures) for name, each in ours.items()}
        for name, counts in checked.items():
            print(f'{network.name} at {size} px, {name}: equal to `{reference.name}` in '
                  + ', '.join(f'{count} {kind}' for kind, count in counts.items()), flush=True)
        entries.append(Entry(subject, size, ours, checked))
    return entries


def _race(
    entry: Entry, driver: Driver, gpu: Gpu, options: argparse.Namespace,
) -> tuple[GpuRace, dict[str, str]]:
    pixels = picture(options.image, entry.size)
    others, absent = opponents(entry.subject, pixels, driver)
    times = race_on_gpu(
        {**others, **{name: ours.contestant(pixels) for name, ours in entry.ours.items()}},
        rounds=options.rounds)
    launches = {name: time_launches(ours.sessions, ours.plan, rounds=options.rounds)
                for name, ours in entry.ours.items()}
    work = Work.of(next(iter(entry.ours.values())).plan.launches)
    return GpuRace(
        entry.subject.network.name, entry.size, gpu, work, times, launches), absent


def reference_engine(network: SpikingNetwork, size: int) -> Engine:
    """Return whose results are right: the simulator where it is quick, else ONNX Runtime."""
    products = sum(network.multiply_accumulates((size, size)).values())
    name = 'simulator' if products <= SIMULATED else 'onnxruntime'
    return make_engine(name, network, input_size=(size, size))


def check(
    engine: Engine, reference: Engine, pictures: Iterable[NDArray[np.uint8]],
) -> dict[str, int]:
    """
    Compare all results of an engine with those of another.

    :param pictures: uint8 [H, W, 3] each.
    :returns: how many readouts, levels and counts of spikes were compared; all were equal.
    :raises EngineError: at the first that are not, naming them.
    """
    compared: Counter[str] = Counter()
    for index, pixels in enumerate(pictures):
        expected, found = _results(reference, pixels), _results(engine, pixels)
        for (kind, name), values in expected.items():
            wrong = int(np.count_nonzero(found[kind, name] != values))
            if wrong:
                raise EngineError(
                    f'engine `{engine.name}` is wrong: {wrong} of {values.size} {kind} of {name} '
                    f'differ from `{reference.name}` in picture {index}, so nothing is timed')
            compared[kind] += values.size
    return dict(compared)


def _results(
    engine: Engine, pixels: NDArray[np.uint8],
) -> dict[tuple[str, str], NDArray[Any]]:
    """Return copies of all that an engine says about a picture, by kind and layer."""
    results: dict[tuple[str, str], NDArray[Any]] = {}
    for name, values in engine.run(pixels).items():
        results['readouts', name] = values.copy()
    for layer in engine.firing().layers:
        results['spike counts', layer.name] = np.array(layer.spikes_per_step)
    for name, levels in engine.levels().items():
        results['levels', name] = levels.copy()
    return results


if __name__ == '__main__':
    sys.exit(main())
