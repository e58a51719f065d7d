# SPDX-License-Identifier: Apache-2.0
"""
Who takes part in the race on a GPU, and what keeps the others from it.

All run batch 1, and a frame holds the upload of its picture from pinned memory and the download of
its readouts. A contestant returns the ms between two events around that.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from importlib.util import find_spec
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks import contestants
from benchmarks.contestants import SPIKINGJELLY, planes, unit_planes
from benchmarks.sessions import OnnxRuntimeSession
from benchmarks.subjects import Subject
from benchmarks.timing import Contestant
from snn_detector_ros.conversion import to_onnx
from snn_detector_ros.engines.gpu.driver import Driver
from snn_detector_ros.engines.gpu.engine import GpuEngine
from snn_detector_ros.engines.gpu.kernel_store import Kernels
from snn_detector_ros.engines.gpu.plan import Plan
from snn_detector_ros.engines.gpu.session import GpuSession, GpuSessions
from snn_detector_ros.engines.onnxruntime import CPU_PROVIDER, Provider, provider_name
from snn_detector_ros.engines.onnxruntime_providers import providers_of
from snn_detector_ros.errors import EngineError, SnnDetectorError
from snn_detector_ros.network import SpikingNetwork

OURS: dict[Kernels, str] = {
    'triton': 'spiking, Triton kernels', 'cuda': 'spiking, CUDA C++ kernels'}
TORCH = 'float network, torch fp16 graph'
TENSORRT = 'float network, TensorRT fp16'
ONNX_CUDA = 'float network, ONNX Runtime CUDA'
#: Float networks, the one first that ratios refer to if it is there.
FLOATS = (TORCH, TENSORRT, ONNX_CUDA)

CUDA_PROVIDER = 'CUDAExecutionProvider'


@dataclass(frozen=True, eq=False)
class Ours:
    """
    Our engine, and what a frame of it runs.

    :param sessions: opens further plans on the same GPU.
    """

    engine: GpuEngine
    sessions: GpuSessions
    plan: Plan
    session: GpuSession

    @classmethod
    def open(
        cls, network: SpikingNetwork, kernels: Kernels, size: int, sessions: GpuSessions,
    ) -> Ours:
        """Open an engine that counts spikes, for pictures of ``size`` px."""
        opened: list[tuple[Plan, GpuSession]] = []

        def open_session(plan: Plan, downloads: Sequence[str]) -> GpuSession:
            opened.append((plan, sessions.open(plan, downloads)))
            return opened[-1][1]

        engine = GpuEngine(
            network, kernels=kernels, input_size=(size, size), open_session=open_session)
        return cls(engine, sessions, *opened[0])

    def contestant(self, pixels: NDArray[np.uint8]) -> Contestant:
        """Return the frame of a picture."""
        self.session.source[:] = pixels.reshape(-1)
        return Contestant(self.session.timed_run)


def opponents(
    subject: Subject, pixels: NDArray[np.uint8], driver: Driver,
) -> tuple[dict[str, Contestant], dict[str, str]]:
    """
    Make all opponents that can take part.

    :param pixels: uint8 [size, size, 3], the picture of every frame.
    :returns: the contestants, and why the others are none.
    """
    makers: dict[str, Callable[[], Contestant]] = {
        TORCH: lambda: _torch(subject, pixels),
        TENSORRT: lambda: _onnxruntime(
            subject, pixels, driver, 'onnxruntime-tensorrt', {'trt_fp16_enable': '1'}),
        ONNX_CUDA: lambda: _onnxruntime(subject, pixels, driver, 'onnxruntime-cuda', {}),
        SPIKINGJELLY: lambda: _spikingjelly(subject, pixels),
    }
    made, absent = {}, {}
    for name, make in makers.items():
        try:
            made[name] = make()
        except (SnnDetectorError, RuntimeError) as error:  # RuntimeErrors are torch's
            absent[name] = str(error).splitlines()[0]
    return made, absent


def _torch(subject: Subject, pixels: NDArray[np.uint8]) -> Contestant:
    _require_torch()
    from benchmarks.float_torch import GraphedNetwork, timed

    return Contestant(timed(GraphedNetwork(subject.float_network, pixels).run))


def _spikingjelly(subject: Subject, pixels: NDArray[np.uint8]) -> Contestant:
    _require_torch()
    lacking = contestants.missing().get(SPIKINGJELLY)
    if lacking is not None:
        raise EngineError(f'{lacking} not installed')
    import torch

    from benchmarks.float_torch import timed
    from benchmarks.spikingjelly_network import SpikingJellyNetwork

    module = SpikingJellyNetwork(
        replace(subject.network, input_size=pixels.shape[:2]), steps=4).cuda()
    picture = torch.from_numpy(planes(pixels).astype(np.float32) / np.float32(255)).pin_memory()

    def frame() -> None:
        with torch.inference_mode():
            for readout in module(picture.cuda(non_blocking=True)):
                readout.cpu()

    return Contestant(timed(frame), every=4)


def _require_torch() -> None:
    """
    Require a torch that can use the GPU.

    :raises EngineError: if there is none.
    """
    if find_spec('torch') is None:
        raise EngineError('torch not installed')
    import torch

    if not torch.cuda.is_available():
        raise EngineError(f'torch {torch.__version__} cannot use the GPU: install its CUDA build')


def _onnxruntime(
    subject: Subject, pixels: NDArray[np.uint8], driver: Driver, engine: str,
    settings: dict[str, str],
) -> Contestant:
    """
    Return the float network in ONNX Runtime, on a stream of ours, so that events are around it.

    :param engine: whose provider runs it.
    :param settings: of that provider.
    """
    wanted = provider_name(providers_of(engine)[0])
    driver.bind()
    stream = driver.stream()
    on_stream = {'user_compute_stream': str(int(stream))}
    providers: list[Provider] = [(wanted, settings | on_stream)]
    if wanted != CUDA_PROVIDER:
        providers.append((CUDA_PROVIDER, on_stream))
    values = unit_planes(pixels)
    memory, _ = driver.pinned(values.nbytes)
    feed: NDArray[Any] = memory.view(np.float32).reshape(values.shape)
    feed[...] = values
    session = OnnxRuntimeSession(
        to_onnx(subject.float_network, input_size=pixels.shape[:2]), {'images': feed}, threads=1,
        providers=[*providers, CPU_PROVIDER])

    def run() -> float:
        driver.bind()
        return driver.elapsed(stream, session.run)

    return Contestant(run)
