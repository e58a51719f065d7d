# SPDX-License-Identifier: Apache-2.0
"""
Tell the body of a network, which becomes spikes, from the float tail behind it.

A node belongs to the body if a layer of synapses needs it. Not every product with weights is such a
layer: box decoding has some too, behind a Sigmoid or a Softmax (the expectation of a distribution
over distances, a change of coordinates).
"""

from __future__ import annotations

from snn_detector_ros.conversion.onnx_graph import OnnxGraph, OnnxNode
from snn_detector_ros.conversion.onnx_operators import OPERATORS

_CONVOLUTIONS = ('Conv', 'ConvTranspose')
_PRODUCTS = ('Gemm', 'MatMul')


def find_body(graph: OnnxGraph) -> frozenset[OnnxNode]:
    """Return the nodes that the synapses of a graph need, synapses included."""
    synapses = _find_synapses(graph)
    body: set[OnnxNode] = set()
    wanted: set[str] = set()
    for node in reversed(graph.nodes):
        if node in synapses or not wanted.isdisjoint(node.outputs):
            body.add(node)
            wanted.update(node.inputs)
    return frozenset(body)


def _find_synapses(graph: OnnxGraph) -> set[OnnxNode]:
    decoded: set[str] = set()  # tensors behind an operator that has no spiking form
    sizes: set[str] = set()  # tensors that depend on the shapes of others alone
    synapses: set[OnnxNode] = set()
    for node in graph.nodes:
        if graph.fold(node):
            continue
        if node.operator == 'Shape' or all(
                name in sizes or graph.is_known(name) for name in node.inputs if name):
            sizes.update(node.outputs)
            continue
        behind = not decoded.isdisjoint(node.inputs)
        if node.operator in _CONVOLUTIONS and not (behind and _is_expectation(graph, node)):
            synapses.add(node)
        elif node.operator in _PRODUCTS and not behind and any(
                graph.is_known(name) for name in node.inputs[:2]):
            synapses.add(node)
        elif behind or node.operator not in OPERATORS:
            decoded.update(node.outputs)
    return synapses


def _is_expectation(graph: OnnxGraph, node: OnnxNode) -> bool:
    """Whether a convolution is one weighted mean over its channels (DFL of YOLOv8)."""
    weight = graph.constant(node.inputs[1])
    return weight is not None and weight.shape[0] == 1 and weight.shape[2:] == (1, 1)
