# SPDX-License-Identifier: Apache-2.0
"""Exported networks: the simulation and the fast engine fire as the network of training does."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from lif_builder import assert_same_spikes, random_pixels
from numpy.typing import NDArray

torch = pytest.importorskip('torch', reason='torch is not installed (extra: train)')

from snn_detector_ros.cli.main import main  # noqa: E402
from snn_detector_ros.detection.heads import MembraneDecoder, decode_rows  # noqa: E402
from snn_detector_ros.engines import FiringStatistics  # noqa: E402
from snn_detector_ros.engines.lif_onnxruntime import LifOnnxRuntimeEngine  # noqa: E402
from snn_detector_ros.engines.lif_simulator import LifSimulator  # noqa: E402
from snn_detector_ros.errors import ConfigurationError, NetworkError  # noqa: E402
from snn_detector_ros.network import LifNetwork  # noqa: E402
from snn_detector_ros.network.model_file import load  # noqa: E402
from snn_detector_ros.training.checkpoint import save_checkpoint  # noqa: E402
from snn_detector_ros.training.head import BoxDecoder  # noqa: E402
from snn_detector_ros.training.spiking.classification import DEVIATION, MEAN  # noqa: E402
from snn_detector_ros.training.spiking.ems_yolo import NEURON, SIZES, EmsYolo  # noqa: E402
from snn_detector_ros.training.spiking.export import (  # noqa: E402
    export_classifier,
    export_ems_yolo,
)
from snn_detector_ros.training.spiking.firing import energy_ratio, measure_firing  # noqa: E402
from snn_detector_ros.training.spiking.lif import Lif  # noqa: E402
from snn_detector_ros.training.spiking.resnet import SpikingResNet, spiking  # noqa: E402

LEVEL = [(10.0, 14.0), (23.0, 27.0), (37.0, 58.0)]
NAMES = ('person', 'car')
SIZE = (64, 96)
BINS = 4


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Threads that wait for each other take far longer than these networks, on a busy machine."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def small_ems_yolo(name: str, *, steps: int | None, full_spike: bool = True) -> EmsYolo:
    """Return a narrow network whose normalisations have seen some inputs."""
    torch.manual_seed(1)
    size = replace(SIZES[name], width=0.125)
    if size.neck_hidden:
        size = replace(size, neck_hidden=32)
    model = EmsYolo(
        size, len(NAMES), [LEVEL] * size.levels, channels=3 if steps else 1, steps=steps)
    model.train()
    for _ in range(4):
        model(torch.rand(2, 3 if steps else BINS, *SIZE))
    return model.eval()


def export(model: EmsYolo) -> LifNetwork:
    return export_ems_yolo(
        model, name='small', class_names=NAMES, input_size=SIZE,
        bins=None if model.steps else BINS, provenance={'origin': 'random weights'})


def to_torch(network: LifNetwork, pixels: NDArray[np.uint8]) -> Any:
    """Return pixels as training would see them: red, green, blue or bins, 0..1."""
    picture = pixels[..., ::-1].transpose(2, 0, 1) if network.coding == 'repeated' \
        else pixels[..., 0]
    return torch.from_numpy(np.ascontiguousarray(picture)).float()[None] / 255


@contextmanager
def spike_trains(model: Any) -> Iterator[dict[str, NDArray[np.bool_]]]:
    """Collect the spikes of every layer of neurons, bool [T, h, w, C]."""
    trains: dict[str, NDArray[np.bool_]] = {}

    def note(name: str, spikes: Any) -> None:
        trains[name] = spikes[:, 0].permute(0, 2, 3, 1).numpy() > 0

    handles = [
        layer.register_forward_hook(lambda _, __, y, name=name: note(name, y))
        for name, layer in model.named_modules() if isinstance(layer, Lif)]
    with torch.no_grad():
        yield trains
    for handle in handles:
        handle.remove()


def assert_all_three_agree(network: LifNetwork, model: Any, x: Any, pixels: Any) -> list[Any]:
    """Compare spikes and readouts; return the readouts of training, [C, h, w]."""
    simulator, engine = LifSimulator(network), LifOnnxRuntimeEngine(network, threads=1)
    with spike_trains(model) as trains:
        outputs = model(x)
    simulated, fast = simulator.run(pixels), engine.run(pixels)
    assert set(simulator.trains) <= set(trains)
    assert_same_spikes(network, simulator, trains)
    assert_same_spikes(network, simulator, engine.trains)
    maps = [y[0].permute(0, 3, 1, 2).flatten(0, 1) for y in outputs] \
        if isinstance(outputs, list) else [outputs[0][:, None, None]]
    for name, expected in zip(network.outputs, maps, strict=True):
        for readouts in (simulated, fast):
            np.testing.assert_allclose(
                readouts[name].transpose(2, 0, 1), expected.numpy(), rtol=0, atol=1e-4)
    return maps


@pytest.mark.parametrize('steps', [3, None], ids=['frames', 'events'])
@pytest.mark.parametrize('name', SIZES)
def test_a_detector_fires_as_in_training(name: str, steps: int | None) -> None:
    model = small_ems_yolo(name, steps=steps)
    network = export(model)
    pixels = random_pixels(network)
    assert_all_three_agree(network, model, to_torch(network, pixels), pixels)


def test_a_block_that_multiplies_reals_fires_as_in_training() -> None:
    from snn_detector_ros.training.spiking.blocks import ResidualBlock

    model = small_ems_yolo('ems-res10', steps=3)
    torch.manual_seed(2)
    first = model.to_p3[0]
    inputs, outputs = model.stem[0].out_channels, first.residual[1][1][0].out_channels
    model.to_p3[0] = ResidualBlock(
        inputs, outputs, 3, 2, neuron=NEURON, hidden=8, full_spike=False).eval()
    network = export(model)
    pixels = random_pixels(network)
    assert_all_three_agree(network, model, to_torch(network, pixels), pixels)
    shortcut = network['to_p3.0.shortcut.1']
    assert shortcut.sources == ('to_p3.0.shortcut.0.pool',)
    operations = network.multiply_accumulates()
    real = ['stem', shortcut.name, *network.outputs]
    # All but the shortcut are computed once; the shortcut too, since it sees the stem.
    assert network.real_operations() == sum(operations[layer] for layer in real)


@pytest.mark.parametrize('steps', [1, 3])
def test_a_classifier_fires_as_in_training(steps: int) -> None:
    torch.manual_seed(0)
    model = SpikingResNet(10, spiking(), steps=steps, width=8)
    model.train()
    for _ in range(4):
        model(torch.randn(4, 3, 16, 16))
    model.eval()
    network = export_classifier(
        model, name='small', class_names=[str(k) for k in range(10)], input_size=(16, 16))
    pixels = random_pixels(network)
    rgb = torch.from_numpy(pixels[..., ::-1].copy()).float() / 255
    x = ((rgb - torch.tensor(MEAN)) / torch.tensor(DEVIATION)).permute(2, 0, 1)[None]
    assert_all_three_agree(network, model, x, pixels)
    assert network.head is None and network.outputs == ('logits',)


def test_boxes_are_those_of_training() -> None:
    model = small_ems_yolo('ems-res10-narrow', steps=None)
    network = export(model)
    pixels = random_pixels(network)
    with torch.no_grad():
        rows = BoxDecoder(model.head.anchors, SIZE)(model(to_torch(network, pixels)))[0].numpy()
    expected = decode_rows(rows, 0.001)
    found = MembraneDecoder(network)(LifOnnxRuntimeEngine(network, threads=1).run(pixels), 0.001)
    assert len(found.scores) == len(expected.scores) > 10
    order, other = np.argsort(-found.scores), np.argsort(-expected.scores)
    np.testing.assert_allclose(found.scores[order], expected.scores[other], rtol=0, atol=1e-5)
    np.testing.assert_allclose(found.boxes.sum(), expected.boxes.sum(), rtol=1e-4)


@pytest.mark.parametrize('steps', [3, None], ids=['frames', 'events'])
def test_energy_is_what_training_estimates(steps: int | None) -> None:
    model = small_ems_yolo('ems-res10', steps=steps)
    network = export(model)
    pixels = random_pixels(network)
    engine = LifOnnxRuntimeEngine(network, threads=1)
    engine.run(pixels)
    firing: FiringStatistics = engine.firing()
    layers = measure_firing(model, [to_torch(network, pixels)])
    assert firing.energy_joules / firing.ann_energy_joules == pytest.approx(
        energy_ratio(layers), rel=1e-6)


def test_neurons_of_the_same_currents_are_one_layer() -> None:
    network = export(small_ems_yolo('ems-res10', steps=3))
    assert len({layer.source for layer in network.firing_layers}) == len(network.firing_layers)


def test_what_does_not_fit_is_refused() -> None:
    frames, events = (small_ems_yolo('ems-res10', steps=steps) for steps in (3, None))
    with pytest.raises(ConfigurationError, match='needs their number'):
        export_ems_yolo(events, name='x', class_names=NAMES, input_size=SIZE)
    with pytest.raises(ConfigurationError, match='pictures has none'):
        export_ems_yolo(frames, name='x', class_names=NAMES, input_size=SIZE, bins=4)
    with pytest.raises(NetworkError, match='needs 24'):
        export_ems_yolo(frames, name='x', class_names=('a', 'b', 'c'), input_size=SIZE)


def test_a_run_of_events_is_exported(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = small_ems_yolo('ems-res10-narrow', steps=None)
    (tmp_path / 'settings.json').write_text(json.dumps({
        'model': 'ems-res10-narrow', 'names': NAMES, 'size': 96, 'width': 0.125,
        'window': {'bins': BINS, 'bin_length': 10_000},
        'anchors': model.head.anchors.tolist()}))
    save_checkpoint(
        tmp_path / 'best.pt', {'average': model.state_dict(), 'record': {'map50': 0.5}})
    out = tmp_path / 'model.onnx'
    assert main(['export', str(tmp_path), '-o', str(out), '--note', 'data=random']) == 0
    assert 'T=4, binned input 96x96' in capsys.readouterr().out
    network = load(out)
    assert isinstance(network, LifNetwork)
    assert network.provenance == {
        'network': 'ems-res10-narrow, width 0.125', 'window': '4 bins of 10 ms',
        'training': 'map50 0.5', 'data': 'random'}
    expected = export(model)
    assert [layer.name for layer in network.layers] == [layer.name for layer in expected.layers]
    np.testing.assert_array_equal(network['stem'].weight, expected['stem'].weight)
    assert network.head == expected.head


def test_a_run_of_a_classifier_is_exported(tmp_path: Path) -> None:
    model = SpikingResNet(10, spiking(), steps=2, width=8)
    settings = {'model': 'tdbn-resnet', 'steps': 2, 'width': 8}
    (tmp_path / 'settings.json').write_text(json.dumps(settings))
    save_checkpoint(
        tmp_path / 'checkpoint.pt', {'model': model.state_dict(), 'record': {'accuracy': 0.1}})
    out = tmp_path / 'model.onnx'
    assert main(['export', str(tmp_path), '-o', str(out)]) == 0
    network = load(out)
    assert (network.input_size, network.outputs, network.class_names[3]) == (
        (32, 32), ('logits',), 'cat')


@pytest.mark.parametrize(('settings', 'message'), [
    ({'model': 'relu-resnet', 'steps': 1, 'width': 8}, 'has no spiking neurons'),
    ({'model': 'tdbn-resnet', 'steps': 2, 'width': 16}, 'another network or release'),
    ({'model': 'yolov5n-relu'}, 'is not of a run'),
    (None, 'is not of a run'),
])
def test_other_runs_are_refused(
    settings: Any, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str],
) -> None:
    if settings is not None:
        (tmp_path / 'settings.json').write_text(json.dumps(settings))
    model = SpikingResNet(10, spiking(), steps=2, width=8)
    save_checkpoint(
        tmp_path / 'checkpoint.pt', {'model': model.state_dict(), 'record': {'accuracy': 0.1}})
    assert main(['export', str(tmp_path), '-o', str(tmp_path / 'model.onnx')]) == 1
    assert message in capsys.readouterr().err
    assert not (tmp_path / 'model.onnx').exists()
