# SPDX-License-Identifier: Apache-2.0
"""
The default engine of directly trained networks: the graph of the model file, in ONNX Runtime.

All inputs and outputs are bound to arrays made once. With statistics the spikes of all layers are
outputs too, a byte each; they are counted only when somebody asks.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from onnx import helper

from snn_detector_ros.engines.base import check_pixels
from snn_detector_ros.engines.onnxruntime import (
    CPU_PROVIDER,
    Provider,
    bound_array,
    open_session,
)
from snn_detector_ros.engines.statistics import FiringModel, FiringStatistics
from snn_detector_ros.errors import EngineError
from snn_detector_ros.network import IMAGE, LifNetwork
from snn_detector_ros.network.lif_graph import (
    AFTER_SUFFIX,
    BEFORE_SUFFIX,
    OPSET,
    TRAIN_SUFFIX,
    write_graph,
)
from snn_detector_ros.network.lif_validation import validate_lif
from snn_detector_ros.network.validation import check_shapes


class LifOnnxRuntimeEngine:
    """
    Runs all steps of a network in one call.

    :param network: the network; is validated.
    :param input_size: (height, width) of a picture in px; the network's own if None.
    :param threads: threads of the runtime; 0 takes one per physical core.
    :param spinning: let idle threads spin: faster on a quiet machine, slower on a shared one.
    :param statistics: keep the spikes of every layer, for :meth:`levels` and :meth:`firing`.
    :param carry_state: start a picture, or window, with the membranes that the one before left.
    :param name: name of the engine.
    :param providers: providers of ONNX Runtime, best first.
    :raises EngineError: if ONNX Runtime cannot run the network with the first of them.
    """

    def __init__(
        self,
        network: LifNetwork,
        *,
        input_size: tuple[int, int] | None = None,
        threads: int = 0,
        spinning: bool = False,
        statistics: bool = True,
        carry_state: bool = False,
        name: str = 'onnxruntime',
        providers: Sequence[Provider] = (CPU_PROVIDER,),
    ) -> None:
        validate_lif(network)
        self.name = name
        self.network = network
        self.input_size = input_size or network.input_size
        check_shapes(network, self.input_size)
        self._firing_model = FiringModel(network, self.input_size)
        self._statistics = statistics
        fired = [layer.name for layer in network.firing_layers if statistics]
        graph = write_graph(network, self.input_size, trains=fired, carry_state=carry_state)
        model = helper.make_model(
            graph, ir_version=8, opset_imports=[helper.make_opsetid('', OPSET)])
        self._session = open_session(
            model.SerializeToString(), threads=threads, spinning=spinning, providers=providers)
        self._binding = self._session.io_binding()
        self._arrays = {
            **{value.name: bound_array(value, self._binding.bind_input)
               for value in graph.input},
            **{value.name: bound_array(value, self._binding.bind_output)
               for value in graph.output}}
        #: Membranes before and after a run.
        self._states = [
            (array, self._arrays[name.removesuffix(BEFORE_SUFFIX) + AFTER_SUFFIX])
            for name, array in self._arrays.items() if name.endswith(BEFORE_SUFFIX)]
        self._readouts = {name: self._arrays[name][0].transpose(1, 2, 0)
                          for name in network.outputs}
        #: Spikes of every layer of LIF neurons for the last picture or window, bool [T, h, w, C].
        self.trains = {name: self._arrays[name + TRAIN_SUFFIX].transpose(0, 2, 3, 1)
                       for name in fired}

    def run(self, pixels: NDArray[np.uint8]) -> dict[str, NDArray[np.float32]]:
        check_pixels(pixels, self.network.input_shape(self.input_size))
        self._arrays[IMAGE][...] = np.moveaxis(pixels, -1, -3)
        self._session.run_with_iobinding(self._binding)
        for before, after in self._states:
            before[...] = after
        return self._readouts

    def reset(self) -> None:
        """Start from empty membranes."""
        for before, _ in self._states:
            before[...] = 0

    def levels(self) -> dict[str, NDArray[np.uint8]]:
        self._require_statistics()
        return {name: train.sum(axis=0, dtype=np.uint8) for name, train in self.trains.items()}

    def firing(self) -> FiringStatistics:
        self._require_statistics()
        return self._firing_model.statistics(np.array([
            [np.count_nonzero(step[run.channels])
             for step in self._arrays[run.layer + TRAIN_SUFFIX]]
            for run in self._firing_model.runs]))

    def _require_statistics(self) -> None:
        if not self._statistics:
            raise EngineError('the spikes of this engine were not kept: make it with '
                              'statistics=True')
