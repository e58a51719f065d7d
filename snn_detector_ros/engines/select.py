# SPDX-License-Identifier: Apache-2.0
"""The table of engines, and the choice among them."""

from __future__ import annotations

from snn_detector_ros.engines.base import Engine
from snn_detector_ros.errors import ConfigurationError, EngineError
from snn_detector_ros.network import SpikingNetwork

#: Values of the option ``engine``.
ENGINES = ('auto', 'onnxruntime', 'simulator')
#: More threads than this are a mistake, and starting very many looks like a hang.
MAX_THREADS = 256


def make_engine(
    name: str,
    network: SpikingNetwork,
    *,
    input_size: tuple[int, int] | None = None,
    threads: int = 0,
    spinning: bool = False,
    statistics: bool = True,
) -> Engine:
    """
    Make the engine called ``name``; ``auto`` takes the fastest one that can run here.

    Parameters are those of :class:`~snn_detector_ros.engines.onnxruntime.OnnxRuntimeEngine`; the
    simulator heeds ``input_size`` alone.

    :raises ConfigurationError: if there is no such engine, or the number of threads cannot work.
    :raises EngineError: if the engine cannot run the network on this machine, or its runtime is
        not installed.
    """
    if name not in ENGINES:
        raise ConfigurationError(f'engine `{name}` is unknown; known: {", ".join(ENGINES)}')
    if not 0 <= threads <= MAX_THREADS:
        raise ConfigurationError(f'{threads} threads: choose 1 to {MAX_THREADS}, or 0 for one per '
                                 'physical core')
    if name == 'simulator':
        from snn_detector_ros.engines.simulator import SimulatorEngine

        return SimulatorEngine(network, input_size=input_size)
    try:
        from snn_detector_ros.engines.onnxruntime import OnnxRuntimeEngine
    except ImportError as error:
        raise EngineError('`onnxruntime` is not installed; install it with: pip install '
                          'onnxruntime, or choose the engine `simulator`') from error
    return OnnxRuntimeEngine(network, input_size=input_size, threads=threads,
                             spinning=spinning, statistics=statistics)
