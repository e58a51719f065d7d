# SPDX-License-Identifier: Apache-2.0
"""Model files: what is saved is loaded again; what is damaged is refused by name."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from network_builder import small_detector, small_signed_detector
from numpy.typing import NDArray
from onnx import ModelProto, numpy_helper
from random_graphs import SLOPES, networks

from snn_detector_ros.engines import make_engine
from snn_detector_ros.engines.onnxruntime import pairs_saturate
from snn_detector_ros.errors import ModelFileError
from snn_detector_ros.network import Convolution, SpikeCode, SpikingNetwork
from snn_detector_ros.network.model_file import METADATA_KEY, is_spiking, load, save, to_onnx


def same(first: object, second: object) -> bool:
    """Compare two layers field by field, arrays with their types."""
    pairs = [(getattr(first, f.name), getattr(second, f.name)) for f in fields(first)]  # type: ignore[arg-type]
    return type(first) is type(second) and all(
        a.dtype == b.dtype and np.array_equal(a, b) if isinstance(a, np.ndarray) else a == b
        for a, b in pairs)


def assert_same_when_loaded(network: SpikingNetwork, path: Path) -> None:
    save(network, path)
    loaded = load(path)
    assert all(same(a, b) for a, b in zip(network.layers, loaded.layers, strict=True))
    for field in fields(SpikingNetwork):
        if field.name != 'layers':
            assert getattr(loaded, field.name) == getattr(network, field.name), field.name


@pytest.mark.parametrize('initial_membrane', ['zero', 'half'])
@pytest.mark.parametrize('code', [SpikeCode.linear(4, 12), SpikeCode.binary(8)], ids=str)
def test_a_saved_network_is_loaded_unchanged(
    tmp_path: Path, code: SpikeCode, initial_membrane: str,
) -> None:
    assert_same_when_loaded(
        small_detector(code=code, initial_membrane=initial_membrane), tmp_path / 'model.onnx')


def concurrent(network: SpikingNetwork, steps: int = 1000) -> SpikingNetwork:
    return replace(network, code=SpikeCode.constant(steps), dynamics='concurrent')


@pytest.mark.parametrize('network', [
    small_signed_detector(), concurrent(small_detector()), concurrent(small_signed_detector())],
    ids=['signed', 'concurrent', 'concurrent signed'])
def test_signed_and_concurrent_networks_are_loaded_unchanged(
    tmp_path: Path, network: SpikingNetwork,
) -> None:
    assert_same_when_loaded(network, tmp_path / 'model.onnx')


def test_a_file_without_slopes_and_dynamics_is_read_as_release_0_1_meant_it(
    tmp_path: Path,
) -> None:
    model = to_onnx(small_detector())
    metadata = metadata_of(model)
    del metadata['slopes'], metadata['dynamics']
    onnx.helper.set_model_props(model, {METADATA_KEY: json.dumps(metadata)})
    (tmp_path / 'old.onnx').write_bytes(model.SerializeToString())
    loaded = load(tmp_path / 'old.onnx')
    assert loaded.dynamics == 'separated'
    assert all(same(a, b) for a, b in zip(small_detector().layers, loaded.layers, strict=True))


def test_saving_is_deterministic(tmp_path: Path) -> None:
    for name in ('a', 'b'):
        save(small_detector(), tmp_path / name)
    assert (tmp_path / 'a').read_bytes() == (tmp_path / 'b').read_bytes()


def run_file(network: SpikingNetwork, pixels: NDArray[np.uint8]) -> tuple[dict, dict]:
    """Run the model file as a plain QDQ graph; return its outputs and levels, [h, w, C]."""
    model = to_onnx(network)
    onnx.checker.check_model(model)
    names = [layer.name for layer in network.firing_layers]
    for name in names:
        model.graph.output.append(onnx.helper.make_tensor_value_info(
            name, onnx.TensorProto.UINT8, None))
    options = onnxruntime.SessionOptions()
    if pairs_saturate():
        # On such a CPU the graph is exact only as it stands, in floats.
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=['CPUExecutionProvider'])
    values = [value[0].transpose(1, 2, 0) for value in session.run(
        None, {'image': pixels.transpose(2, 0, 1)[None]})]
    zero = network.code.max_level if network.signed_tensors else 0
    count = len(network.outputs)
    return (dict(zip(network.outputs, values[:count], strict=True)),
            {name: value.astype(int) - zero
             for name, value in zip(names, values[count:], strict=True)})


def assert_file_computes_the_network(network: SpikingNetwork, seed: int = 3) -> None:
    pixels = np.random.default_rng(seed).integers(0, 256, (*network.input_size, 3), dtype=np.uint8)
    values, levels = run_file(network, pixels)
    simulator = make_engine('simulator', network)
    readouts = simulator.run(pixels)
    for name, expected in simulator.levels().items():
        np.testing.assert_array_equal(levels[name], expected, err_msg=name)
    for name, value in values.items():
        conv = network[name]
        assert isinstance(conv, Convolution)
        bias = conv.bias if conv.is_readout else 0
        # Readouts are float there: sums of at most 200 products, each rounded to 24 bits.
        np.testing.assert_allclose(value, (readouts[name] + bias) * conv.step,
                                   rtol=1e-4, atol=1e-2)


@pytest.mark.parametrize('network', [
    small_detector(initial_membrane='zero'), small_detector(), small_signed_detector()],
    ids=['zero', 'half', 'signed'])
def test_any_onnx_runtime_computes_the_same_levels(network: SpikingNetwork) -> None:
    """The file itself, run as a plain QDQ graph, gives the levels and logits of the network."""
    assert_file_computes_the_network(network)


@settings(max_examples=40, deadline=None)
@given(network=networks(slopes=SLOPES))
def test_the_file_of_a_random_graph_computes_it_and_is_loaded_unchanged(
    tmp_path_factory: pytest.TempPathFactory, network: SpikingNetwork,
) -> None:
    assert_same_when_loaded(network, tmp_path_factory.getbasetemp() / 'random.onnx')
    assert_file_computes_the_network(network)


def metadata_of(model: ModelProto) -> dict:
    return json.loads({entry.key: entry.value for entry in model.metadata_props}[METADATA_KEY])


def set_metadata(model: ModelProto, **changes: object) -> None:
    onnx.helper.set_model_props(
        model, {METADATA_KEY: json.dumps({**metadata_of(model), **changes})})


def replace_constant(name: str, value: np.ndarray) -> Callable[[ModelProto], None]:
    def change(model: ModelProto) -> None:
        tensor = next(t for t in model.graph.initializer if t.name == name)
        tensor.CopyFrom(numpy_helper.from_array(value, name))
    return change


def change_node(index: int, **attributes: object) -> Callable[[ModelProto], None]:
    def change(model: ModelProto) -> None:
        node = model.graph.node[index]
        for key, value in attributes.items():
            setattr(node, key, value)
    return change


def external_weights(model: ModelProto) -> None:
    tensor = next(t for t in model.graph.initializer if t.name == 'conv0/weight')
    tensor.data_location = onnx.TensorProto.EXTERNAL
    tensor.external_data.add(key='location', value='/etc/passwd')


def change_head(**changes: object) -> Callable[[ModelProto], None]:
    def change(model: ModelProto) -> None:
        set_metadata(model, head={**metadata_of(model)['head'], **changes})
    return change


def huge_step(model: ModelProto) -> None:
    set_metadata(model, steps={**metadata_of(model)['steps'], 'conv0': [10**400] * 8})


def repeated_output(model: ModelProto) -> None:
    model.graph.output.append(model.graph.output[0])


def many_nodes(model: ModelProto) -> None:
    for _ in range(50_000):
        model.graph.node.append(model.graph.node[0])


def unused_readout(model: ModelProto) -> None:
    del model.graph.output[:]


DAMAGE: dict[str, tuple[Callable[[ModelProto], None], str]] = {
    'version': (lambda m: set_metadata(m, version=99), 'version 99: this release reads version 1'),
    'gappy code': (lambda m: set_metadata(m, code={'tau': [20, 1], 'burst': 12}), 'clip at Q'),
    'huge code': (lambda m: set_metadata(m, code={'tau': [10**9], 'burst': 10**9}), 'Q = '),
    'text for a number': (lambda m: set_metadata(m, input_size=['a', 1]), 'metadata'),
    'huge input': (lambda m: set_metadata(m, input_size=[10**9, 10**9]), '1..8192 px'),
    'input that fits nowhere': (lambda m: set_metadata(m, input_size=[37, 41]), 'joins tensors'),
    'no classes': (lambda m: set_metadata(m, class_names=[]), 'names of the classes'),
    'wrong head': (lambda m: set_metadata(m, head={'kind': 'yolov9', 'levels': []}), 'yolov9'),
    'missing steps': (lambda m: set_metadata(m, steps={}), 'conv0'),
    'membrane': (lambda m: set_metadata(m, initial_membrane='full'), 'neither `zero` nor `half`'),
    'even threshold': (replace_constant('conv0/scale', np.full(8, 0.5, np.float32)),
                       'odd integer|one scale'),
    'nan scale': (replace_constant('conv0/scale', np.full(8, np.nan, np.float32)), 'conv0'),
    'zero scale': (replace_constant('conv0/scale', np.zeros(8, np.float32)), 'conv0'),
    'float weights': (replace_constant('conv0/weight', np.zeros((8, 3, 6, 6), np.float32)),
                      'int8 weights'),
    'wrong channels': (replace_constant('conv0/weight', np.zeros((8, 3, 6, 6), np.int8)[:, :, :5]),
                       'kernel shape'),
    'overflow': (replace_constant('conv0/bias', np.full(8, 2**31 - 1, np.int32)),
                 'more than int32'),
    'clip': (replace_constant('/max_level', np.uint8(200)), 'clip at Q = 120'),
    'external data': (external_weights, 'another file'),
    'operator': (change_node(0, op_type='Gelu'), 'Gelu is not part of'),
    'domain': (change_node(0, domain='com.hostile'), 'com.hostile'),
    'no outputs': (unused_readout, 'conv'),
    'repeated output': (repeated_output, 'exactly the readouts'),
    'step that is no float': (huge_step, 'OverflowError'),
    'code without weight': (lambda m: set_metadata(m, code={'tau': [0], 'burst': 1}),
                            'weights >= 1'),
    'half a character': (lambda m: set_metadata(m, name='\ud800'), 'UnicodeEncodeError'),
    'escape sequence': (lambda m: set_metadata(m, class_names=['\x1b[2J', 'dog']),
                        'cannot be printed'),
    'head of nothing': (change_head(levels=[]), 'needs readouts'),
    'endless factor': (replace_constant('up11/scales', np.array([1, 1, np.inf, np.inf], 'f4')),
                       'up11: Resize'),
    'no colours': (replace_constant('conv0/weight', np.zeros((8, 0, 6, 6), np.int8)),
                   'reads no channel'),
    'too many levels': (lambda m: set_metadata(m, input_size=[8192, 8192]), 'too large'),
    'too many nodes': (many_nodes, 'more than 4096 layers'),
}


@pytest.mark.parametrize('damage', DAMAGE)
def test_a_damaged_file_is_refused_with_its_name_and_the_place(tmp_path: Path, damage: str) -> None:
    change, message = DAMAGE[damage]
    model = to_onnx(small_detector())
    change(model)
    path = tmp_path / 'damaged.onnx'
    path.write_bytes(model.SerializeToString())
    with pytest.raises(ModelFileError, match=message) as caught:
        load(path)
    assert str(path) in str(caught.value)


def test_foreign_files_are_refused_with_a_remedy(tmp_path: Path) -> None:
    path = tmp_path / 'float.onnx'
    model = to_onnx(small_detector())
    del model.metadata_props[:]
    path.write_bytes(model.SerializeToString())
    assert not is_spiking(path)
    with pytest.raises(ModelFileError, match='snn-detector convert float.onnx'):
        load(path)
    for content in (b'', b'hello', bytes(1000), b'\x89PNG\r\n' * 50):
        path.write_bytes(content)
        with pytest.raises(ModelFileError, match='truncated or no ONNX file'):
            load(path)
    with pytest.raises(ModelFileError, match='No such file'):
        load(tmp_path / 'absent.onnx')
    with pytest.raises(ModelFileError, match='no regular file'):
        load(tmp_path)
    os.mkfifo(tmp_path / 'pipe')
    with pytest.raises(ModelFileError, match='no regular file'):
        load(tmp_path / 'pipe')


@pytest.fixture(scope='module')
def model_bytes() -> bytes:
    return to_onnx(small_detector()).SerializeToString()


def loads_or_refuses(path: Path, content: bytes) -> None:
    """Load bytes; anything but a network or a ModelFileError is a failure."""
    path.write_bytes(content)
    try:
        network = load(path)
    except ModelFileError:
        return
    assert isinstance(network, SpikingNetwork)


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_truncation_and_bit_flips_never_crash(
    tmp_path_factory: pytest.TempPathFactory, model_bytes: bytes, data: st.DataObject,
) -> None:
    path = tmp_path_factory.getbasetemp() / 'fuzzed.onnx'
    content = bytearray(model_bytes)
    for _ in range(data.draw(st.integers(0, 8))):
        content[data.draw(st.integers(0, len(content) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    length = data.draw(st.integers(0, len(content)) | st.just(len(content)))
    loads_or_refuses(path, bytes(content[:length]))
