# SPDX-License-Identifier: Apache-2.0
"""
Who takes part in the race, and whether all that should agree does agree.

Everybody gets the picture in the form it likes best, made beforehand: the float network its
normalised planes, the exported file its planes of uint8. Our engine gets the picture as a camera
node has it, [H, W, 3], and rearranges it itself.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from importlib.util import find_spec

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto, TensorProto, helper

from benchmarks.sessions import OnnxRuntimeSession, OpenVinoSession
from benchmarks.timing import Contestant
from snn_detector_ros.conversion import FloatNetwork, to_onnx
from snn_detector_ros.engines.onnxruntime import OnnxRuntimeEngine
from snn_detector_ros.network import IMAGE, SpikingNetwork, model_file

FLOAT = 'float network, ONNX Runtime fp32'
COUNTED = 'spiking, statistics counted'
KEPT = 'spiking, levels kept'
BARE = 'spiking, no statistics'
FILE_ONNX_RUNTIME = 'exported file, ONNX Runtime'
FILE_OPENVINO = 'exported file, OpenVINO int8'
SPIKINGJELLY = 'SpikingJelly IF network, T=4'

#: Contestants that optional packages bring.
OPTIONAL = {FILE_OPENVINO: ('openvino',), SPIKINGJELLY: ('torch', 'spikingjelly')}


@dataclass(frozen=True)
class Conditions:
    """
    Conditions of one race.

    :param size: side of the square picture in px.
    :param threads: threads of each contestant.
    :param spinning: let idle threads of ONNX Runtime spin, in all its sessions alike.
    """

    size: int
    threads: int
    spinning: bool = False


@dataclass(frozen=True)
class Entries:
    """
    The contestants of one race.

    :param engine: our engine, with statistics.
    """

    contestants: dict[str, Contestant]
    engine: OnnxRuntimeEngine


def missing() -> dict[str, str]:
    """Return the contestants that cannot take part, each with the packages it lacks."""
    absent = {name: [package for package in packages if find_spec(package) is None]
              for name, packages in OPTIONAL.items()}
    return {name: ', '.join(packages) for name, packages in absent.items() if packages}


def enter(
    network: SpikingNetwork, float_network: FloatNetwork, pixels: NDArray[np.uint8],
    conditions: Conditions,
) -> Entries:
    """
    Make all contestants that can take part.

    :param float_network: the opponent that all ratios refer to.
    :param pixels: uint8 [size, size, 3], the picture of every frame.
    """
    sized = replace(network, input_size=(conditions.size, conditions.size))
    threads, spinning = conditions.threads, conditions.spinning
    engine, bare = (
        OnnxRuntimeEngine(sized, threads=threads, spinning=spinning, statistics=kept)
        for kept in (True, False))

    def run_and_count() -> None:
        engine.run(pixels)
        engine.firing()

    exported, feed = model_file.to_onnx(sized), {IMAGE: planes(pixels)}
    contestants = {
        FLOAT: Contestant(OnnxRuntimeSession(
            to_onnx(float_network, input_size=sized.input_size),
            {'images': unit_planes(pixels)}, threads=threads, spinning=spinning).run),
        COUNTED: Contestant(run_and_count),
        KEPT: Contestant(lambda: engine.run(pixels)),
        BARE: Contestant(lambda: bare.run(pixels)),
        FILE_ONNX_RUNTIME: Contestant(
            OnnxRuntimeSession(exported, feed, threads=threads, spinning=spinning).run),
    }
    absent = missing()
    if FILE_OPENVINO not in absent:
        contestants[FILE_OPENVINO] = Contestant(
            OpenVinoSession(exported, feed, threads=threads).run)
    if SPIKINGJELLY not in absent:
        contestants[SPIKINGJELLY] = Contestant(_spikingjelly(sized, pixels, threads), every=4)
    return Entries(contestants, engine)


def planes(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return a picture [H, W, 3] as [1, 3, H, W]."""
    return np.ascontiguousarray(pixels.transpose(2, 0, 1)[None])


def unit_planes(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return a blue-green-red picture [H, W, 3] as float networks read it: RGB in 0..1."""
    return planes(pixels[..., ::-1]).astype(np.float32) / np.float32(255)


def wrong_levels(
    network: SpikingNetwork, pixels: NDArray[np.uint8], *, openvino: bool,
) -> dict[str, int]:
    """
    Compare every level that other runtimes compute from the exported file with our engine's.

    :param openvino: include OpenVINO.
    :returns: ``levels`` that were compared, and for each contestant how many of them differ.
    """
    sized = replace(network, input_size=(pixels.shape[0], pixels.shape[1]))
    engine = OnnxRuntimeEngine(sized, threads=1)
    engine.run(pixels)
    expected = engine.levels()
    exported, feed = _with_levels(sized), {IMAGE: planes(pixels)}
    sessions: dict[str, OnnxRuntimeSession | OpenVinoSession] = {
        FILE_ONNX_RUNTIME: OnnxRuntimeSession(exported, feed, threads=1)}
    if openvino:
        sessions[FILE_OPENVINO] = OpenVinoSession(exported, feed, threads=1)
    result = {'levels': sum(levels.size for levels in expected.values())}
    for name, session in sessions.items():
        session.run()
        result[name] = sum(
            int(np.count_nonzero(session.output(layer)[0].transpose(1, 2, 0) != levels))
            for layer, levels in expected.items())
    return result


def _with_levels(network: SpikingNetwork) -> ModelProto:
    """Return the exported file with the levels of all firing layers as further outputs."""
    model = model_file.to_onnx(network)
    shapes = network.shapes()
    for layer in network.firing_layers:
        height, width, channels = shapes[layer.name]
        model.graph.output.append(helper.make_tensor_value_info(
            layer.name, TensorProto.UINT8, [1, channels, height, width]))
    return model


def _spikingjelly(
    network: SpikingNetwork, pixels: NDArray[np.uint8], threads: int,
) -> Callable[[], object]:
    import torch

    from benchmarks.spikingjelly_network import SpikingJellyNetwork

    module = SpikingJellyNetwork(network, steps=4)
    picture = torch.from_numpy(planes(pixels).astype(np.float32) / np.float32(255))

    def run() -> None:
        torch.set_num_threads(threads)
        with torch.inference_mode():
            module(picture)

    return run
