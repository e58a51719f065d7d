# SPDX-License-Identifier: Apache-2.0
"""Starting from weights that exist: which files are read, and that the function stays the same."""

from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip('torch', reason='torch is not installed (extra: train)')
pytest.importorskip('onnx', reason='onnx is not installed (extra: train)')
onnxruntime = pytest.importorskip('onnxruntime', reason='onnxruntime is not installed')

from coco_anchors import COCO_ANCHORS  # noqa: E402

from snn_detector_ros.conversion import convert, dequantise, read_onnx, to_onnx  # noqa: E402
from snn_detector_ros.errors import ConfigurationError  # noqa: E402
from snn_detector_ros.network import model_file  # noqa: E402
from snn_detector_ros.training.export import export_onnx  # noqa: E402
from snn_detector_ros.training.head import AnchorDetector  # noqa: E402
from snn_detector_ros.training.initial_weights import (  # noqa: E402
    PUBLISHED_MODULES,
    load_weights,
    read_weights,
    restore_normalisation,
)
from snn_detector_ros.training.models import create_model  # noqa: E402

torch.set_num_threads(1)

SIZE = (64, 64)
# fp32 through 60 layers, whose normalisation is folded in one network and not in the other.
TOLERANCE = {'rtol': 1e-3, 'atol': 1e-3}


def trained(name: str, classes: int = 3) -> AnchorDetector:
    """Return a detector whose batch statistics and biases are not the initial ones."""
    torch.manual_seed(0)
    model = create_model(name, classes, COCO_ANCHORS[:2] if 'tiny' in name else COCO_ANCHORS)
    model.train()
    with torch.no_grad():
        for _ in range(10):
            model(torch.rand(2, 3, *SIZE))
        for key, value in model.named_parameters():
            if key.endswith('bias'):
                value.add_(torch.randn_like(value), alpha=0.2)
    return model.eval()


@pytest.fixture(scope='module')
def small() -> AnchorDetector:
    return trained('yolov5n-relu')


