# SPDX-License-Identifier: Apache-2.0
"""Integer synapses and neurons, and whole conversions."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from float_onnx_builder import PICTURE, FloatOnnxBuilder, pictures, run_float, tiny_detector

from snn_detector_ros.cli.main import main
from snn_detector_ros.conversion import (
    FloatConvolution,
    SuhdOptions,
    convert,
    dequantise,
    read_onnx,
    to_onnx,
)
from snn_detector_ros.conversion.suhd import convert_convolution
from snn_detector_ros.engines.simulator import SimulatorEngine
from snn_detector_ros.errors import ConfigurationError, ConversionError
from snn_detector_ros.network import IMAGE, Convolution
from snn_detector_ros.network.model_file import load
from snn_detector_ros.network.validation import accumulator_bound

Q = 120
RNG = np.random.default_rng(5)


def _float(weight: np.ndarray, bias: np.ndarray, **options: object) -> FloatConvolution:
    return FloatConvolution('conv', 'in', weight.astype(np.float32), bias.astype(np.float32),
                            **{'slope': 0.0, **options})  # type: ignore[arg-type]


def _convert(conv: FloatConvolution, step_in: np.ndarray, step: float | np.ndarray) -> Convolution:
    steps = {conv.source: step_in.astype(np.float32)}
    if conv.slope < 1:  # no readout
        steps['conv'] = np.broadcast_to(np.asarray(step, np.float32), len(conv.weight))
    return convert_convolution(conv, steps, Q)


def _real(engine: SimulatorEngine, pixels: np.ndarray) -> list[np.ndarray]:
    """Return the readouts as float [1, C, h, w], like the float network's."""
    membranes = engine.run(pixels)
    layers = {conv.name: conv for conv in engine.network.convolutions}
    return [((membranes[name] + layers[name].bias) * layers[name].step).transpose(2, 0, 1)[None]
            for name in engine.network.outputs]


