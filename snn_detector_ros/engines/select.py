# SPDX-License-Identifier: Apache-2.0
"""The table of engines, and the choice among them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from snn_detector_ros.engines.base import Engine
from snn_detector_ros.errors import ConfigurationError, EngineError, SnnDetectorError
from snn_detector_ros.network import LifNetwork, SpikingNetwork
from snn_detector_ros.network.validation import MAX_LEVEL, MAX_SIGNED_LEVEL

#: Engines on an NVIDIA GPU, by how their kernels are made.
GPU_ENGINES = ('triton', 'cuda')
#: Engines in ONNX Runtime with another provider than the CPU's.
PROVIDER_ENGINES = ('onnxruntime-cuda', 'onnxruntime-tensorrt', 'onnxruntime-openvino')
#: Values of the option ``engine``.
ENGINES = ('auto', *GPU_ENGINES, 'onnxruntime', *PROVIDER_ENGINES, 'simulator', 'concurrent')
#: More threads than this are a mistake, and starting very many looks like a hang.
MAX_THREADS = 256
#: The reason of an engine that was named.
AS_ASKED = 'as asked'


@dataclass(frozen=True)
class EngineOptions:
    """
    How to run a network; an engine heeds what concerns it.

    :param input_size: (height, width) of the picture in px; the network's own if None.
    :param threads: threads of ONNX Runtime; 0 takes one per physical core.
    :param spinning: let idle threads spin: faster on a quiet machine, slower on a shared one.
    :param statistics: keep the levels of every layer, for ``levels()`` and ``firing()``.
    :param carry_state: start a picture, or window, with the membranes that the one before left;
        only networks that were trained with spikes can.
    :param model_path: file of the network, if it came from one; compiled kernels for a GPU may lie
        beside it.
    :raises ConfigurationError: if the number of threads cannot work.
    """

    input_size: tuple[int, int] | None = None
    threads: int = 0
    spinning: bool = False
    statistics: bool = True
    carry_state: bool = False
    model_path: Path | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.threads <= MAX_THREADS:
            raise ConfigurationError(f'{self.threads} threads: choose 1 to {MAX_THREADS}, or 0 for '
                                     'one per physical core')

    @property
    def of_runtime(self) -> dict[str, Any]:
        """Those that every engine in ONNX Runtime takes."""
        return {'input_size': self.input_size, 'threads': self.threads,
                'spinning': self.spinning, 'statistics': self.statistics}


@dataclass(frozen=True)
class EngineChoice:
    """An engine, and for people to read why it is this one."""

    engine: Engine
    reason: str


def make_engine(name: str, network: SpikingNetwork | LifNetwork, **options: Any) -> Engine:
    """
    Make the engine called ``name``; see :func:`choose_engine`.

    :param options: fields of :class:`EngineOptions`.
    """
    return choose_engine(name, network, EngineOptions(**options)).engine


def choose_engine(
    name: str, network: SpikingNetwork | LifNetwork, options: EngineOptions,
) -> EngineChoice:
    """
    Make the engine called ``name``; ``auto`` takes the fastest exact one that can run here.

    That is ``triton`` on a GPU that can be used and computes what the CPU computes from a picture
    of noise, else ``onnxruntime``. A directly trained network
    has a simulator and an ONNX Runtime engine of its own.

    A network of concurrent dynamics belongs to the engine ``concurrent``. Any other runs it
    *accelerated*, and says so in its name: as if its layers fired only after all steps. That is
    what concurrent spikes come to in the long run, cut to T levels, but not what they do.

    :raises ConfigurationError: if there is no such engine, or it cannot work as the options say.
    :raises EngineError: if the engine cannot run the network on this machine, or its runtime is
        not installed.
    """
    if name not in ENGINES:
        raise ConfigurationError(f'engine `{name}` is unknown; known: {", ".join(ENGINES)}')
    if options.carry_state and not isinstance(network, LifNetwork):
        raise ConfigurationError(f'{network.name!r} is a converted network, whose neurons start '
                                 'anew with each picture: it cannot carry state')
    if name != 'auto':
        return EngineChoice(_make(name, network, options), AS_ASKED)
    if isinstance(network, LifNetwork):
        return EngineChoice(_make('onnxruntime', network, options),
                            'auto: networks that were trained with spikes run in ONNX Runtime')
    if network.dynamics == 'concurrent':
        return EngineChoice(_make('concurrent', network, options),
                            'auto: the neurons of this network fire while they receive')
    return _fastest(network, options)


def _fastest(network: SpikingNetwork, options: EngineOptions) -> EngineChoice:
    """Choose for a converted network; a GPU that fails at the start, or errs, is none."""
    cpu = _make('onnxruntime', network, options)
    obstacle = _why_no_gpu(network, 'triton', options)
    if obstacle is None:
        try:
            gpu = _gpu_engine('triton', network, options)
            if _agree(gpu, cpu, network):
                return EngineChoice(gpu, 'auto: the GPU gives the results of the CPU')
            obstacle = 'the GPU gives other results than the CPU'
        except SnnDetectorError as error:
            obstacle = str(error)
    return EngineChoice(cpu, f'auto: {obstacle}, so ONNX Runtime on the CPU')


def _agree(one: Engine, other: Engine, network: SpikingNetwork) -> bool:
    """Whether two engines compute the same from a picture of noise, as exact ones do."""
    shape = (*one.input_size, network.image_channels)
    noise = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    results, expected = one.run(noise), other.run(noise)
    return all(np.array_equal(results[name], expected[name]) for name in network.outputs)


def _make(name: str, network: SpikingNetwork | LifNetwork, options: EngineOptions) -> Engine:
    if isinstance(network, LifNetwork):
        return _make_lif_engine(name, network, options)
    if network.dynamics == 'concurrent' and name != 'concurrent':
        engine = _make(name, _accelerated(network), options)
        engine.name += ' (accelerated, not the concurrent dynamics)'
        return engine
    if name == 'simulator':
        from snn_detector_ros.engines.simulator import SimulatorEngine

        return SimulatorEngine(network, input_size=options.input_size)
    if name in GPU_ENGINES:
        obstacle = _why_no_gpu(network, name, options)
        if obstacle is not None:
            raise EngineError(
                f'engine `{name}` cannot be used: {obstacle}; choose the engine `auto`, which '
                'takes ONNX Runtime on the CPU where the GPU does not serve')
        return _gpu_engine(name, network, options)
    _require_onnxruntime()
    if name in PROVIDER_ENGINES:
        from snn_detector_ros.engines.onnxruntime_providers import (
            OnnxProviderEngine,
            providers_of,
        )

        return OnnxProviderEngine(
            network, name=name, providers=providers_of(name, threads=options.threads),
            **options.of_runtime)
    if name == 'concurrent':
        from snn_detector_ros.engines.concurrent import ConcurrentEngine

        return ConcurrentEngine(network, **options.of_runtime)
    from snn_detector_ros.engines.onnxruntime import OnnxRuntimeEngine

    return OnnxRuntimeEngine(network, **options.of_runtime)


def _make_lif_engine(name: str, network: LifNetwork, options: EngineOptions) -> Engine:
    if name == 'concurrent' or name in GPU_ENGINES:
        raise ConfigurationError(f'engine `{name}`: {network.name!r} was trained with spikes: '
                                 'choose `auto`, `onnxruntime` or `simulator`')
    if name == 'simulator':
        from snn_detector_ros.engines.lif_simulator import LifSimulator

        return LifSimulator(
            network, input_size=options.input_size, carry_state=options.carry_state)
    _require_onnxruntime()
    from snn_detector_ros.engines.lif_onnxruntime import LifOnnxRuntimeEngine

    provided: dict[str, Any] = {}
    if name in PROVIDER_ENGINES:
        from snn_detector_ros.engines.onnxruntime_providers import providers_of

        provided = {'name': name, 'providers': providers_of(name, threads=options.threads)}
    return LifOnnxRuntimeEngine(
        network, carry_state=options.carry_state, **options.of_runtime, **provided)


def _why_no_gpu(network: SpikingNetwork, name: str, options: EngineOptions) -> str | None:
    """Return why an engine on a GPU cannot be used, in one clause; None if it can."""
    from snn_detector_ros.engines.gpu.usable import why_unusable

    return why_unusable(network, _kernels(name), options.model_path)


def _gpu_engine(name: str, network: SpikingNetwork, options: EngineOptions) -> Engine:
    from snn_detector_ros.engines.gpu.engine import GpuEngine

    return GpuEngine(network, kernels=_kernels(name), input_size=options.input_size,
                     statistics=options.statistics, model_path=options.model_path)


def _kernels(name: str) -> Literal['triton', 'cuda']:
    return 'cuda' if name == 'cuda' else 'triton'


def _require_onnxruntime() -> None:
    try:
        import onnxruntime  # noqa: F401
    except ImportError as error:
        raise EngineError('`onnxruntime` is not installed; install it with: pip install '
                          'onnxruntime, or choose the engine `simulator`') from error


def _accelerated(network: SpikingNetwork) -> SpikingNetwork:
    """
    Return a network of concurrent dynamics as one of separated dynamics.

    :raises EngineError: if it has more levels than those engines carry.
    """
    limit = MAX_SIGNED_LEVEL if network.signed_tensors else MAX_LEVEL
    if network.code.steps > limit:
        raise EngineError(
            f'{network.code.steps} steps cannot be accelerated, since the levels of this network '
            f'would pass {limit} and not fit 8 bit: choose the engine `concurrent`, or convert '
            f'with --steps {limit} or fewer')
    return replace(network, dynamics='separated')
