# SPDX-License-Identifier: Apache-2.0
"""Levels in training are those of the converted network, and their gradient is straight-through."""

from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip('torch', reason='torch is not installed (extra: train)')
onnx = pytest.importorskip('onnx', reason='onnx is not installed (extra: train)')

from coco_anchors import COCO_ANCHORS  # noqa: E402
from training_pictures import make_pictures  # noqa: E402

from snn_detector_ros.conversion import (  # noqa: E402
    SuhdOptions,
    convert,
    dequantise,
    read_onnx,
    to_onnx,
)
from snn_detector_ros.datasets.formats import open_dataset  # noqa: E402
from snn_detector_ros.engines import make_engine  # noqa: E402
from snn_detector_ros.errors import ConfigurationError  # noqa: E402
from snn_detector_ros.training.data_loader import PictureCache  # noqa: E402
from snn_detector_ros.training.export import export_onnx  # noqa: E402
from snn_detector_ros.training.head import AnchorDetector  # noqa: E402
from snn_detector_ros.training.initial_weights import load_weights, read_weights  # noqa: E402
from snn_detector_ros.training.level_steps import CalibrationPictures, LevelSteps  # noqa: E402
from snn_detector_ros.training.models import MODELS, create_model  # noqa: E402
from snn_detector_ros.training.spike_levels import (  # noqa: E402
    LevelActivation,
    insert_levels,
    level_activations,
    remove_levels,
    set_steps,
    take_mean_level,
)

torch.set_num_threads(1)

SIZE = 64


def activation(step: float, max_level: int, slope: float = 0.0) -> LevelActivation:
    layer = LevelActivation(1, max_level, slope)
    set_steps(torch.nn.Sequential(layer), [('0', np.array([step], np.float32))])
    return layer


def on(layer: LevelActivation, values: list[float]) -> tuple[list[float], list[float]]:
    """Return what a layer gives for some values, and the gradient of the sum of it."""
    x = torch.tensor(values).view(1, 1, 1, -1).requires_grad_()
    y = layer(x)
    y.sum().backward()
    assert x.grad is not None
    return y.flatten().tolist(), x.grad.flatten().tolist()


@pytest.fixture(scope='module')
def pictures(tmp_path_factory: pytest.TempPathFactory) -> PictureCache:
    data = make_pictures(tmp_path_factory.mktemp('data'))
    return PictureCache(open_dataset(data, split='train'), largest_side=SIZE)


def trained(name: str, pictures: PictureCache) -> AnchorDetector:
    """Return a detector whose batch statistics are those of the pictures."""
    torch.manual_seed(0)
    model = create_model(name, 2, COCO_ANCHORS[-MODELS[name].levels:]).train()
    images = torch.from_numpy(np.stack([
        image[..., ::-1] for image in CalibrationPictures(pictures, SIZE)]))
    with torch.no_grad():
        for _ in range(50):
            model(images.permute(0, 3, 1, 2).float() / 255)
    return model.eval()


def test_relu_rounds_to_levels_and_clips() -> None:
    values, gradients = on(activation(0.5, 4), [-1.0, 0.1, 0.3, 0.7, 1.2, 1.9, 2.1, 9.0])
    assert values == pytest.approx([0, 0, 0.5, 0.5, 1.0, 2.0, 2.0, 2.0])
    assert gradients == [0, 1, 1, 1, 1, 1, 0, 0]


def test_leaky_relu_has_levels_on_both_sides() -> None:
    values, gradients = on(activation(0.5, 20, 0.1), [-99.0, -2.6, -2.4, -1.0, 0.2, 0.3, 99.0])
    # -20, -5, -5 and -2 levels times 0.1, rounded to the nearest, halves away from zero.
    assert values == pytest.approx([-1.0, -0.5, -0.5, 0, 0, 0.5, 10.0])
    assert gradients == pytest.approx([0, 0.1, 0.1, 0.1, 1, 1, 0])


def test_without_steps_it_computes_in_float() -> None:
    values, _ = on(LevelActivation(1, 4, 0.1), [-1.0, 0.3])
    assert values == pytest.approx([-0.1, 0.3])