@pytest.fixture(scope='module')
def exported(small: AnchorDetector, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp('weights') / 'small.onnx'
    export_onnx(small, path, names=['a', 'b', 'c'], size=SIZE, training={})
    return path


def start(name: str, path: Path, classes: int = 3) -> tuple[AnchorDetector, list[str]]:
    """Return another detector with the weights of a file, and what it kept of its own."""
    torch.manual_seed(1)
    model = create_model(name, classes, COCO_ANCHORS[:2] if 'tiny' in name else COCO_ANCHORS)
    return model.eval(), load_weights(model, read_weights(path, model).convolutions)


def assert_same_function(one: AnchorDetector, other: AnchorDetector) -> None:
    torch.manual_seed(2)
    images = torch.rand(2, 3, *SIZE)
    with torch.no_grad():
        for mine, theirs in zip(one(images), other(images), strict=True):
            torch.testing.assert_close(mine, theirs, **TOLERANCE)


def published_names(model: AnchorDetector) -> dict[str, torch.Tensor]:
    """Return the state of a detector under the names of the published YOLOv5."""
    numbers = {ours: number for number, ours in PUBLISHED_MODULES.items()}
    state = {}
    for name, value in model.state_dict().items():
        ours = next(key for key in numbers if name.startswith(f'{key}.'))
        rest = name.removeprefix(ours)
        block = model.get_submodule('.'.join(name.split('.')[:-2]) or 'head')
        if type(block).__name__ == 'ConvBnRelu':
            *path, part, leaf = rest.split('.')
            rest = '.'.join([*path, {'0': 'conv', '1': 'bn'}[part], leaf])
        if name == 'head.anchors':
            value = value / torch.tensor([8.0, 16.0, 32.0])[:, None, None]
        state[f'model.{numbers[ours]}{rest}'] = value.clone()
    return state


def test_onnx_of_the_same_network_gives_the_same_function(
        small: AnchorDetector, exported: Path) -> None:
    model, fresh = start('yolov5n-relu', exported)
    assert fresh == []
    assert_same_function(small, model)


def test_anchors_come_with_the_weights(exported: Path) -> None:
    given = read_weights(exported, create_model('yolov5n-relu', 3, COCO_ANCHORS))
    assert given.anchors == tuple(
        tuple((float(w), float(h)) for w, h in level) for level in COCO_ANCHORS)


@pytest.mark.parametrize('name', ['tiny-yolo-leaky', 'tiny-yolo-relu'])
def test_other_architectures_start_from_their_onnx(name: str, tmp_path: Path) -> None:
    model = trained(name)
    export_onnx(model, tmp_path / 'tiny.onnx', names=['a', 'b', 'c'], size=SIZE, training={})
    again, fresh = start(name, tmp_path / 'tiny.onnx')
    assert fresh == []
    assert_same_function(model, again)


def test_a_wider_network_starts_as_the_same_function(
        small: AnchorDetector, exported: Path) -> None:
    model, fresh = start('yolov5s-relu', exported)
    assert fresh == []
    assert_same_function(small, model)
    weight = model.to_p4[0][0].weight
    assert not torch.allclose(weight[:, 0::2], weight[:, 1::2]), 'copies must be able to differ'


def test_restored_normalisation_changes_nothing_but_works_on_real_statistics(
        small: AnchorDetector, exported: Path) -> None:
    model, _ = start('yolov5n-relu', exported)
    torch.manual_seed(3)
    pictures = [torch.rand(4, 3, *SIZE) for _ in range(3)]
    restore_normalisation(model, pictures)
    assert_same_function(small, model)
    # On the pictures themselves, the statistics of the batch are now those that are remembered.
    convolution, norm = model.to_p3[0][0], model.to_p3[0][1]
    with torch.no_grad():
        output = convolution(torch.cat(pictures))
    torch.testing.assert_close(norm.running_mean, output.mean((0, 2, 3)), **TOLERANCE)
    torch.testing.assert_close(
        norm.running_var, output.var((0, 2, 3), unbiased=False), **TOLERANCE)


@pytest.mark.parametrize('names', ['ours', 'published'])
def test_safetensors_in_our_names_and_in_published_ones(
        small: AnchorDetector, names: str, tmp_path: Path) -> None:
    safetensors = pytest.importorskip(
        'safetensors.torch', reason='safetensors is not installed (extra: train)')
    state = small.state_dict() if names == 'ours' else published_names(small)
    if names == 'published':
        assert 'model.0.conv.weight' in state
        assert 'model.2.m.0.cv1.bn.running_var' in state
    safetensors.save_file({key: value.contiguous() for key, value in state.items()},
                          tmp_path / 'weights.safetensors')
    model, fresh = start('yolov5n-relu', tmp_path / 'weights.safetensors')
    assert fresh == []
    assert_same_function(small, model)
    given = read_weights(tmp_path / 'weights.safetensors', model)
    assert given.anchors is not None
    torch.testing.assert_close(torch.tensor(given.anchors), torch.tensor(
        COCO_ANCHORS, dtype=torch.float32))


def test_a_spiking_model_gives_the_float_network_that_its_levels_stand_for(
        exported: Path, tmp_path: Path) -> None:
    random = np.random.default_rng(4)
    pictures = [random.integers(0, 256, (*SIZE, 3), dtype=np.uint8) for _ in range(4)]
    spiking = convert(read_onnx(exported), pictures)
    model_file.save(spiking, tmp_path / 'spikes.onnx')
    model, fresh = start('yolov5n-relu', tmp_path / 'spikes.onnx')
    assert fresh == []
    image = random.random((1, 3, *SIZE), dtype=np.float32)
    session = onnxruntime.InferenceSession(to_onnx(dequantise(spiking)).SerializeToString())
    with torch.no_grad():
        for mine, theirs in zip(
                model(torch.from_numpy(image)), session.run(None, {'images': image}), strict=True):
            channels_second = mine.permute(0, 1, 4, 2, 3).flatten(1, 2)
            torch.testing.assert_close(channels_second, torch.from_numpy(theirs), **TOLERANCE)


def test_other_classes_get_a_new_head_only(exported: Path) -> None:
    _, fresh = start('yolov5n-relu', exported, classes=5)
    assert fresh == ['head.m.0', 'head.m.1', 'head.m.2']


def test_another_network_is_refused(exported: Path) -> None:
    with pytest.raises(ConfigurationError, match='60 convolutions, the network 13'):
        start('tiny-yolo-relu', exported)


def test_a_narrower_network_is_refused(tmp_path: Path) -> None:
    export_onnx(trained('yolov5s-relu'), tmp_path / 's.onnx', names=['a', 'b', 'c'], size=SIZE,
                training={})
    with pytest.raises(ConfigurationError, match=r'to_p3.0.0.*\(32, 3, 6, 6\).*\(16, 3, 6, 6\)'):
        start('yolov5n-relu', tmp_path / 's.onnx')


@pytest.mark.parametrize(('name', 'content', 'words'), [
    ('weights.pt', b'', r'\.pt is not read.*a pickle such as \.pt may run code'),
    ('weights', b'', 'no suffix is not read'),
    ('broken.onnx', b'\xff\xff\xff', 'no ONNX file'),
    ('broken.safetensors', b'\x01', 'is not a safetensors file'),
])
def test_files_that_are_not_read(
        tmp_path: Path, name: str, content: bytes, words: str) -> None:
    if name.endswith('safetensors'):
        pytest.importorskip('safetensors', reason='safetensors is not installed (extra: train)')
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ConfigurationError, match=words):
        start('yolov5n-relu', tmp_path / name)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r'none\.onnx does not exist'):
        start('yolov5n-relu', tmp_path / 'none.onnx')