def test_levels_are_within_their_rounding_of_the_float_activation() -> None:
    conv = _float(RNG.normal(0, 0.3, (16, 24, 1, 1)), RNG.normal(0, 0.2, 16))
    step_in = RNG.uniform(0.001, 0.03, 24).astype(np.float32)
    levels = RNG.integers(0, Q + 1, (24, 500))
    exact = conv.weight[:, :, 0, 0] @ (levels * step_in[:, None]) + conv.bias[:, None]
    top = exact.max(axis=1).clip(0.1)
    spiking = _convert(conv, step_in, top / Q)
    assert spiking.threshold is not None
    theta = spiking.threshold[:, None].astype(np.int64)
    membrane = spiking.weight[:, :, 0, 0].astype(np.int64) @ levels + spiking.bias[:, None]
    fired = np.clip((membrane + (theta - 1) // 2) // theta, 0, Q) * spiking.step[:, None]
    # Half a level, and half a membrane unit for each synapse and level, and for the bias.
    unit = spiking.step[:, None] / theta
    bound = spiking.step[:, None] / 2 + unit / 2 * (levels.sum(axis=0) + 1)
    wanted = exact.clip(0, spiking.step[:, None] * Q)
    assert (np.abs(fired - wanted) <= bound * (1 + 1e-5)).all()


def test_threshold_is_the_largest_odd_one_that_keeps_weights_in_range() -> None:
    conv = _float(RNG.normal(0, 0.3, (64, 8, 3, 3)), np.zeros(64))
    spiking = _convert(conv, np.full(8, 0.01), 0.05)
    assert spiking.threshold is not None
    assert (spiking.threshold % 2 == 1).all()
    effective = np.abs(conv.weight.astype(np.float64) * np.float32(0.01)).max(axis=(1, 2, 3))
    unit = effective / 127
    assert (spiking.threshold * unit <= spiking.step).all()
    assert ((spiking.threshold + 2) * unit > spiking.step).all()
    assert spiking.step == pytest.approx(np.full(64, 0.05))


def test_picture_weights_are_blue_first_and_fit_16_bit_pairs() -> None:
    weight = np.array([[1.0, 0.5, 0.25]])[:, :, None, None]  # red, green, blue
    stem = _float(weight, np.zeros(1))
    stem = FloatConvolution('conv', IMAGE, stem.weight, stem.bias, slope=0.0)
    spiking = _convert(stem, np.full(3, 1 / 255), 0.01)
    assert spiking.weight[0, ::-1, 0, 0] == pytest.approx([64, 32, 16], abs=1)
    assert 2 * 255 * int(np.abs(spiking.weight).max()) < 1 << 15


@pytest.mark.parametrize(('weight', 'bias', 'step'), [
    (0.0, 0.0, 0.1), (0.0, 0.7, 0.1), (0.0, -1e9, 1e-6), (1.0, -1e9, 1e-6), (1.0, 1e9, 1e-6),
    (1e6, 0.0, 1e-6), (1e-30, 0.0, 1.0), (1.0, 0.0, 1e-12)])
def test_degenerate_channels_stay_valid(weight: float, bias: float, step: float) -> None:
    conv = _float(np.full((2, 3, 1, 1), weight), np.full(2, bias))
    spiking = _convert(conv, np.full(3, 0.01), step)
    assert spiking.threshold is not None
    assert ((spiking.threshold >= 1) & (spiking.threshold % 2 == 1)).all()
    assert ((Q + 1) * spiking.threshold.astype(np.int64) < 1 << 22).all()
    assert accumulator_bound(spiking, Q) < 1 << 31


@pytest.mark.parametrize(('bias', 'level'), [(-1e9, 0), (1e9, Q), (0.7, 7)])
def test_huge_bias_is_cut_without_changing_any_level(bias: float, level: int) -> None:
    spiking = _convert(_float(np.full((1, 3, 1, 1), 0.5), np.array([bias])),
                       np.full(3, 0.01), 0.1)
    assert spiking.threshold is not None
    corners = [[0, 0, 0], [0, 0, 0]] if abs(bias) < 1 else [[0, 0, 0], [Q, Q, Q]]
    for levels in corners:
        membrane = spiking.weight[0, :, 0, 0].astype(np.int64) @ levels + spiking.bias[0]
        assert np.clip(membrane // spiking.threshold[0], 0, Q) == level


def test_readout_is_exact_to_half_a_unit() -> None:
    conv = _float(RNG.normal(0, 0.3, (4, 8, 1, 1)), np.array([0.1, -3, 0, 1e5]), slope=1.0)
    spiking = _convert(conv, np.full(8, 0.01), 1.0)
    assert spiking.is_readout
    assert np.abs(spiking.bias * spiking.step - conv.bias).max() <= spiking.step.max()
    effective = conv.weight * np.float32(0.01)
    error = np.abs(spiking.weight * spiking.step[:, None, None, None] - effective)
    assert (error <= spiking.step[:, None, None, None] * 0.5001).all()
    assert np.abs(spiking.bias).max() <= 1 << 23  # float32 holds every membrane


def test_readout_of_nothing_is_zero() -> None:
    spiking = _convert(_float(np.zeros((2, 3, 1, 1)), np.zeros(2), slope=1.0), np.ones(3), 1.0)
    assert not spiking.weight.any() and not spiking.bias.any()
    assert (spiking.step == 1).all()


def test_grouped_convolution_takes_the_steps_of_its_own_channels() -> None:
    conv = _float(np.ones((4, 1, 1, 1)), np.zeros(4), groups=4)
    step_in = np.array([0.01, 0.02, 0.04, 0.08])
    spiking = _convert(conv, step_in, step_in)
    assert spiking.threshold is not None
    assert spiking.weight[:, 0, 0, 0] / spiking.threshold == pytest.approx(np.ones(4))


def test_weights_that_are_not_finite_are_refused() -> None:
    with pytest.raises(ConversionError, match='layer `conv`.*not finite'):
        _convert(_float(np.full((1, 1, 1, 1), np.nan), np.zeros(1)), np.ones(1), 1.0)


def test_cap_that_a_shared_scale_would_exceed_is_refused() -> None:
    conv = _float(np.ones((1, 1, 1, 1)), np.zeros(1), cap=6.0)
    assert _convert(conv, np.ones(1), 6 / Q).step[0] == pytest.approx(6 / Q)
    with pytest.raises(ConversionError, match='capped at 6.*9'):
        _convert(conv, np.ones(1), 9 / Q)


def test_converted_network_follows_the_float_network(tmp_path: Path) -> None:
    path = tiny_detector(tmp_path / 'net.onnx')
    calibration, test = pictures(8, (64, 64)), pictures(2, (64, 64), seed=8)
    engine = SimulatorEngine(convert(read_onnx(path), calibration))
    for picture in test:
        expected = run_float(path, picture)
        for mine, wanted in zip(_real(engine, picture), expected, strict=True):
            # Ten layers in a row, each with weights rounded to 1/127 (the first: 1/64) of their
            # largest and levels to 1/120; the readouts differ by 1.0 to 2.4 % of their mean.
            assert np.abs(mine - wanted).mean() < 0.04 * np.abs(wanted).mean()


def test_bias_makes_up_for_the_mean_error_of_rounded_weights() -> None:
    conv = _float(RNG.normal(0, 0.3, (16, 4, 3, 3)), RNG.normal(0, 0.2, 16), groups=2)
    step_in, mean = RNG.uniform(0.001, 0.03, (2, 8))
    steps = {'in': step_in.astype(np.float32), 'conv': np.full(16, 0.5, np.float32)}
    spiking = convert_convolution(conv, steps, Q, mean=mean * Q)
    assert spiking.threshold is not None
    unit = spiking.step / spiking.threshold
    levels = (mean * Q / steps['in']).reshape(2, 4)
    sums = np.einsum('gocij,gc->go', spiking.weight.reshape(2, 8, 4, 3, 3).astype(float), levels)
    exact = np.einsum('gocij,gc->go', conv.weight.reshape(2, 8, 4, 3, 3), mean.reshape(2, 4) * Q)
    # Rounding the bias itself is all that is left.
    error = (sums.ravel() + spiking.bias) * unit - (exact.ravel() + conv.bias)
    assert (np.abs(error) <= unit * 0.501).all()


def test_bias_correction_does_not_wake_a_neuron_that_never_fires() -> None:
    # Its weights are far out of range, and so is the mean error of what is left of them.
    conv = _float(np.full((1, 8, 3, 3), 1e6), np.array([-1e9]))
    steps = {'in': np.full(8, 0.01, np.float32), 'conv': np.full(1, 1e-3, np.float32)}
    spiking = convert_convolution(conv, steps, Q, mean=np.full(8, 0.3))
    assert spiking.threshold is not None
    highest = spiking.weight.astype(np.int64).sum() * Q + spiking.bias[0]
    assert highest < spiking.threshold[0]


def test_more_levels_and_a_half_membrane_err_less(tmp_path: Path) -> None:
    path = tiny_detector(tmp_path / 'net.onnx')
    calibration, (picture,) = pictures(8, (64, 64)), pictures(1, (64, 64), seed=8)
    wanted = run_float(path, picture)[0]
    errors = []
    for options in (SuhdOptions(burst=25), SuhdOptions(burst=4), SuhdOptions(burst=1),
                    SuhdOptions(burst=1, initial_membrane='zero')):
        network = convert(read_onnx(path), calibration, options)
        readout = _real(SimulatorEngine(network), picture)[0]
        errors.append(float(np.abs(readout - wanted).mean()))
    assert errors == sorted(errors)


def test_residual_sum_fits_the_levels(tmp_path: Path) -> None:
    network = convert(read_onnx(tiny_detector(tmp_path / 'net.onnx')), pictures(8, (64, 64)))
    first, second = network['model.1'], network['model.2.m.0.cv2']
    assert isinstance(first, Convolution) and isinstance(second, Convolution)
    np.testing.assert_array_equal(first.step, second.step)
    engine = SimulatorEngine(network)
    engine.run(pictures(1, (64, 64))[0])  # one of the calibration pictures
    levels = engine.levels()
    total = levels['model.1'].astype(int) + levels['model.2.m.0.cv2']
    # Calibrated on the sum: only rounding may pass Q, by a level of each part.
    assert total.max() <= Q + 2
    np.testing.assert_array_equal(levels['model.2.m.0.add'], total.clip(max=Q))


def test_dequantised_weights_are_within_half_a_unit(tmp_path: Path) -> None:
    original = read_onnx(tiny_detector(tmp_path / 'net.onnx'))
    network = convert(original, pictures(8, (64, 64)), SuhdOptions(
        rounding='nearest', bias_correction=False))
    dequantised = dequantise(network)
    steps = {IMAGE: np.full(3, np.float32(1 / 255))}
    steps |= {layer.name: layer.step for layer in network.convolutions}
    for layer in network.convolutions:
        if layer.source not in steps:
            continue  # reads a sum or a concatenation
        before, after = original[layer.name], dequantised[layer.name]
        assert isinstance(before, FloatConvolution) and isinstance(after, FloatConvolution)
        theta = 1 if layer.threshold is None else layer.threshold
        half = 0.5 * (layer.step / theta)[:, None, None, None] / steps[layer.source][:, None, None]
        assert (np.abs(after.weight - before.weight) <= half * 1.001 + 1e-7).all()
        assert (np.abs(after.bias - before.bias) <= 0.5001 * layer.step / theta + 1e-7).all()
        assert after.slope == before.slope


def test_dequantised_network_computes_what_the_levels_stand_for(tmp_path: Path) -> None:
    network = convert(read_onnx(tiny_detector(tmp_path / 'net.onnx')), pictures(8, (64, 64)))
    picture, = pictures(1, (64, 64))
    wanted = run_float(to_onnx(dequantise(network)), picture)
    for mine, readout in zip(_real(SimulatorEngine(network), picture), wanted, strict=True):
        # The same weights: only the rounding to levels of 1/120 of the maximum is left.
        assert np.abs(mine - readout).mean() < 0.03 * np.abs(readout).mean()


def test_network_with_relu6_converts(tmp_path: Path) -> None:
    net = FloatOnnxBuilder()
    capped = net.node('Clip', net.conv(PICTURE, 8, relu=False), net.constant(0), net.constant(0.3))
    path = net.save(tmp_path / 'net.onnx', [net.conv(capped, 4, relu=False)])
    network = convert(read_onnx(path), pictures(4))
    stem = next(network.convolutions)
    assert stem.step * Q == pytest.approx(np.full(8, 0.3), rel=1e-5)


def test_conversion_is_deterministic_and_says_where_it_comes_from(tmp_path: Path) -> None:
    path = tiny_detector(tmp_path / 'net.onnx', metadata={'license': 'CC0'})
    first, second = (convert(read_onnx(path), pictures(4, (64, 64))) for _ in range(2))
    for one, other in zip(first.convolutions, second.convolutions, strict=True):
        np.testing.assert_array_equal(one.weight, other.weight)
        np.testing.assert_array_equal(one.bias, other.bias)
        np.testing.assert_array_equal(one.threshold, other.threshold)
    assert first.provenance == second.provenance
    assert first.provenance['source'] == 'net.onnx'
    assert first.provenance['license'] == 'CC0'
    assert first.provenance['calibration_images'] == '4'
    assert first.provenance['file_is_exact_on_x86'] == 'all'


def test_silent_channels_are_listed(tmp_path: Path) -> None:
    net = FloatOnnxBuilder()
    dead = net.node('Relu', net.node(
        'Conv', PICTURE, net.constant(np.zeros((4, 3, 1, 1))), net.constant([-1, 0.5, -1, 0.5]),
        name='/stem/conv/Conv', channels=4))
    path = net.save(tmp_path / 'net.onnx', [net.conv(dead, 2, 1, relu=False)])
    assert convert(read_onnx(path), pictures(2)).provenance['silent_channels'] == 'stem 2 of 4'


def test_more_than_127_levels_are_marked(tmp_path: Path) -> None:
    network = convert(read_onnx(tiny_detector(tmp_path / 'net.onnx')), pictures(1, (64, 64)),
                      SuhdOptions(burst=25))
    assert network.provenance['file_is_exact_on_x86'] == 'with VNNI only'


def test_code_beyond_8_bit_is_refused() -> None:
    with pytest.raises(ConfigurationError, match='level 260'):
        _ = SuhdOptions(burst=26).code


def test_command_writes_a_model_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / 'pictures'
    folder.mkdir()
    for index, picture in enumerate(pictures(4, (48, 80))):
        cv2.imwrite(str(folder / f'{index}.png'), picture)
    model = tiny_detector(tmp_path / 'net.onnx', metadata={'names': '["cat", "dog"]'})
    output = tmp_path / 'spiking.onnx'
    status = main(['convert', str(model), '--calibration', str(folder), '-o', str(output),
                   '--limit', '3', '--burst', '6', '--percentile', '99.9', '--rounding', 'nearest',
                   '--anchors',
                   '[[[8, 8], [12, 16], [20, 9]], [[30, 30], [40, 20], [20, 50]]]'])
    assert status == 0
    network = load(output)
    assert network.code.max_level == 60
    assert network.class_names == ('cat', 'dog')
    assert network.provenance['calibration_images'] == '3'
    assert network.provenance['rounding'] == 'nearest'
    assert 'head yolov5 of model.8.m.0, model.8.m.1; classes: cat, dog' in capsys.readouterr().out


def test_command_names_the_node_it_cannot_convert(
    tmp_path: Path, capsys: pytest.CaptureFixture[str],
) -> None:
    net = FloatOnnxBuilder()
    silu = net.sigmoid_silu(net.conv(PICTURE, 8, relu=False))
    model = net.save(tmp_path / 'net.onnx', [net.conv(silu, 4, relu=False)])
    cv2.imwrite(str(tmp_path / 'picture.png'), pictures(1)[0])
    status = main(['convert', str(model), '--calibration', str(tmp_path), '-o',
                   str(tmp_path / 'out.onnx')])
    assert status == 1
    assert '/act/Sigmoid' in capsys.readouterr().err
    assert not (tmp_path / 'out.onnx').exists()
