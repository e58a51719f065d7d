# SPDX-License-Identifier: Apache-2.0
"""
The engine for NVIDIA GPUs: fused kernels on integer levels, one CUDA graph a frame.

What runs the kernels is a session: on a GPU that of :mod:`~snn_detector_ros.engines.gpu.session`,
in tests Triton's interpreter.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from snn_detector_ros.engines.base import check_pixels
from snn_detector_ros.engines.gpu.kernel_store import Kernels
from snn_detector_ros.engines.gpu.plan import COUNTS, Plan
from snn_detector_ros.engines.gpu.planner import make_plan
from snn_detector_ros.engines.gpu.usable import why_unfit
from snn_detector_ros.engines.picture import Fit
from snn_detector_ros.engines.statistics import FiringModel, FiringStatistics
from snn_detector_ros.errors import EngineError
from snn_detector_ros.network import IMAGE, SpikingNetwork
from snn_detector_ros.network.validation import check_shapes, require_separated, validate


class Session(Protocol):
    """A plan, ready to run."""

    #: The camera's picture, uint8, to be filled before a run, and left as it is by it.
    source: NDArray[np.uint8]
    #: The bytes of the downloaded buffers, int8, filled by a run.
    results: dict[str, NDArray[np.int8]]

    def run(self) -> None:
        """Run a frame, and wait for its results."""
        ...

    def close(self) -> None:
        """Give the memory back."""
        ...


#: The kernels that let a convolution of single pixels follow another.
WITH_TAILS = 'triton'
#: Of a plan, and of the buffers whose contents a frame brings back.
OpenSession = Callable[[Plan, Sequence[str]], Session]


class GpuEngine:
    """
    Runs a network on a GPU.

    :param network: the network; is validated.
    :param kernels: ``triton`` or ``cuda``: which of the two equal sets of kernels.
    :param input_size: (height, width) of the network's input in px; the network's own if None.
    :param statistics: count spikes, and allow :meth:`levels`.
    :param model_path: the model file, beside which compiled kernels may lie.
    :param open_session: runs plans; None takes the GPU.
    :raises EngineError: if the network does not fit these kernels, or the GPU cannot be used.
    """

    def __init__(
        self,
        network: SpikingNetwork,
        *,
        kernels: Kernels = 'triton',
        input_size: tuple[int, int] | None = None,
        statistics: bool = True,
        model_path: Path | None = None,
        open_session: OpenSession | None = None,
    ) -> None:
        validate(network)
        require_separated(network, kernels)
        problem = why_unfit(network)
        if problem is not None:
            raise EngineError(f'engine `{kernels}`: {problem}')
        self.name: str = kernels
        self.network = network
        self.input_size = input_size or network.input_size
        self._shapes = check_shapes(network, self.input_size)
        self._firing_model = FiringModel(network, self.input_size)
        self._statistics = statistics
        self._open = open_session or _gpu_sessions(kernels, model_path)
        self._fired = [conv.name for conv in network.convolutions
                       if conv.name in network.outputs and not conv.is_readout]
        self._whole = Fit(self.input_size, self.input_size)
        self._fit = self._whole
        self._plan, self._session = self._prepare(self._fit)

    def run(self, pixels: NDArray[np.uint8]) -> dict[str, NDArray[np.int32]]:
        check_pixels(pixels, self._shapes[IMAGE])
        return self.run_picture(pixels, self._whole)

    def run_picture(
        self, image: NDArray[np.uint8], fit: Fit,
    ) -> dict[str, NDArray[np.int32]]:
        """
        Run a picture of any size; it is fitted on the GPU, exactly as OpenCV does it.

        :param image: uint8 [H, W, 3], or [H, W] if mono, of the size that ``fit`` names.
        :param fit: where it lies in the network's input; another one than before takes the time
            of a start.
        :returns: as :meth:`run`.
        """
        if fit != self._fit:
            # In this order, so that a GPU without room for both leaves an engine that works.
            plan, session = self._prepare(fit)
            self._session.close()
            self._plan, self._session, self._fit = plan, session, fit
        self._session.source[:] = image.reshape(-1)
        self._session.run()
        return self._outputs()

    def levels(self) -> dict[str, NDArray[np.int8]]:
        """
        Return the levels of every firing layer for the last picture, [h, w, C].

        Layers that share a launch do not all write their levels. So the picture runs once more,
        through a plan that shares none.
        """
        self._require_statistics()
        plan = make_plan(self.network, self.input_size, self._fit, fuse=False)
        names = [layer.name for layer in self.network.firing_layers]
        buffers = sorted({plan.views[name].buffer for name in names})
        session = self._open(plan, buffers)
        session.source[:] = self._session.source
        session.run()
        levels = {name: plan.views[name].gather(session.results[plan.views[name].buffer])
                  for name in names}
        session.close()
        return levels

    def firing(self) -> FiringStatistics:
        self._require_statistics()
        counts = self._session.results[COUNTS].view(np.int32).reshape(self._plan.counts)
        spikes = np.array([
            counts[:, self._plan.columns[run.layer]][:, run.channels].sum(axis=1, dtype=np.int64)
            for run in self._firing_model.runs])
        return self._firing_model.statistics(spikes)

    def _prepare(self, fit: Fit) -> tuple[Plan, Session]:
        plan = make_plan(self.network, self.input_size, fit, statistics=self._statistics,
                         tails=self.name == WITH_TAILS)
        downloads = [*plan.readouts, *{plan.views[name].buffer for name in self._fired}]
        return plan, self._open(plan, [*downloads, *([COUNTS] if self._statistics else [])])

    def _outputs(self) -> dict[str, NDArray[Any]]:
        plan, results = self._plan, self._session.results
        return {
            name: (plan.views[name].gather(results[plan.views[name].buffer]).astype(np.int32)
                   if name in self._fired else
                   results[name].view(np.int32).reshape(plan.readouts[name]))
            for name in self.network.outputs}

    def _require_statistics(self) -> None:
        if not self._statistics:
            raise EngineError('the levels of this engine were not kept: make it with '
                              'statistics=True')


def _gpu_sessions(kernels: Kernels, model_path: Path | None) -> OpenSession:
    from snn_detector_ros.engines.gpu.session import GpuSessions

    return GpuSessions(kernels, model_path).open
