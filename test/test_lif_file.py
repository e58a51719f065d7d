# SPDX-License-Identifier: Apache-2.0
"""Model files of directly trained networks: loaded as saved, and refused where they were edited."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import fields, is_dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from lif_builder import small_lif_detector
from onnx import ModelProto, numpy_helper

from snn_detector_ros.cli.inspect import report
from snn_detector_ros.errors import ModelFileError, NetworkError
from snn_detector_ros.network import (
    Add,
    Lif,
    LifNetwork,
    MaxPool,
    Mean,
    RawHead,
    Synapses,
    Upsample,
)
from snn_detector_ros.network.lif_validation import validate_lif
from snn_detector_ros.network.model_file import (
    METADATA_KEY,
    is_spiking,
    load,
    load_converted,
    save,
    to_onnx,
)


def same(first: Any, second: Any) -> bool:
    """Compare two layers field by field, arrays with their types."""
    assert is_dataclass(first)
    pairs = [(getattr(first, f.name), getattr(second, f.name)) for f in fields(first)]
    return type(first) is type(second) and all(
        a.dtype == b.dtype and np.array_equal(a, b) if isinstance(a, np.ndarray)
        else type(a) is type(b) and a == b for a, b in pairs)


@pytest.mark.parametrize('coding', ['repeated', 'binned'])
def test_a_saved_network_is_loaded_unchanged(coding: Any, tmp_path: Path) -> None:
    network = small_lif_detector(coding=coding)
    save(network, tmp_path / 'model.onnx')
    loaded = load(tmp_path / 'model.onnx')
    assert isinstance(loaded, LifNetwork)
    assert all(same(a, b) for a, b in zip(network.layers, loaded.layers, strict=True))
    for field in fields(LifNetwork):
        if field.name != 'layers':
            assert getattr(loaded, field.name) == getattr(network, field.name), field.name
    onnx.checker.check_model(onnx.load(str(tmp_path / 'model.onnx')), full_check=True)
    assert is_spiking(tmp_path / 'model.onnx')


def test_it_is_no_converted_network(tmp_path: Path) -> None:
    save(small_lif_detector(), tmp_path / 'model.onnx')
    with pytest.raises(ModelFileError, match='never was a float network'):
        load_converted(tmp_path / 'model.onnx')


def edit_metadata(model: ModelProto, change: Callable[[dict[str, Any]], object]) -> None:
    entry = next(item for item in model.metadata_props if item.key == METADATA_KEY)
    metadata = json.loads(entry.value)
    change(metadata)
    entry.value = json.dumps(metadata)


def layer_entry(metadata: dict[str, Any], name: str) -> dict[str, Any]:
    return next(layer for layer in metadata['layers'] if layer['name'] == name)


def set_weight(model: ModelProto, value: np.ndarray) -> None:
    tensor = next(t for t in model.graph.initializer if t.name == 'grown/weight')
    tensor.CopyFrom(numpy_helper.from_array(value, tensor.name))


def drop_weight(model: ModelProto) -> None:
    del model.graph.initializer[[t.name for t in model.graph.initializer].index('grown/weight')]


def move_weight(model: ModelProto) -> None:
    tensor = next(t for t in model.graph.initializer if t.name == 'grown/weight')
    tensor.data_location = onnx.TensorProto.EXTERNAL


def swap_operator(model: ModelProto) -> None:
    next(node for node in model.graph.node if node.op_type == 'Greater').op_type = 'Less'


GRAPH_EDITS: dict[str, tuple[Callable[[ModelProto], None], str]] = {
    'comparison': (swap_operator, 'fired/fired0: Less is not what the metadata say'),
    'last node': (lambda model: model.graph.node.pop(), 'graph: is not what the metadata say'),
    'another output': (lambda model: model.graph.output.pop(), 'graph: is not what the metadata'),
    'missing weight': (drop_weight, 'grown/weight'),
    'external weight': (move_weight, 'keeps its data in another file'),
    'type of a weight': (
        lambda model: set_weight(model, np.zeros((4, 8, 1, 1))), 'needs float32'),
    'shape of a weight': (
        lambda model: set_weight(model, np.zeros((4, 8), np.float32)), 'needs float32'),
    'infinite weight': (
        lambda model: set_weight(model, np.full((4, 8, 1, 1), np.inf, np.float32)), 'finite'),
}
METADATA_EDITS: dict[str, tuple[Callable[[dict[str, Any]], object], str]] = {
    'steps': (lambda data: data.update(steps=3), 'is not what the metadata say'),
    'many steps': (lambda data: data.update(steps=10**6), 'at most 128'),
    'fraction of steps': (lambda data: data.update(steps=4.0), 'no integer'),
    'coding': (lambda data: data.update(coding='rate'), '`rate` is neither'),
    'neutral': (lambda data: data.update(neutral=[0]), 'needs 3 value'),
    'threshold': (
        lambda data: layer_entry(data, 'fired').update(threshold=0.25), 'not what the metadata'),
    'no threshold': (
        lambda data: layer_entry(data, 'fired').update(threshold=0), 'must be positive'),
    'decay': (lambda data: layer_entry(data, 'fired').update(decay=float('nan')), 'decay nan'),
    'stride': (lambda data: layer_entry(data, 'grown').update(stride=[1]), 'not 2 integers'),
    'kind': (lambda data: layer_entry(data, 'fired').update(kind='Izhikevich'), 'unknown'),
    'missing field': (lambda data: layer_entry(data, 'fired').pop('decay'), 'decay'),
    'huge side': (lambda data: data.update(input_size=[10**6, 32]), 'sides must be'),
    'head': (lambda data: data['head'].update(kind='yolov9'), 'kind `yolov9` is unknown'),
    'classes': (lambda data: data.update(class_names=['one']), 'needs 12'),
    'layers': (lambda data: data.update(layers=[]), '0 layers'),
    'no object': (lambda data: data.update(layers=7), 'cannot be read'),
}


@pytest.mark.parametrize(('change', 'message'), GRAPH_EDITS.values(), ids=GRAPH_EDITS)
def test_an_edited_graph_is_refused(
    change: Callable[[ModelProto], None], message: str, tmp_path: Path,
) -> None:
    model = to_onnx(small_lif_detector())
    change(model)
    path = tmp_path / 'model.onnx'
    path.write_bytes(model.SerializeToString())
    with pytest.raises(ModelFileError, match=message) as error:
        load(path)
    assert str(error.value).startswith(f'{path}: ')


@pytest.mark.parametrize(('change', 'message'), METADATA_EDITS.values(), ids=METADATA_EDITS)
def test_edited_metadata_are_refused(
    change: Callable[[dict[str, Any]], object], message: str, tmp_path: Path,
) -> None:
    model = to_onnx(small_lif_detector())
    edit_metadata(model, change)
    path = tmp_path / 'model.onnx'
    path.write_bytes(model.SerializeToString())
    with pytest.raises(ModelFileError, match=message):
        load(path)


def test_a_cut_file_is_refused(tmp_path: Path) -> None:
    data = to_onnx(small_lif_detector()).SerializeToString()
    path = tmp_path / 'model.onnx'
    for length in range(0, len(data), len(data) // 23):
        path.write_bytes(data[:length])
        with pytest.raises(ModelFileError):
            load(path)


def replaced(name: str, **values: Any) -> LifNetwork:
    """Return the small network with other values in one layer."""
    network = small_lif_detector()
    return replace(network, layers=tuple(
        replace(layer, **values) if layer.name == name else layer for layer in network.layers))


def with_layer(layer: Any) -> LifNetwork:
    network = small_lif_detector()
    return replace(network, layers=(*network.layers, layer))


BAD_NETWORKS: dict[str, tuple[Callable[[], LifNetwork], str]] = {
    'order': (lambda: replaced('grown', source='detect0'), 'reads `detect0`'),
    'pool of the picture': (
        lambda: with_layer(MaxPool('pool', 'image', (2, 2))), 'only convolutions may'),
    'sum of means': (lambda: with_layer(Add('sum', ('mean0', 'mean0'))), 'a mean over time'),
    'copy of a readout': (lambda: with_layer(Upsample('copy', 'detect0')), 'reads `detect0`'),
    'unknown readout': (
        lambda: replace(small_lif_detector(), outputs=('detect0',)), 'must be exactly'),
    'convolution as output': (
        lambda: replace(small_lif_detector(), outputs=('detect0', 'detect1', 'grown')),
        'must be exactly'),
    'name twice': (lambda: with_layer(Lif('fired', 'stem')), 'unique'),
    'slash': (lambda: with_layer(Lif('a/b', 'stem')), 'without a slash'),
    'channels': (lambda: replaced('deep', source='joined'), 'do not fit an input of 12'),
    'bias': (lambda: replaced('grown', bias=np.zeros(3, np.float32)), 'bias is float32'),
    'raw head': (
        lambda: replace(small_lif_detector(), head=RawHead(b'x', {'detect0': 'a'})), 'raw head'),
    'map sizes': (lambda: replaced('up', factor=3), 'height and width must agree'),
    'means of means': (lambda: with_layer(Mean('again', 'mean0')), 'only convolutions may'),
}


@pytest.mark.parametrize(('make', 'message'), BAD_NETWORKS.values(), ids=BAD_NETWORKS)
def test_a_network_that_breaks_a_rule_is_refused(
    make: Callable[[], LifNetwork], message: str, tmp_path: Path,
) -> None:
    with pytest.raises(NetworkError, match=message):
        validate_lif(make())
    with pytest.raises(NetworkError, match=message):
        save(make(), tmp_path / 'model.onnx')


def test_tensors_know_their_kind() -> None:
    network = small_lif_detector()
    assert network.spike_tensors == {'fired', 'slow'}
    assert network.single_tensors == {'image', 'stem', 'mean0', 'mean1', 'detect0', 'detect1'}
    binned = small_lif_detector(coding='binned')
    assert binned.single_tensors == {'mean0', 'mean1', 'detect0', 'detect1'}
    assert network.input_shape() == (32, 48, 3)
    assert binned.input_shape((64, 32)) == (4, 64, 32, 1)


def test_the_stem_of_a_repeated_picture_is_computed_once() -> None:
    model = onnx.shape_inference.infer_shapes(to_onnx(small_lif_detector(steps=5)))
    graph = model.graph
    assert [d.dim_value for d in graph.input[0].type.tensor_type.shape.dim] == [1, 3, 32, 48]
    batches = {value.name: value.type.tensor_type.shape.dim[0].dim_value
               for value in graph.value_info}
    assert batches['stem'] == 1 and batches['grown'] == batches['block'] == 5
    assert sum(node.op_type == 'Conv' for node in graph.node) == sum(
        isinstance(layer, Synapses) for layer in small_lif_detector().layers)


def test_inspect_prints_layers_and_rates() -> None:
    lines = list(report(small_lif_detector(), []))
    assert lines[0].startswith('small: LIF neurons, T=4, repeated input, input 32x48, 2 classes')
    rows = {line.split()[0]: line.split() for line in lines}
    assert rows['fired'] == ['fired', 'lif', '16x24x8', '0.5', '0.2500']
    assert rows['detect0'][1:4] == ['conv', '1x1/1', 'readout']
