# SPDX-License-Identifier: Apache-2.0
"""
Latency of directly trained networks, next to a twin of ReLU neurons in the same runtime.

The weights are random: time does not depend on how many neurons fire. Needs torch (extra: train).
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch
from onnx import GraphProto, helper

from snn_detector_ros.engines.lif_onnxruntime import LifOnnxRuntimeEngine
from snn_detector_ros.engines.onnxruntime import open_session
from snn_detector_ros.network import IMAGE, LifNetwork
from snn_detector_ros.network.lif_graph import OPSET, write_graph
from snn_detector_ros.training.spiking.ems_yolo import SIZES, EmsYolo
from snn_detector_ros.training.spiking.export import export_ems_yolo

ANCHORS = [(10.0, 14.0), (23.0, 27.0), (37.0, 58.0)]


def main() -> None:
    """Print the least time of each contestant; all take turns."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--model', choices=SIZES, default='ems-res10-narrow')
    parser.add_argument('--size', type=int, default=320, help='side of the input, px')
    parser.add_argument('--steps', type=int, nargs='+', default=[1, 4, 5], metavar='T')
    parser.add_argument('--threads', type=int, default=1)
    parser.add_argument('--rounds', type=int, default=25)
    args = parser.parse_args()
    runs: dict[str, Callable[[], object]] = {}
    for steps in args.steps:
        for coding, bins in (('pictures', None), ('bins of events', steps)):
            network = _network(args.model, args.size, steps=None if bins else steps, bins=bins)
            runs[f'T={steps}, {coding}'] = _engine(network, args.threads, statistics=False)
            if not bins:
                runs[f'T={steps}, {coding}, statistics'] = _engine(
                    network, args.threads, statistics=True)
    runs['ReLU twin'] = _relu_twin(network, args.threads)
    best = dict.fromkeys(runs, float('inf'))
    for _ in range(args.rounds):
        for name, run in runs.items():
            start = time.perf_counter()
            run()
            best[name] = min(best[name], time.perf_counter() - start)
    print(f'{args.model}, {args.size} x {args.size} px, {args.threads} thread(s)')
    for name, seconds in best.items():
        print(f'{name:26} {1e3 * seconds:7.2f} ms')


def _network(model: str, side: int, *, steps: int | None, bins: int | None) -> LifNetwork:
    size = SIZES[model]
    network = EmsYolo(size, 2, [ANCHORS] * size.levels, channels=1 if bins else 3, steps=steps)
    return export_ems_yolo(
        network, name=model, class_names=('a', 'b'), input_size=(side, side), bins=bins)


def _engine(network: LifNetwork, threads: int, *, statistics: bool) -> Callable[[], object]:
    engine = LifOnnxRuntimeEngine(network, threads=threads, statistics=statistics)
    pixels = np.random.default_rng(0).integers(0, 256, network.input_shape(), dtype=np.uint8)
    return lambda: engine.run(pixels)


def _relu_twin(network: LifNetwork, threads: int) -> Callable[[], object]:
    """Return a run of the network with one step and ReLU for its neurons."""
    graph = write_graph(replace(network, steps=1, coding='repeated'))
    rectified = GraphProto()
    rectified.CopyFrom(graph)
    del rectified.node[:]
    membranes = {node.output[0]: node.input[0] for node in graph.node if node.op_type == 'Greater'}
    for node in graph.node:
        if node.input[0] in membranes:
            rectified.node.append(
                helper.make_node('Relu', [membranes[node.input[0]]], list(node.output)))
        elif node.op_type != 'Greater':
            rectified.node.append(node)
    model = helper.make_model(
        rectified, ir_version=8, opset_imports=[helper.make_opsetid('', OPSET)])
    session = open_session(model.SerializeToString(), threads=threads, spinning=False)
    shape = [size.dim_value for size in graph.input[0].type.tensor_type.shape.dim]
    pixels = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    return lambda: session.run(None, {IMAGE: pixels})


if __name__ == '__main__':
    torch.manual_seed(0)
    main()
