# SPDX-License-Identifier: Apache-2.0
"""Spiking-YOLO: what the conversion promises, on float networks small enough to run for long."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import onnxruntime
import pytest
from float_onnx_builder import tiny_detector
from network_builder import small_detector
from numpy.typing import NDArray

from snn_detector_ros.cli.main import main
from snn_detector_ros.conversion import dequantise, to_onnx
from snn_detector_ros.conversion.float_network import FloatConvolution, FloatLayer, FloatNetwork
from snn_detector_ros.conversion.spiking_yolo import SpikingYoloOptions, convert_spiking_yolo
from snn_detector_ros.detection.detector import Detector
from snn_detector_ros.engines import make_engine
from snn_detector_ros.engines.concurrent import ConcurrentEngine
from snn_detector_ros.errors import ConfigurationError, EngineError
from snn_detector_ros.network import IMAGE, Convolution, MaxPool, Rectifier, SpikingNetwork
from snn_detector_ros.network.model_file import load, save

SIZE = (16, 16)


def pictures(count: int, seed: int = 3) -> list[NDArray[np.uint8]]:
    """Return smooth random pictures; noise alone would excite all channels alike."""
    coarse = np.random.default_rng(seed).integers(0, 256, (count, 4, 4, 3), np.uint8)
    return list(coarse.repeat(4, axis=1).repeat(4, axis=2))


def leaky_network(slope: float = 0.1, *, gains: float = 1.0, seed: int = 0) -> FloatNetwork:
    """
    Return a Tiny-YOLO-like stack: leaky convolutions, max pooling, a linear readout.

    :param gains: largest ratio of the scales of two channels of a layer; what a channel is scaled
        up by, the next layer's weights take back, so that all of them matter alike.
    """
    rng = np.random.default_rng(seed)
    layers: list[FloatLayer] = []
    source, channels, undo = IMAGE, 3, np.ones(3)
    for index, width in enumerate((8, 12, 12)):
        gain = np.geomspace(1, gains, width)
        weight = rng.normal(0, 1.3 / np.sqrt(9 * channels), (width, channels, 3, 3))
        weight *= gain[:, None, None, None] / undo[None, :, None, None]
        layers.append(FloatConvolution(
            f'conv{index}', source, weight.astype(np.float32),
            (rng.normal(0, 0.1, width) * gain).astype(np.float32), slope, (1, 1), (1, 1, 1, 1)))
        source, channels, undo = f'conv{index}', width, gain
        if index < 2:
            layers.append(MaxPool(f'pool{index}', source, (2, 2), (2, 2)))
            source = f'pool{index}'
    weight = rng.normal(0, 1 / np.sqrt(channels), (6, channels, 1, 1)) / undo[None, :, None, None]
    layers.append(FloatConvolution(
        'out', source, weight.astype(np.float32), rng.normal(0, 0.1, 6).astype(np.float32)))
    return FloatNetwork('leaky', SIZE, tuple(layers), ('out',))


def float_outputs(
    network: FloatNetwork, images: list[NDArray[np.uint8]],
) -> list[NDArray[np.float32]]:
    session = onnxruntime.InferenceSession(
        to_onnx(network).SerializeToString(), providers=['CPUExecutionProvider'])
    blobs = [image[None, :, :, ::-1].transpose(0, 3, 1, 2).astype(np.float32) / 255
             for image in images]
    return [session.run(None, {'images': blob})[0][0].transpose(1, 2, 0) for blob in blobs]


def decode(network: SpikingNetwork, outputs: dict[str, NDArray[np.int32]]) -> NDArray[np.float64]:
    """Return the real output: steps times the membrane, or the count, of each channel."""
    readout = network[network.outputs[0]]
    assert isinstance(readout, Convolution)
    bias = readout.bias if readout.is_readout else 0
    return np.multiply(outputs[readout.name] + bias, readout.step, dtype=np.float64)


def error(network: FloatNetwork, options: SpikingYoloOptions) -> float:
    """Return the mean error of the outputs, by the mean magnitude of the float outputs."""
    spiking = convert_spiking_yolo(network, pictures(40), options)
    engine = ConcurrentEngine(spiking)
    tested = pictures(2, seed=4)
    wanted = float_outputs(network, tested)
    found = [decode(spiking, engine.run(image)) for image in tested]
    return float(np.abs(np.subtract(found, wanted)).mean() / np.abs(wanted).mean())


def test_outputs_approach_the_float_network() -> None:
    network = leaky_network()
    errors = [error(network, SpikingYoloOptions(steps=steps)) for steps in (16, 64, 1024)]
    assert errors[0] > 2 * errors[1] > 4 * errors[2]
    assert errors[2] < 0.03  # of which the int8 weights make 0.02, see the next test


def test_what_remains_after_many_steps_is_the_rounding_of_the_weights() -> None:
    """Against the float network of the rounded weights, errors go on falling."""
    network = leaky_network(slope=0.0)
    image = pictures(1, seed=4)
    errors = []
    for steps in (64, 4096):
        spiking = convert_spiking_yolo(network, pictures(40), SpikingYoloOptions(steps=steps))
        wanted = float_outputs(dequantise(spiking), image)[0]
        found = decode(spiking, ConcurrentEngine(spiking).run(image[0]))
        errors.append(np.abs(found - wanted).mean() / np.abs(wanted).mean())
    assert errors[0] > 8 * errors[1]
    assert errors[1] < 0.01


def test_one_long_run_shows_how_they_do() -> None:
    network = leaky_network()
    spiking = convert_spiking_yolo(network, pictures(40), SpikingYoloOptions(steps=1024))
    image = pictures(1, seed=4)
    wanted = float_outputs(network, image)[0]
    errors = [np.abs(decode(spiking, outputs) - wanted).mean() for _, outputs in
              ConcurrentEngine(spiking).curve(image[0], (8, 64, 512, 1024))]
    assert errors[0] > 2 * errors[1] > 4 * errors[2] > 4 * errors[3]


@pytest.mark.parametrize('steps', [64, 256])
def test_a_scale_a_channel_is_better_where_channels_differ(steps: int) -> None:
    network = leaky_network(gains=100.0)
    options = SpikingYoloOptions(steps=steps)
    assert 3 * error(network, options) < error(network, replace(options, normalisation='layer'))


@pytest.mark.parametrize('steps', [16, 64])
def test_membranes_are_read_more_exactly_than_counts(steps: int) -> None:
    network = leaky_network()
    options = SpikingYoloOptions(steps=steps)
    assert error(network, options) < error(network, replace(options, readout='count'))


def test_counts_approach_the_float_network_too() -> None:
    assert error(leaky_network(), SpikingYoloOptions(steps=1024, readout='count')) < 0.04


def test_without_signed_neurons_the_negative_part_is_lost() -> None:
    network = leaky_network(slope=0.2)
    options = SpikingYoloOptions(steps=512, signed_neuron=False)
    relu = replace(network, layers=tuple(
        replace(layer, slope=0.0)
        if isinstance(layer, FloatConvolution) and layer.name != 'out' else layer
        for layer in network.layers))
    spiking = convert_spiking_yolo(network, pictures(8), options)
    assert not spiking.signed_tensors
    image = pictures(1, seed=4)
    outputs = decode(spiking, ConcurrentEngine(spiking).run(image[0]))
    to_leaky, to_relu = (np.abs(outputs - float_outputs(net, image)[0]).mean()
                         for net in (network, relu))
    assert 5 * to_relu < to_leaky
    assert 5 * error(network, replace(options, signed_neuron=True)) < error(network, options)


def test_without_signed_neurons_counted_outputs_keep_their_sign() -> None:
    spiking = convert_spiking_yolo(
        leaky_network(), pictures(8), SpikingYoloOptions(signed_neuron=False, readout='count'))
    assert spiking.signed_tensors == {'out'}
    engine = ConcurrentEngine(spiking)
    engine.run(pictures(1)[0])
    assert engine.levels()['out'].min() < 0 < engine.levels()['out'].max()


def test_leaky_channels_are_measured_behind_their_slope() -> None:
    """The rate of a spike of -1 is that of the activation, a tenth of what is in front of it."""
    network = leaky_network()
    stem = network.layers[0]
    assert isinstance(stem, FloatConvolution)
    negative = replace(stem, weight=-np.abs(stem.weight), bias=np.zeros(8, np.float32))
    network = replace(network, layers=(negative, *network.layers[1:]))
    spiking = convert_spiking_yolo(network, pictures(8), SpikingYoloOptions(steps=64))
    engine = ConcurrentEngine(spiking)
    lowest = np.min([(engine.run(image), engine.levels()['conv0'])[1].min(axis=(0, 1))
                     for image in pictures(8)], axis=0)
    # One spike is missing where the last is not complete, one more for rounded weights.
    assert ((lowest >= -64) & (lowest <= -62)).all()


def test_a_bias_far_below_zero_keeps_its_rate() -> None:
    """Ten thresholds below zero are one spike of -1 a step; they are more than Q levels."""
    network = leaky_network()
    stem = network.layers[0]
    assert isinstance(stem, FloatConvolution)
    constant = replace(stem, weight=stem.weight * 1e-3, bias=np.linspace(-9, -1, 8, dtype='f4'))
    network = replace(network, layers=(constant, *network.layers[1:]))
    spiking = convert_spiking_yolo(network, pictures(8), SpikingYoloOptions(steps=64))
    engine = ConcurrentEngine(spiking)
    engine.run(pictures(1)[0])
    assert (engine.levels()['conv0'] <= -62).all()


def test_thousands_of_steps_leave_room_for_the_weights_of_the_picture() -> None:
    """A channel that the pictures hardly excite would need weights beyond int8."""
    network = leaky_network(slope=0.0)
    stem = network.layers[0]
    assert isinstance(stem, FloatConvolution)
    dark = replace(stem, bias=np.where(np.arange(8) == 2, -stem.weight[2].clip(min=0).sum() * 0.999,
                                       stem.bias).astype(np.float32))
    network = replace(network, layers=(dark, *network.layers[1:]))
    bright = [np.full((*SIZE, 3), 255, np.uint8), *pictures(4)]
    spiking = convert_spiking_yolo(network, bright, SpikingYoloOptions(steps=4096))
    weights = next(spiking.convolutions).weight[:, ::-1].astype(float)
    # Directions of the weight vectors are kept: rounding, not clipping.
    for mine, wanted in zip(weights, stem.weight, strict=True):
        cosine = (mine * wanted).sum() / np.linalg.norm(mine) / np.linalg.norm(wanted)
        assert cosine > 0.999


def test_a_model_file_keeps_it_all(tmp_path: Path) -> None:
    path = tmp_path / 'model.onnx'
    network = convert_spiking_yolo(
        leaky_network(), pictures(4), SpikingYoloOptions(steps=1000, readout='count'))
    save(network, path)
    loaded = load(path)
    assert loaded.dynamics == 'concurrent' and loaded.code == network.code
    assert dict(loaded.provenance) == dict(network.provenance)
    assert loaded.provenance['method'] == 'Spiking-YOLO'
    image = pictures(1)[0]
    expected = make_engine('auto', network).run(image)
    for name, values in make_engine('auto', loaded).run(image).items():
        np.testing.assert_array_equal(values, expected[name])


def test_rectifiers_lose_their_slope_with_the_signed_neuron() -> None:
    network = leaky_network(slope=1.0)
    last = network.layers[-1]
    assert isinstance(last, FloatConvolution)
    network = replace(network, layers=(
        *network.layers[:-1], Rectifier('relay', 'conv2', 0.1), replace(last, source='relay')))
    for signed in (True, False):
        spiking = convert_spiking_yolo(
            network, pictures(4), SpikingYoloOptions(signed_neuron=signed))
        relay = spiking['relay']
        assert isinstance(relay, Rectifier)
        assert relay.slope == (0.1 if signed else 0.0)


@pytest.mark.parametrize('steps', [0, 5000])
def test_steps_have_limits(steps: int) -> None:
    with pytest.raises(ConfigurationError, match=f'{steps} time steps: choose 1 to 4096'):
        convert_spiking_yolo(leaky_network(), pictures(1), SpikingYoloOptions(steps=steps))


# What a user does.

def save_detector(path: Path, *, steps: int, readout: str) -> Path:
    network = dequantise(small_detector())
    last = network.layers[-1]
    assert isinstance(last, FloatConvolution) and last.name in network.outputs
    # Logits of the order of 1, so that scores differ.
    scale = np.float32(1 / 200)
    last = replace(last, weight=last.weight * scale, bias=last.bias * scale)
    network = replace(network, layers=(*network.layers[:-1], last))
    images = [np.full((32, 32, 3), value, np.uint8) for value in (0, 255)]
    save(convert_spiking_yolo(network, images, SpikingYoloOptions(
        steps=steps, readout=readout)), path)  # type: ignore[arg-type]
    return path


@pytest.mark.parametrize('readout', ['membrane', 'count'])
def test_a_detector_finds_what_the_outputs_say(tmp_path: Path, readout: str) -> None:
    path = save_detector(tmp_path / 'model.onnx', steps=300, readout=readout)
    detector = Detector(path, score_threshold=0.0, iou_threshold=1.0, max_detections=10**6)
    assert detector.engine_name == 'concurrent'
    image = np.random.default_rng(0).integers(0, 256, (32, 32, 3), np.uint8)
    detections = detector(image)
    logits = decode(detector.network, ConcurrentEngine(detector.network).run(image))
    shares = 1 / (1 + np.exp(-logits.reshape(-1, 7).clip(-80, 80)))
    expected = shares[:, 4] * shares[:, 5:].max(axis=1)
    # float32 decoding; boxes outside the picture are left out.
    assert 20 < len(np.unique(detections.scores)) <= len(expected)
    nearest = np.abs(expected[None] - detections.scores[:, None]).min(axis=1)
    assert nearest.max() < 1e-5
    firing = detector.firing()
    assert firing is not None and firing.spikes_per_step.shape[1] == 300


def test_a_detector_says_that_it_is_accelerated(tmp_path: Path) -> None:
    path = save_detector(tmp_path / 'model.onnx', steps=100, readout='membrane')
    detector = Detector(path, engine='onnxruntime')
    assert detector.engine_name == 'onnxruntime (accelerated, not the concurrent dynamics)'
    detector(np.zeros((32, 32, 3), np.uint8))
    long = save_detector(tmp_path / 'long.onnx', steps=300, readout='membrane')
    with pytest.raises(EngineError, match='300 steps cannot be accelerated.*--steps 255'):
        Detector(long, engine='onnxruntime')


@pytest.fixture
def calibration(tmp_path: Path) -> Path:
    folder = tmp_path / 'pictures'
    folder.mkdir()
    for index, image in enumerate(pictures(3)):
        cv2.imwrite(str(folder / f'{index}.png'), image.repeat(4, axis=0).repeat(4, axis=1))
    return folder


def test_the_command_converts_and_inspects(
    tmp_path: Path, calibration: Path, capsys: pytest.CaptureFixture[str],
) -> None:
    source, target = tiny_detector(tmp_path / 'float.onnx'), tmp_path / 'spiking.onnx'
    command = ['convert', str(source), '-o', str(target), '--calibration', str(calibration)]
    assert main([*command, '--method', 'spiking-yolo', '--steps', '400', '--normalisation',
                 'layer', '--readout', 'count', '--no-signed-neuron']) == 0
    assert 'constant T=400 burst=1 (Q = 400), concurrent dynamics' in capsys.readouterr().out
    network = load(target)
    assert {key: network.provenance[key] for key in (
        'method', 'normalisation', 'signed_neuron', 'readout')} == {
        'method': 'Spiking-YOLO', 'normalisation': 'layer', 'signed_neuron': 'no',
        'readout': 'count'}
    assert main(['inspect', str(target)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert 'concurrent dynamics' in lines[0]
    rates = [float(line.split()[-1]) for line in lines if ' conv ' in line]
    assert rates and all(0 <= rate <= 1 for rate in rates) and max(rates) > 0


@pytest.mark.parametrize(('method', 'option'), [
    ('suhd', ['--readout', 'count']), ('suhd', ['--no-signed-neuron']),
    ('spiking-yolo', ['--burst', '2']), ('spiking-yolo', ['--code', 'linear'])])
def test_options_of_the_other_method_are_refused(
    tmp_path: Path, calibration: Path, capsys: pytest.CaptureFixture[str], method: str,
    option: list[str],
) -> None:
    assert main(['convert', 'absent.onnx', '-o', str(tmp_path / 'out.onnx'), '--calibration',
                 str(calibration), '--method', method, *option]) == 1
    assert f'--method {method} has no {option[0]}: leave it out' in capsys.readouterr().err
