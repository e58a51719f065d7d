# SPDX-License-Identifier: Apache-2.0
"""Short, readable and unique layer names from the names that exporters give to nodes."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import zip_longest

from snn_detector_ros.conversion.onnx_graph import OnnxNode
from snn_detector_ros.network import IMAGE

#: Operators that stand for a module, whose path says enough.
_MODULES = ('Conv', 'ConvTranspose', 'MaxPool', 'Resize', 'Upsample')
_LAYERS = frozenset({*_MODULES, 'Add', 'Concat', 'Slice', 'Split'})
#: Operators that are mostly part of another layer, and must not change its name.
_PARTS = frozenset({
    'AveragePool', 'BatchNormalization', 'Clip', 'Div', 'Gemm', 'GlobalAveragePool',
    'GlobalMaxPool', 'LeakyRelu', 'MatMul', 'Max', 'Min', 'Mul', 'PRelu', 'ReduceMean', 'Relu',
    'Sub', 'Sum'})


def layer_names(nodes: Sequence[OnnxNode]) -> dict[str, str]:
    """
    Name the outputs of all nodes that become layers.

    ``/detector/neck/neck.2/cv1/cv1.0/Conv`` becomes ``neck.2.cv1`` if all convolutions are in
    ``detector`` and nothing else is in ``cv1``.

    :returns: name of each ONNX tensor; no two are equal.
    """
    paths = {output: _path(node, index)
             for node in nodes if node.operator in _LAYERS
             for index, output in enumerate(node.outputs)}
    convolutions = [paths[node.outputs[0]] for node in nodes if node.operator == 'Conv']
    root = convolutions[0][0] if convolutions else ''
    if all(len(path) > 1 and path[0] == root for path in convolutions):
        paths = {output: path[1:] if path[0] == root and len(path) > 1 else path
                 for output, path in paths.items()}
    names = _shorten({output: '.'.join(path) for output, path in paths.items()})
    parts = {node.outputs[0]: '.'.join(_path(node, 0)) for node in nodes if node.operator in _PARTS}
    return _unique(names | parts)


def _path(node: OnnxNode, output: int) -> list[str]:
    """Return the modules that a node is in, outermost first, and what tells it apart there."""
    parts = [re.sub(r'[^A-Za-z0-9_.-]', '_', part) for part in node.name.split('/') if part]
    parts = [part.removeprefix('node_') for part in parts]  # of torch's newer exporter
    parts = [part for part, inner in zip_longest(parts, parts[1:], fillvalue='')
             if not inner.startswith(f'{part}.')] or [node.operator]
    if len(parts) > 1 and node.operator in _MODULES and parts[-1].startswith(node.operator):
        parts.pop()
    elif parts[-1][0].isdigit():
        parts[-1] = f'{node.operator.lower()}_{parts[-1]}'
    elif parts[-1].startswith(node.operator):
        parts[-1] = parts[-1].lower()
    if output:
        parts[-1] += f'-{output}'
    return parts


def _shorten(names: dict[str, str]) -> dict[str, str]:
    """Drop a last part ``0`` or ``conv`` that is alone in its module."""
    counts: dict[str, int] = {}
    for name in names.values():
        for dot in re.finditer(r'\.', name):
            module = name[:dot.start()]
            counts[module] = counts.get(module, 0) + 1
    taken = set(names.values())
    short = {}
    for output, name in names.items():
        module, _, last = name.rpartition('.')
        is_alone = counts.get(module) == 1 and module not in taken
        short[output] = module if is_alone and last in ('0', 'conv') else name
    return short


def _unique(names: dict[str, str]) -> dict[str, str]:
    """Number the names that occur more than once."""
    taken = {IMAGE, ''}
    unique = {}
    for output, name in names.items():
        number, candidate = 1, name
        while candidate in taken:
            number += 1
            candidate = f'{name}_{number}'
        taken.add(candidate)
        unique[output] = candidate
    return unique
