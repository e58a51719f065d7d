# SPDX-License-Identifier: Apache-2.0
"""Public detectors keep what they see when they are converted as they come."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from snn_detector_ros.conversion import convert, read_onnx
from snn_detector_ros.datasets.image_folder import list_images, read_bgr
from snn_detector_ros.datasets.yolo_txt import YoloTxtDataset
from snn_detector_ros.detection.detector import Detector
from snn_detector_ros.detection.letterbox import Letterbox
from snn_detector_ros.engines import make_engine
from snn_detector_ros.evaluation.coco import GroundTruth, average_precision
from snn_detector_ros.evaluation.float_detector import FloatDetector
from snn_detector_ros.evaluation.runner import DETECTOR_OPTIONS, evaluate
from snn_detector_ros.network import SpikingNetwork
from snn_detector_ros.network.model_file import save

FILES = {'fastestdet': 'fastestdet/FastestDet.onnx',
         'ultraface': 'ultraface_rfb320/version-RFB-320.onnx'}


def _pictures(folder: Path, every: int, size: tuple[int, int]) -> list[Any]:
    letterbox = Letterbox(size)
    return [letterbox(read_bgr(path)).copy() for path in list_images(folder)[::every]]


@pytest.fixture(scope='module')
def converted(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Return the model files."""
    folder = tmp_path_factory.mktemp('converted')
    for kind, file in FILES.items():
        network = read_onnx(shared_data / 'weights' / file, head=kind)
        images = _pictures(
            shared_data / 'people_vehicles' / 'images' / 'train', 40, network.input_size)
        save(convert(network, images), folder / f'{kind}.onnx')
    return {kind: folder / f'{kind}.onnx' for kind in FILES}


@pytest.mark.parametrize('kind', FILES)
def test_engine_equals_simulator(kind: str, converted: dict[str, Path], shared_data: Path) -> None:
    network: SpikingNetwork = Detector(converted[kind]).network
    image, = _pictures(
        shared_data / 'people_vehicles' / 'images' / 'test', 1000, network.input_size)
    fast, slow = make_engine('auto', network), make_engine('simulator', network)
    got = {name: value.copy() for name, value in fast.run(image).items()}
    for name, value in slow.run(image).items():
        np.testing.assert_array_equal(got[name], value)


def test_fastestdet_keeps_its_average_precision(
    converted: dict[str, Path], shared_data: Path,
) -> None:
    dataset = YoloTxtDataset.open(shared_data / 'people_vehicles' / 'data.yaml', 'test_people.txt')
    floats = evaluate(FloatDetector(
        shared_data / 'weights' / FILES['fastestdet'], head='fastestdet', **DETECTOR_OPTIONS),
        dataset)
    spikes = evaluate(Detector(
        converted['fastestdet'], statistics=False, **DETECTOR_OPTIONS), dataset)
    assert floats.map50 > 0.9
    assert spikes.map50 > floats.map50 - 0.005


def test_ultraface_agrees_with_its_float_network(
    converted: dict[str, Path], shared_data: Path,
) -> None:
    options = {'iou_threshold': 0.3}
    judge = FloatDetector(shared_data / 'weights' / FILES['ultraface'], head='ultraface',
                          score_threshold=0.7, **options)
    spiking = Detector(converted['ultraface'], score_threshold=0.01, statistics=False, **options)
    truths, found = [], []
    for path in list_images(shared_data / 'people_vehicles' / 'images' / 'test')[::2]:
        image = read_bgr(path)
        faces = judge(image)
        truths.append(GroundTruth(faces.boxes, faces.classes))
        found.append(spiking(image))
    assert sum(len(truth.classes) for truth in truths) > 50
    assert average_precision(truths, found, [0])[0].ap50 > 0.995
