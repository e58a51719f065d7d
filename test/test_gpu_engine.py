# SPDX-License-Identifier: Apache-2.0
"""
The GPU engine equals the simulator: every level, every readout, every spike.

Its plans and its Triton kernels run here in Triton's interpreter, on memory full of noise.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from network_builder import NetworkBuilder, small_detector, small_signed_detector
from numpy.typing import NDArray
from random_graphs import SIGNED_CODES, SLOPES, networks

pytest.importorskip('triton', reason='triton is not installed (extra: gpu)')
pytest.importorskip('torch', reason='torch is not installed: Triton interprets on its tensors')

from kernel_interpreter import InterpretedSession  # noqa: E402

from snn_detector_ros import Detector  # noqa: E402
from snn_detector_ros.detection import detector  # noqa: E402
from snn_detector_ros.detection.letterbox import PADDING, Letterbox  # noqa: E402
from snn_detector_ros.engines import make_engine  # noqa: E402
from snn_detector_ros.engines.gpu import tiles  # noqa: E402
from snn_detector_ros.engines.gpu.engine import GpuEngine  # noqa: E402
from snn_detector_ros.engines.gpu.tiles import Tile  # noqa: E402
from snn_detector_ros.engines.picture import Fit, fit_picture  # noqa: E402
from snn_detector_ros.engines.select import EngineChoice  # noqa: E402
from snn_detector_ros.errors import EngineError, ImageError  # noqa: E402
from snn_detector_ros.network import (  # noqa: E402
    IMAGE,
    Convolution,
    MaxPool,
    SpikeCode,
    SpikingNetwork,
    model_file,
)

CODES = [SpikeCode.linear(4, 12), SpikeCode.linear(4), SpikeCode.linear(2, 40),
         SpikeCode.linear(1, 127), SpikeCode.linear(8, 3), SpikeCode.binary(6),
         SpikeCode.constant(8, 3)]


def interpreted(network: SpikingNetwork, **options: object) -> GpuEngine:
    return GpuEngine(network, open_session=InterpretedSession, **options)  # type: ignore[arg-type]


def tiny(code: SpikeCode = CODES[0], *, initial_membrane: str = 'half') -> SpikingNetwork:
    """Return every kind of fusion on few pixels: the interpreter takes its time."""
    net = NetworkBuilder(0, code, input_size=(16, 16))
    stem = net.conv(IMAGE, 16, 6, 2, padding=2)
    first, second = net.conv(stem, 16), net.conv(stem, 9)
    residual = net.add(first, net.conv(first, 16, 3))
    pools = [net.concat(residual, second)]
    for _ in range(3):
        pools.append(net.pool(pools[-1], 3))
    deep = net.conv(net.concat(*pools), 10, 3, 2)
    net.conv(net.concat(net.upsample(deep), residual), 7, readout=True)
    return net.build(initial_membrane=initial_membrane)


def picture(size: tuple[int, int], seed: int = 0) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8)


def assert_equals_the_simulator(
    network: SpikingNetwork, pixels: NDArray[np.uint8] | None = None, *, levels: bool = True,
) -> GpuEngine:
    """Compare everything; ``levels`` runs the picture once more, without fusions."""
    pixels = picture(network.input_size) if pixels is None else pixels
    simulator, engine = make_engine('simulator', network), interpreted(network)
    expected, readouts = simulator.run(pixels), engine.run(pixels)
    assert set(readouts) == set(expected)
    for name, values in expected.items():
        assert readouts[name].dtype == np.int32
        np.testing.assert_array_equal(readouts[name], values, err_msg=name)
    assert engine.firing().layers == simulator.firing().layers
    if levels:
        found = engine.levels()
        for name, values in simulator.levels().items():
            np.testing.assert_array_equal(found[name], values, err_msg=name)
    return engine


@pytest.fixture
def large_tiles(monkeypatch: pytest.MonkeyPatch) -> None:
    """Interpret few large blocks, not many small ones, which would take several times as long."""
    monkeypatch.setattr(tiles, 'TILES', (Tile(128, 32, 4, 3),))
    monkeypatch.setattr(tiles, 'NARROWEST', 32)


@pytest.mark.usefixtures('large_tiles')
@pytest.mark.parametrize('initial_membrane', ['zero', 'half'])
@pytest.mark.parametrize('code', CODES, ids=str)
def test_every_kind_of_layer(code: SpikeCode, initial_membrane: str) -> None:
    network = tiny(code, initial_membrane=initial_membrane)
    assert_equals_the_simulator(network, levels=initial_membrane == 'half')


@pytest.mark.usefixtures('large_tiles')
def test_spike_sppf() -> None:
    assert_equals_the_simulator(small_detector())


@pytest.mark.usefixtures('large_tiles')
@pytest.mark.parametrize('code', [SIGNED_CODES[0], SIGNED_CODES[5]], ids=str)
def test_signed_neurons_and_outputs_that_fire(code: SpikeCode) -> None:
    assert_equals_the_simulator(small_signed_detector(code=code), levels=code == SIGNED_CODES[0])


@pytest.mark.slow
@pytest.mark.usefixtures('large_tiles')
@settings(max_examples=60, deadline=None,
          suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(network=networks(slopes=SLOPES), seed=st.integers(0, 99))
def test_random_graphs(network: SpikingNetwork, seed: int) -> None:
    assert_equals_the_simulator(network, picture(network.input_size, seed))


@pytest.mark.usefixtures('large_tiles')
@settings(max_examples=6, deadline=None, derandomize=True,
          suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(network=networks(slopes=SLOPES), seed=st.integers(0, 99))
def test_some_random_graphs(network: SpikingNetwork, seed: int) -> None:
    assert_equals_the_simulator(network, picture(network.input_size, seed), levels=False)


@pytest.mark.parametrize('tile', tiles.TILES, ids=str)
def test_every_tile(tile: Tile, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither pixels, outputs nor inputs are multiples of a block."""
    monkeypatch.setattr(tiles, 'TILES', (tile,))
    monkeypatch.setattr(tiles, 'NARROWEST', tile.channels)
    net = NetworkBuilder(1, SpikeCode.linear(4, 12), input_size=(11, 13))
    deep = net.conv(net.conv(IMAGE, 37, 3, 2), 70, 3)
    net.conv(net.conv(deep, 19), 5, readout=True)
    assert_equals_the_simulator(net.build(), levels=False)


