# SPDX-License-Identifier: Apache-2.0
"""The table of engines, and the choice among them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from snn_detector_ros.engines.base import Engine
from snn_detector_ros.errors import ConfigurationError, EngineError
from snn_detector_ros.network import LifNetwork, SpikingNetwork
from snn_detector_ros.network.validation import MAX_LEVEL, MAX_SIGNED_LEVEL

#: Values of the option ``engine``.
ENGINES = ('auto', 'onnxruntime', 'simulator', 'concurrent')
#: More threads than this are a mistake, and starting very many looks like a hang.
MAX_THREADS = 256


def make_engine(
    name: str,
    network: SpikingNetwork | LifNetwork,
    *,
    input_size: tuple[int, int] | None = None,
    threads: int = 0,
    spinning: bool = False,
    statistics: bool = True,
    carry_state: bool = False,
) -> Engine:
    """
    Make the engine called ``name``; ``auto`` takes the fastest exact one that can run here.

    Parameters are those of :class:`~snn_detector_ros.engines.onnxruntime.OnnxRuntimeEngine`; the
    simulator heeds ``input_size`` alone.

    A directly trained network has a simulator and an ONNX Runtime engine of its own. Only those can
    carry membranes from one picture, or window of events, to the next (``carry_state``).

    A network of concurrent dynamics belongs to the engine ``concurrent``. Any other runs it
    *accelerated*, and says so in its name: as if its layers fired only after all steps. That is
    what concurrent spikes come to in the long run, cut to T levels, but not what they do.

    :raises ConfigurationError: if there is no such engine, or the number of threads cannot work.
    :raises EngineError: if the engine cannot run the network on this machine, or its runtime is
        not installed.
    """
    if name not in ENGINES:
        raise ConfigurationError(f'engine `{name}` is unknown; known: {", ".join(ENGINES)}')
    if not 0 <= threads <= MAX_THREADS:
        raise ConfigurationError(f'{threads} threads: choose 1 to {MAX_THREADS}, or 0 for one per '
                                 'physical core')
    if isinstance(network, LifNetwork):
        return _make_lif_engine(
            name, network, input_size=input_size, threads=threads, spinning=spinning,
            statistics=statistics, carry_state=carry_state)
    if carry_state:
        raise ConfigurationError(f'{network.name!r} is a converted network, whose neurons start '
                                 'anew with each picture: it cannot carry state')
    if name == 'auto':
        name = 'concurrent' if network.dynamics == 'concurrent' else 'onnxruntime'
    if network.dynamics == 'concurrent' and name != 'concurrent':
        engine = make_engine(name, _accelerated(network), input_size=input_size, threads=threads,
                             spinning=spinning, statistics=statistics)
        engine.name += ' (accelerated, not the concurrent dynamics)'
        return engine
    if name == 'simulator':
        from snn_detector_ros.engines.simulator import SimulatorEngine

        return SimulatorEngine(network, input_size=input_size)
    return _runtime_engine(name)(
        network, input_size=input_size, threads=threads, spinning=spinning, statistics=statistics)


def _make_lif_engine(
    name: str, network: LifNetwork, *, input_size: tuple[int, int] | None, threads: int,
    spinning: bool, statistics: bool, carry_state: bool,
) -> Engine:
    if name == 'concurrent':
        raise ConfigurationError(f'engine `concurrent`: {network.name!r} was trained with spikes: '
                                 'choose `auto`, `onnxruntime` or `simulator`')
    if name == 'simulator':
        from snn_detector_ros.engines.lif_simulator import LifSimulator

        return LifSimulator(network, input_size=input_size, carry_state=carry_state)
    return _runtime_engine('lif')(
        network, input_size=input_size, threads=threads, spinning=spinning,
        statistics=statistics, carry_state=carry_state)


def _runtime_engine(name: str) -> Callable[..., Engine]:
    """
    Return the class of an engine that needs ONNX Runtime.

    :raises EngineError: if that is not installed.
    """
    try:
        if name == 'concurrent':
            from snn_detector_ros.engines.concurrent import ConcurrentEngine

            return ConcurrentEngine
        if name == 'lif':
            from snn_detector_ros.engines.lif_onnxruntime import LifOnnxRuntimeEngine

            return LifOnnxRuntimeEngine
        from snn_detector_ros.engines.onnxruntime import OnnxRuntimeEngine

        return OnnxRuntimeEngine
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
