# SPDX-License-Identifier: Apache-2.0
"""Engines: different ways to compute the same levels of one spiking network."""

from snn_detector_ros.engines.base import Engine
from snn_detector_ros.engines.select import ENGINES, EngineOptions, choose_engine, make_engine
from snn_detector_ros.engines.statistics import (
    ENERGY_PER_AC,
    ENERGY_PER_MAC,
    FiringStatistics,
    LayerFiring,
)

__all__ = [
    'ENERGY_PER_AC',
    'ENERGY_PER_MAC',
    'ENGINES',
    'Engine',
    'EngineOptions',
    'FiringStatistics',
    'LayerFiring',
    'choose_engine',
    'make_engine',
]
