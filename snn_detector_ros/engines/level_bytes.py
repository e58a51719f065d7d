# SPDX-License-Identifier: Apache-2.0
"""
How the levels of a layer lie in the bytes of the integer graph.

Bytes are those of :class:`~snn_detector_ros.network.level_range.LevelRange`, but not cut off: above
the top they stand for Q. What a neuron does to negative levels is left to whoever reads the bytes,
because much of it then costs nothing: behind a pool there is less to do, and statistics and levels
come from tables.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from snn_detector_ros.network import SpikingNetwork
from snn_detector_ros.network.level_range import LevelRange
from snn_detector_ros.network.signed_neuron import rectify


@dataclass(frozen=True)
class LevelBytes:
    """
    Where the levels of a layer are.

    :param tensor: name of a uint8 tensor of the integer graph.
    :param slope: of the activation that negative bytes have still to go through; 1 for none.
    """

    tensor: str
    slope: float


def level_table(network: SpikingNetwork, slope: float) -> NDArray[np.int64]:
    """Return the level that each byte stands for, int64 [256]."""
    top = network.code.max_level
    multiples = np.minimum(np.arange(256) - int(LevelRange.of_network(network).zero), top)
    return rectify(multiples, slope, top)
