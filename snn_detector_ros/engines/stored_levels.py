# SPDX-License-Identifier: Apache-2.0
"""The bytes that an engine in ONNX Runtime left of each layer, read as levels and as spikes."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from snn_detector_ros.engines.level_bytes import level_table
from snn_detector_ros.engines.statistics import FiringModel, FiringStatistics
from snn_detector_ros.errors import EngineError
from snn_detector_ros.native import count_spikes
from snn_detector_ros.network import SpikingNetwork


class StoredLevels:
    """
    Looks at the levels of the last picture.

    :param network: the network that runs.
    :param input_size: (height, width) of the picture in px.
    :param stored: bytes of the layers that are kept, uint8 [h, w, C] in any order of memory; they
        are read when somebody asks, so that the engine may write to them again and again.
    :param slopes: for each of them, the slope of the activation that negative bytes have still to
        go through; see :class:`~snn_detector_ros.engines.level_bytes.LevelBytes`.
    :param statistics: whether all firing layers are kept, which :meth:`levels` and :meth:`firing`
        need.
    """

    def __init__(
        self, network: SpikingNetwork, input_size: tuple[int, int],
        stored: Mapping[str, NDArray[np.uint8]], slopes: Mapping[str, float], *, statistics: bool,
    ) -> None:
        self._network = network
        self._stored = stored
        self._tables = {name: level_table(network, slope) for name, slope in slopes.items()}
        self._statistics = statistics
        self._firing_model = FiringModel(network, input_size)
        self._plan = self._plan_counting(slopes) if statistics else []

    def of(self, name: str) -> NDArray[np.int64]:
        """Return the levels of one layer, int64 [h, w, C]."""
        return self._tables[name][self._stored[name]]

    def levels(self) -> dict[str, NDArray[np.uint8] | NDArray[np.int8]]:
        """
        Return the levels of all firing layers, uint8, or int8 where they may be negative.

        :raises EngineError: if they were not kept.
        """
        self._require_statistics()
        signed = self._network.signed_tensors
        return {name: self._tables[name].astype(np.int8 if name in signed else np.uint8)[stored]
                for name, stored in self._stored.items()}

    def firing(self) -> FiringStatistics:
        """
        Count the spikes.

        :raises EngineError: if the levels were not kept.
        """
        self._require_statistics()
        runs = self._firing_model.runs
        spikes = np.empty((len(runs), self._network.code.steps), dtype=np.int64)
        for chosen, digit_table in self._plan:
            # A histogram has no order, so bytes are taken as they lie, without a copy if possible.
            spikes[chosen] = count_spikes([
                self._stored[runs[i].layer][..., runs[i].channels].ravel(order='K')
                for i in chosen], digit_table)
        return self._firing_model.statistics(spikes)

    def _require_statistics(self) -> None:
        if not self._statistics:
            raise EngineError('the levels of this engine were not kept: make it with '
                              'statistics=True')

    def _plan_counting(
        self, slopes: Mapping[str, float],
    ) -> list[tuple[list[int], NDArray[np.uint8]]]:
        """Return which runs to count together, by index, and the digits of their bytes."""
        plan = []
        of_runs = [slopes[run.layer] for run in self._firing_model.runs]
        for slope in sorted(set(of_runs)):
            digits = self._network.code.digits(np.abs(level_table(self._network, slope)))
            plan.append(([i for i, other in enumerate(of_runs) if other == slope],
                         np.ascontiguousarray(digits)))
        return plan