@pytest.mark.parametrize('slope', [0.0, 0.25])
@pytest.mark.parametrize('middle', [5, 40])
def test_a_convolution_may_follow_another_in_registers(middle: int, slope: float) -> None:
    net = NetworkBuilder(4, SpikeCode.linear(4, 12), input_size=(11, 9))
    wide = net.conv(net.conv(IMAGE, 20, 3, slope=slope), middle, 3, 2, slope=slope)
    first, second = (net.conv(wide, count, slope=slope) for count in (48, 7))
    net.conv(net.concat(second, first), 5, readout=True)
    assert_equals_the_simulator(net.build(), levels=False)


@pytest.mark.parametrize(('stride', 'padding', 'kernel'), [
    ((2, 1), (0, 2, 1, 0), (3, 5)), ((3, 2), (2, 0, 2, 3), (4, 2)), ((1, 1), (0, 0, 0, 0), (1, 1)),
    ((1, 2), (6, 6, 6, 6), (7, 7))])
def test_odd_windows(
    stride: tuple[int, int], padding: tuple[int, int, int, int], kernel: tuple[int, int],
) -> None:
    net = NetworkBuilder(2, SpikeCode.linear(4, 12), input_size=(14, 17))
    net.conv(net.conv(IMAGE, 18, 3), 21)
    network = net.build()
    stem, conv = network.convolutions
    weight = np.random.default_rng(3).integers(-127, 128, (21, 18, *kernel)).astype(np.int8)
    odd = replace(conv, weight=weight, stride=stride, padding=padding)
    pool = MaxPool('pool', odd.name, (2, 3), (1, 2), (1, 0, 1, 2))
    readout = replace(conv, name='out', source='pool', threshold=None, weight=np.ones(
        (21, 21, 1, 1), np.int8))
    assert_equals_the_simulator(
        replace(network, layers=(stem, odd, pool, readout), outputs=('out',)), levels=False)


@pytest.mark.parametrize('sign', [-1, 1])
def test_membranes_far_beyond_all_levels(sign: int) -> None:
    network = tiny()
    layers = tuple(
        replace(layer, bias=np.full_like(layer.bias, sign * 2_000_000_000))
        if isinstance(layer, Convolution) and not layer.is_readout else layer
        for layer in network.layers)
    engine = assert_equals_the_simulator(replace(network, layers=layers), levels=False)
    rates = engine.firing().rate_by_layer
    assert rates['conv0'] == (0 if sign < 0 else network.code.fire(
        np.array([network.code.max_level]), np.int64(1)).sum() / network.code.steps)


@pytest.mark.parametrize('value', [0, 255])
def test_black_and_white_pictures(value: int) -> None:
    network = tiny()
    assert_equals_the_simulator(
        network, np.full((*network.input_size, 3), value, np.uint8), levels=False)


