# SPDX-License-Identifier: Apache-2.0
"""Model files: what is saved is loaded again; what is damaged is refused by name."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from network_builder import small_detector
from onnx import ModelProto, numpy_helper

from snn_detector_ros.engines import make_engine
from snn_detector_ros.errors import ModelFileError
from snn_detector_ros.network import Convolution, SpikeCode, SpikingNetwork
from snn_detector_ros.network.model_file import METADATA_KEY, is_spiking, load, save, to_onnx


def same(first: object, second: object) -> bool:
    """Compare two layers field by field, arrays with their types."""
    pairs = [(getattr(first, f.name), getattr(second, f.name)) for f in fields(first)]  # type: ignore[arg-type]
    return type(first) is type(second) and all(
        a.dtype == b.dtype and np.array_equal(a, b) if isinstance(a, np.ndarray) else a == b
        for a, b in pairs)


@pytest.mark.parametrize('initial_membrane', ['zero', 'half'])
@pytest.mark.parametrize('code', [SpikeCode.linear(4, 12), SpikeCode.binary(8)], ids=str)
def test_a_saved_network_is_loaded_unchanged(
    tmp_path: Path, code: SpikeCode, initial_membrane: str,
) -> None:
    network = small_detector(code=code, initial_membrane=initial_membrane)
    save(network, tmp_path / 'model.onnx')
    loaded = load(tmp_path / 'model.onnx')
    assert all(same(a, b) for a, b in zip(network.layers, loaded.layers, strict=True))
    for field in fields(SpikingNetwork):
        if field.name != 'layers':
            assert getattr(loaded, field.name) == getattr(network, field.name), field.name


def test_saving_is_deterministic(tmp_path: Path) -> None:
    for name in ('a', 'b'):
        save(small_detector(), tmp_path / name)
    assert (tmp_path / 'a').read_bytes() == (tmp_path / 'b').read_bytes()


@pytest.mark.parametrize('initial_membrane', ['zero', 'half'])
def test_any_onnx_runtime_computes_the_same_levels(initial_membrane: str) -> None:
    """The file itself, run as a plain QDQ graph, gives the levels and logits of the network."""
    network = small_detector(initial_membrane=initial_membrane)
    model = to_onnx(network)
    onnx.checker.check_model(model)
    names = [layer.name for layer in network.firing_layers]
    for name in names:
        model.graph.output.append(onnx.helper.make_tensor_value_info(
            name, onnx.TensorProto.UINT8, None))
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), providers=['CPUExecutionProvider'])
    pixels = np.random.default_rng(3).integers(0, 256, (*network.input_size, 3), dtype=np.uint8)
    logits, *levels = session.run(None, {'image': pixels.transpose(2, 0, 1)[None]})
    simulator = make_engine('simulator', network)
    readout = simulator.run(pixels)[network.outputs[0]]
    for name, value in zip(names, levels, strict=True):
        np.testing.assert_array_equal(value[0].transpose(1, 2, 0), simulator.levels()[name])
    head = network[network.outputs[0]]
    assert isinstance(head, Convolution)
    # Readouts are float there: sums of at most 16 products, each rounded to 24 bits.
    np.testing.assert_allclose(logits[0].transpose(1, 2, 0), (readout + head.bias) * head.step,
                               rtol=1e-4, atol=1e-2)


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
    for _ in range(30_000):
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
