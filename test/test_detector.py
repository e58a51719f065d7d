# SPDX-License-Identifier: Apache-2.0
"""The detector as a library: pictures in, boxes in source pixels out, no ROS and no torch."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from network_builder import small_detector

from snn_detector_ros import Detector
from snn_detector_ros.errors import ConfigurationError, ImageError, ModelFileError
from snn_detector_ros.network.model_file import save


@pytest.fixture(scope='module')
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp('model') / 'small.onnx'
    save(small_detector(), path)
    return path


@pytest.fixture
def grey_model(tmp_path: Path) -> Path:
    network = small_detector()
    stem = network.layers[0]
    grey = replace(stem, weight=stem.weight[:, :1])
    save(replace(network, layers=(grey, *network.layers[1:])), tmp_path / 'grey.onnx')
    return tmp_path / 'grey.onnx'


def test_a_network_for_grey_pictures_is_refused(grey_model: Path) -> None:
    with pytest.raises(ConfigurationError, match=r'grey.onnx reads 1 channels'):
        Detector(grey_model)


def picture(height: int = 90, width: int = 160) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)


def test_detections_lie_in_the_picture_best_first(model: Path) -> None:
    found = Detector(model, score_threshold=0.01)(picture())
    assert len(found) > 0
    assert (found.boxes >= 0).all()
    assert (found.boxes <= [160, 90, 160, 90]).all()
    assert (np.diff(found.scores) <= 0).all()
    assert {detection.class_name for detection in found} <= {'cat', 'dog'}


def test_engines_give_the_same_detections(model: Path) -> None:
    first, second = (Detector(model, engine=engine, score_threshold=0.01)(picture())
                     for engine in ('simulator', 'onnxruntime'))
    np.testing.assert_array_equal(first.boxes, second.boxes)
    np.testing.assert_array_equal(first.scores, second.scores)


def test_thresholds_may_change_between_pictures(model: Path) -> None:
    detector = Detector(model, score_threshold=0.01)
    every = len(detector(picture()))
    detector.max_detections = 2
    assert len(detector(picture())) == 2 < every
    detector.score_threshold = 1.0
    assert len(detector(picture())) == 0


def test_rgb_and_bgr_pictures_agree(model: Path) -> None:
    detector = Detector(model, score_threshold=0.01)
    bgr = picture()
    first = detector(bgr)
    second = detector(np.ascontiguousarray(bgr[..., ::-1]), colour='rgb')
    np.testing.assert_array_equal(first.boxes, second.boxes)


def test_frames_report_their_stages_and_spikes(model: Path) -> None:
    detector = Detector(model)
    result = detector.detect(picture())
    assert set(result.stages) == {'preprocess', 'inference', 'postprocess'}
    assert all(seconds > 0 for seconds in result.stages.values())
    firing = detector.firing()
    assert firing is not None
    assert firing.spikes > 0
    assert Detector(model, statistics=False).firing() is None


def test_bad_input_is_named(model: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelFileError, match=r'absent\.onnx'):
        Detector(tmp_path / 'absent.onnx')
    with pytest.raises(ConfigurationError, match='multiples of 4'):
        Detector(model, input_size=(30, 32))
    detector = Detector(model, score_threshold=0.01)
    for image in (np.zeros((0, 4, 3), np.uint8), np.zeros((4, 4, 4), np.uint8),
                  np.zeros((4, 4, 3), np.float32), np.zeros((4, 20000, 3), np.uint8)):
        with pytest.raises(ImageError):
            detector(image)
    assert len(detector(picture())) > 0


def test_the_library_needs_neither_ros_nor_torch(model: Path) -> None:
    program = f"""
import sys
for name in ('rclpy', 'torch', 'vision_msgs', 'sensor_msgs'):
    sys.modules[name] = None  # importing it now raises ImportError
import numpy as np
from snn_detector_ros import Detector
detector = Detector({str(model)!r}, score_threshold=0.01)
print(len(detector(np.full((40, 50, 3), 128, np.uint8))), detector.firing().spikes)
"""
    result = subprocess.run([sys.executable, '-c', program], capture_output=True, text=True,
                            timeout=60, check=False)
    assert result.returncode == 0, result.stderr