def test_results_are_of_the_last_picture() -> None:
    network = tiny()
    engine, simulator = interpreted(network), make_engine('simulator', network)
    for seed in (1, 2):
        pixels = picture(network.input_size, seed)
        expected = simulator.run(pixels)
        for name, values in engine.run(pixels).items():
            np.testing.assert_array_equal(values, expected[name])
        assert engine.firing().layers == simulator.firing().layers


def test_without_statistics_nothing_is_counted() -> None:
    network = tiny()
    engine = interpreted(network, statistics=False)
    expected = make_engine('simulator', network).run(picture(network.input_size))
    for name, values in engine.run(picture(network.input_size)).items():
        np.testing.assert_array_equal(values, expected[name])
    with pytest.raises(EngineError, match='statistics=True'):
        engine.firing()
    with pytest.raises(EngineError, match='statistics=True'):
        engine.levels()


@pytest.mark.parametrize(('size', 'colour'), [
    ((40, 60), 'bgr'), ((64, 64), 'rgb'), ((9, 70), 'mono'), ((32, 32), 'rgb'), ((7, 5), 'bgr')])
def test_pictures_of_any_size_are_fitted_as_on_the_cpu(
    size: tuple[int, int], colour: str,
) -> None:
    image = picture(size)[..., 0] if colour == 'mono' else picture(size)
    network = tiny()
    letterbox = Letterbox(network.input_size)
    expected = make_engine('simulator', network).run(letterbox(image, colour=colour).copy())
    geometry = letterbox.geometry
    fit = Fit(geometry.source_size, geometry.size, geometry.top, geometry.left, colour, PADDING)
    for name, values in interpreted(network).run_picture(image, fit).items():
        np.testing.assert_array_equal(values, expected[name])


@pytest.mark.parametrize('colour', ['bgr', 'rgb'])
def test_a_detector_finds_the_same_boxes_whoever_fits_the_picture(
    colour: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
) -> None:
    net = NetworkBuilder(0, SpikeCode.linear(4, 12), input_size=(32, 32))
    net.conv(net.conv(IMAGE, 16, 5, 4), 14, readout=True)
    model_file.save(net.build(head=True), tmp_path / 'model.onnx')
    image = picture((50, 70))[:, ::-1]
    expected = Detector(
        tmp_path / 'model.onnx', engine='onnxruntime', score_threshold=0.01)(image, colour=colour)
    monkeypatch.setattr(detector, 'choose_engine', lambda name, network, options: EngineChoice(
        interpreted(network), 'a test'))
    ours = Detector(tmp_path / 'model.onnx', score_threshold=0.01)
    found = ours(image, colour=colour)
    assert len(expected) > 0
    for name in ('boxes', 'scores', 'classes'):
        np.testing.assert_array_equal(getattr(found, name), getattr(expected, name))
    with pytest.raises(ImageError, match='pass a numpy array of uint8'):
        ours(image.astype(np.float32))


@settings(max_examples=150, deadline=None)
@given(height=st.integers(1, 300), width=st.integers(1, 300), seed=st.integers(0, 99),
       colour=st.sampled_from(['bgr', 'rgb', 'mono']),
       size=st.sampled_from([(96, 96), (64, 160), (33, 17)]))
def test_the_tables_of_a_fit_are_those_of_opencv(
    height: int, width: int, seed: int, colour: str, size: tuple[int, int],
) -> None:
    """The kernel's slow twin equals ``cv2.resize`` in every pixel."""
    image = picture((height, width), seed)
    image = np.ascontiguousarray(image[..., 0]) if colour == 'mono' else image
    letterbox = Letterbox(size)
    expected, geometry = letterbox(image, colour=colour), letterbox.geometry
    fit = Fit(geometry.source_size, geometry.size, geometry.top, geometry.left, colour, PADDING)
    np.testing.assert_array_equal(fit_picture(image, fit, size), expected)


@pytest.mark.parametrize(('steps', 'burst'), [(1, 255), (2, 85), (4, 16), (4, 25)])
def test_levels_that_fit_no_int8_are_refused(steps: int, burst: int) -> None:
    code = SpikeCode.linear(steps, burst)
    with pytest.raises(EngineError, match=r'levels up to \d+, but tensor cores take int8'):
        interpreted(tiny(code))


def test_pictures_that_are_not_in_colour_are_refused() -> None:
    network = tiny()
    stem = network.layers[0]
    assert isinstance(stem, Convolution)
    grey = replace(stem, weight=np.ascontiguousarray(stem.weight[:, :1]))
    with pytest.raises(EngineError, match='1 channels of the picture'):
        interpreted(replace(network, layers=(grey, *network.layers[1:])))
