# SPDX-License-Identifier: Apache-2.0
"""The detector with directly trained networks: pictures, windows of events, carried membranes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from lif_builder import CLASSES, small_lif_detector
from network_builder import small_detector

from snn_detector_ros import Detector
from snn_detector_ros.detection.candidates import sigmoid
from snn_detector_ros.engines.lif_simulator import LifSimulator
from snn_detector_ros.errors import ConfigurationError, ImageError
from snn_detector_ros.events.binned_frames import binned_frames
from snn_detector_ros.events.types import EVENT
from snn_detector_ros.events.windows import Window
from snn_detector_ros.network.model_file import save

SENSOR = (64, 96)


@pytest.fixture(scope='module')
def picture_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp('models') / 'pictures.onnx'
    save(small_lif_detector(), path)
    return path


@pytest.fixture(scope='module')
def event_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp('models') / 'events.onnx'
    save(small_lif_detector(coding='binned'), path)
    return path


def window(count: int = 3000, seed: int = 0) -> Window:
    """Return random events of 40 ms, in time order."""
    random = np.random.default_rng(seed)
    events = np.zeros(count, EVENT)
    events['x'], events['y'] = (random.integers(0, side, count) for side in SENSOR[::-1])
    events['p'] = random.integers(0, 2, count)
    events['t'] = np.sort(random.integers(0, 40_000, count))
    return Window(0, 40_000, events)


def test_pictures_are_searched_as_by_a_converted_network(picture_model: Path) -> None:
    image = np.random.default_rng(0).integers(0, 256, (64, 96, 3), dtype=np.uint8)
    detector = Detector(picture_model, score_threshold=0.05, iou_threshold=1.0)
    assert not detector.reads_events and detector.class_names == CLASSES
    found = detector(image)
    assert len(found) > 10
    assert ((found.boxes >= 0) & (found.boxes <= (96, 64, 96, 64))).all()
    firing = detector.firing()
    assert firing is not None and firing.names == ('fired', 'slow') and 0.02 < firing.rate < 0.9


def test_the_best_box_is_that_of_the_readouts(event_model: Path) -> None:
    network = small_lif_detector(coding='binned')
    frames = binned_frames(window(), 4, SENSOR, network.input_size)[..., None]
    detector = Detector(event_model, score_threshold=0.0, iou_threshold=1.0)
    found = detector.detect_bins(frames).detections
    scores = []
    for readout in LifSimulator(network).run(frames).values():
        values = sigmoid(readout.reshape(-1, 5 + len(CLASSES)))
        scores.append((values[:, 4:5] * values[:, 5:]).max())
    assert found.scores[0] == pytest.approx(max(scores), abs=1e-5)


def test_boxes_of_events_are_in_pixels_of_the_sensor(event_model: Path) -> None:
    detector = Detector(event_model, score_threshold=0.05)
    result = detector.detect_events(window(), SENSOR)
    assert set(result.stages) == {'preprocess', 'inference', 'postprocess'}
    frames = binned_frames(window(), 4, SENSOR, detector.input_size)[..., None]
    in_frames = detector.detect_bins(frames).detections
    assert len(result.detections) == len(in_frames) > 0
    # 32x48 pixels show 64x96 of the sensor.
    np.testing.assert_allclose(result.detections.boxes, 2 * in_frames.boxes, atol=1e-3)


def test_state_is_carried_only_if_asked(event_model: Path) -> None:
    fresh, carrying = (Detector(event_model, score_threshold=0.05, carry_state=carry)
                       for carry in (False, True))
    for detector in (fresh, carrying):
        detector.warm_up()
    first = fresh.detect_events(window(), SENSOR).detections
    assert np.array_equal(fresh.detect_events(window(), SENSOR).detections.scores, first.scores)
    # Nothing is left of the warming up, and something of the first window.
    assert np.array_equal(carrying.detect_events(window(), SENSOR).detections.scores, first.scores)
    second = carrying.detect_events(window(), SENSOR).detections
    assert not np.array_equal(second.scores, first.scores)
    carrying.reset()
    assert np.array_equal(carrying.detect_events(window(), SENSOR).detections.scores, first.scores)


def test_what_a_network_was_not_trained_on_is_refused(
    picture_model: Path, event_model: Path, tmp_path: Path,
) -> None:
    with pytest.raises(ImageError, match=r'events.onnx was trained on events'):
        Detector(event_model)(np.zeros((64, 96, 3), np.uint8))
    with pytest.raises(ConfigurationError, match=r'pictures.onnx was not trained on windows'):
        Detector(picture_model).detect_events(window(), SENSOR)
    with pytest.raises(ImageError, match=r'needs uint8 of \(4, 32, 48, 1\)'):
        Detector(event_model).detect_bins(np.zeros((3, 32, 48, 1), np.uint8))
    save(small_detector(), tmp_path / 'converted.onnx')
    with pytest.raises(ConfigurationError, match='cannot carry state'):
        Detector(tmp_path / 'converted.onnx', carry_state=True)