@pytest.mark.parametrize('name', ['yolov5n-relu', 'tiny-yolo-leaky'])
def test_levels_are_those_of_the_converted_network(
        name: str, pictures: PictureCache, tmp_path: Path) -> None:
    model, options = trained(name, pictures), SuhdOptions(steps=4, burst=1)
    insert_levels(model, options.code.max_level)
    steps = LevelSteps(options, CalibrationPictures(pictures, SIZE), SIZE)
    chosen = steps.of(model)
    set_steps(model, chosen)
    export_onnx(model, tmp_path / 'x.onnx', names=['a', 'b'], size=(SIZE, SIZE), training={})
    network = read_onnx(tmp_path / 'x.onnx')
    spiking = convert(network, steps.pictures, options)
    # Weights that int8 holds: all that is left is the order in which fp32 sums them.
    onnx.save(to_onnx(dequantise(spiking)), tmp_path / 'rounded.onnx')
    load_weights(model, read_weights(tmp_path / 'rounded.onnx', model).convolutions)
    outputs: dict[str, torch.Tensor] = {}
    for key, layer in level_activations(model):
        layer.register_forward_hook(
            lambda module, _, y, key=key: outputs.update({key: y / module.step[:, None, None]}))
    engine = make_engine('simulator', spiking)
    image = next(iter(steps.pictures))
    engine.run(image)
    sent = engine.levels()
    with torch.no_grad():
        model(torch.from_numpy(image[..., ::-1].copy()).permute(2, 0, 1)[None].float() / 255)
    assert len(chosen) == len(network.calibrated) > 10
    for (key, _), layer_name in zip(chosen, network.calibrated, strict=True):
        mine = outputs[key][0].permute(1, 2, 0).numpy()
        theirs = np.asarray(sent[layer_name], np.float32).reshape(mine.shape)
        assert len(np.unique(theirs)) > 2
        np.testing.assert_allclose(mine, theirs, atol=1e-4, err_msg=layer_name)


def test_layers_whose_levels_are_added_share_steps(pictures: PictureCache) -> None:
    model = trained('yolov5n-relu', pictures)
    insert_levels(model, 10)
    chosen = dict(LevelSteps(
        SuhdOptions(steps=4, burst=1), CalibrationPictures(pictures, SIZE), SIZE).of(model))
    chain = ('to_p3.4.cv1.2', *(
        f'to_p3.4.m.{k}.{end}' for k in (0, 1) for end in ('cv2.2', 'sum')))
    for key in chain[1:]:
        np.testing.assert_array_equal(chosen[key], chosen[chain[0]])
    assert not np.array_equal(chosen['to_p3.4.cv2.2'], chosen[chain[0]])


def test_what_is_exported_has_no_levels(pictures: PictureCache, tmp_path: Path) -> None:
    model = trained('yolov5n-relu', pictures)
    export_onnx(model, tmp_path / 'a.onnx', names=['a', 'b'], size=(SIZE, SIZE), training={})
    insert_levels(model, 10)
    export_onnx(model, tmp_path / 'b.onnx', names=['a', 'b'], size=(SIZE, SIZE), training={})
    assert (tmp_path / 'a.onnx').read_bytes() == (tmp_path / 'b.onnx').read_bytes()


def test_removing_levels_restores_the_network(pictures: PictureCache) -> None:
    model = trained('tiny-yolo-leaky', pictures)
    text = str(model).replace(', inplace=True', '')
    insert_levels(model, 10)
    assert str(model) != text
    remove_levels(model)
    assert str(model) == text


def test_mean_level_counts_every_neuron_once() -> None:
    model = torch.nn.Sequential(activation(0.5, 4), activation(1.0, 4)).train()
    x = torch.tensor([0.5, 1.0, 2.0, 9.0]).view(1, 1, 1, 4).requires_grad_()
    model(x)
    level = take_mean_level(model)
    # Levels 1, 2, 4, 4 and, of the values 0.5, 1, 2, 2 rounded to even, 0, 1, 2, 2.
    assert level.item() == pytest.approx((11 + 5) / 8)
    level.backward()
    assert x.grad is not None and float(x.grad.flatten()[-1]) == 0
    assert float(take_mean_level(model)) == 0, 'it is taken once'


def test_the_penalty_lowers_the_mean_level(pictures: PictureCache) -> None:
    model = trained('tiny-yolo-relu', pictures)
    insert_levels(model, 10)
    set_steps(model, LevelSteps(
        SuhdOptions(steps=4, burst=1), CalibrationPictures(pictures, SIZE), SIZE).of(model))
    optimizer = torch.optim.SGD(model.parameters(), 0.2)
    torch.manual_seed(0)
    images = torch.rand(2, 3, SIZE, SIZE)
    values = []
    for _ in range(8):
        model.train()(images)
        level = take_mean_level(model)
        level.backward()
        optimizer.step()
        optimizer.zero_grad()
        values.append(float(level.detach()))
    assert values == sorted(values, reverse=True)
    assert values[-1] < 0.95 * values[0]


def test_a_network_without_relu_is_refused() -> None:
    with pytest.raises(ConfigurationError, match='Sequential has no ReLU'):
        insert_levels(torch.nn.Sequential(torch.nn.SiLU()), 10)
