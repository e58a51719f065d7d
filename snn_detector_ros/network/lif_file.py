# SPDX-License-Identifier: Apache-2.0
"""
A directly trained network as metadata and graph of a model file, and read back with suspicion.

The metadata name the layers, the graph holds their weights. A graph is accepted only if it is the
one that its metadata would be written as: another may compute something else.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import GraphProto

from snn_detector_ros.errors import NetworkError
from snn_detector_ros.network.head_entry import from_entry, integer, to_entry
from snn_detector_ros.network.layers import Add, Concat, MaxPool, Upsample
from snn_detector_ros.network.lif_graph import write_graph
from snn_detector_ros.network.lif_layers import Lif, LifLayer, Mean, SiluMembrane, Synapses
from snn_detector_ros.network.lif_network import LifNetwork
from snn_detector_ros.network.lif_validation import validate_lif
from snn_detector_ros.network.qdq_reader import read_array

#: What the metadata say where a converted network says nothing.
KIND = 'lif'
_REMEDY = 'export the trained network again instead of editing the model file'
_KINDS: dict[str, type[Any]] = {
    kind.__name__: kind
    for kind in (Synapses, Lif, SiluMembrane, Mean, MaxPool, Add, Concat, Upsample)}


def to_metadata(network: LifNetwork) -> dict[str, Any]:
    """Return all of a network but its weights, as JSON."""
    return {
        'kind': KIND,
        'name': network.name,
        'steps': network.steps,
        'coding': network.coding,
        'neutral': network.neutral,
        'input_size': network.input_size,
        'pixels': 'uint8, blue-green-red',
        'layers': [_layer_entry(layer) for layer in network.layers],
        'outputs': network.outputs,
        'class_names': network.class_names,
        'head': to_entry(network.head),
        'firing_rates': {name: float(f'{rate:.4g}')
                         for name, rate in network.firing_rates.items()},
        'provenance': dict(network.provenance),
    }


def from_metadata(metadata: Mapping[str, Any], graph: GraphProto) -> LifNetwork:
    """
    Read a network, and check it.

    :raises NetworkError: naming the layer or node at fault.
    :raises KeyError, TypeError, ValueError: if the metadata are malformed.
    """
    weights = {tensor.name: read_array(tensor) for tensor in graph.initializer
               if tensor.name.endswith(('/weight', '/bias'))}
    height, width = (integer(side) for side in metadata['input_size'])
    network = LifNetwork(
        name=str(metadata['name']),
        steps=integer(metadata['steps']),
        coding=metadata['coding'],
        neutral=tuple(float(value) for value in metadata['neutral']),
        input_size=(height, width),
        layers=tuple(_layer(entry, weights) for entry in metadata['layers']),
        outputs=tuple(str(name) for name in metadata['outputs']),
        head=from_entry(metadata['head']),
        class_names=tuple(str(name) for name in metadata['class_names']),
        firing_rates={str(name): float(rate)
                      for name, rate in metadata['firing_rates'].items()},
        provenance={str(key): str(value) for key, value in metadata['provenance'].items()},
    )
    validate_lif(network)
    _check_same(graph, write_graph(network))
    return network


def _check_same(graph: GraphProto, expected: GraphProto) -> None:
    for node, original in zip(graph.node, expected.node, strict=False):
        if node != original:
            raise NetworkError(node.name, f'{node.op_type} is not what the metadata say; {_REMEDY}')
    if graph != expected:
        raise NetworkError('graph', f'is not what the metadata say; {_REMEDY}')


def _layer_entry(layer: LifLayer) -> dict[str, Any]:
    entry = {key: value for key, value in asdict(layer).items() if key not in ('weight', 'bias')}
    return {'kind': type(layer).__name__, **entry}


def _layer(entry: Mapping[str, Any], weights: Mapping[str, NDArray[np.float32]]) -> LifLayer:
    kind = _KINDS.get(entry['kind'])
    if kind is None:
        raise NetworkError(str(entry['name']), f'kind `{entry["kind"]}` is unknown; known: '
                           f'{", ".join(_KINDS)}')
    name = str(entry['name'])
    values: dict[str, Any] = {key: weights[f'{name}/{key}'] for key in ('weight', 'bias')} \
        if kind is Synapses else {}
    layer: LifLayer = kind(**values, **{
        field.name: _READERS[field.name](entry[field.name])
        for field in fields(kind) if field.name not in values})
    return layer


def _integers(count: int) -> Callable[[Any], tuple[int, ...]]:
    def read(values: Any) -> tuple[int, ...]:
        if len(values) != count:
            raise ValueError(f'{values!r} are not {count} integers')
        return tuple(integer(value) for value in values)

    return read


#: What turns JSON into the fields of layers.
_READERS: dict[str, Callable[[Any], Any]] = {
    'name': str,
    'source': str,
    'sources': lambda values: tuple(str(value) for value in values),
    'stride': _integers(2),
    'kernel': _integers(2),
    'padding': _integers(4),
    'groups': integer,
    'factor': integer,
    'decay': float,
    'threshold': float,
    'over_map': bool,
}
