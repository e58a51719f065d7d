# SPDX-License-Identifier: Apache-2.0
"""Average precision on cases that can be computed by hand, and the float detector."""

import json
import sys

import cv2
import numpy as np
import onnxruntime
import pytest
from float_onnx_builder import fixed_detector

from snn_detector_ros.conversion.picture_format import PictureFormat
from snn_detector_ros.datasets.yolo_txt import YoloTxtDataset
from snn_detector_ros.detection.candidates import sigmoid
from snn_detector_ros.detection.nms import suppress
from snn_detector_ros.detection.types import Detections
from snn_detector_ros.errors import ConfigurationError, MissingDependencyError, ModelFileError
from snn_detector_ros.evaluation.coco import GroundTruth, average_precision
from snn_detector_ros.evaluation.float_detector import FloatDetector
from snn_detector_ros.evaluation.runner import evaluate

NAMES = ('person', 'car', 'bus')


def _truth(boxes, classes=None) -> GroundTruth:
    classes = [0] * len(boxes) if classes is None else classes
    return GroundTruth(
        np.reshape(boxes, (-1, 4)).astype(np.float32), np.array(classes, dtype=np.int64))


def _found(boxes, scores, classes=None, names=NAMES) -> Detections:
    classes = [0] * len(boxes) if classes is None else classes
    return Detections(
        np.reshape(boxes, (-1, 4)).astype(np.float32), np.array(scores, dtype=np.float32),
        np.array(classes, dtype=np.int64), names)


def test_perfect_detections_have_precision_1():
    truths = [_truth([[0, 0, 10, 10], [20, 20, 60, 90]], [0, 1]), _truth([[5, 5, 9, 9]], [1])]
    found = [_found(t.boxes, np.linspace(0.9, 0.3, len(t.classes)), t.classes) for t in truths]
    result = average_precision(truths, found, range(3))
    assert list(result) == [0, 1]
    for one in result.values():
        assert (one.ap50, one.ap) == pytest.approx((1, 1))


def test_curve_computed_by_hand():
    """
    Two objects; right (0.9), wrong (0.8), right (0.7).

    Precision is 1 up to recall 0.5 and 2/3 from there to 1. Of the 101 recalls 0, 0.01, ..., 1,
    51 are at most 0.5: (51 + 50 * 2 / 3) / 101.
    """
    truth = _truth([[0, 0, 10, 10], [50, 50, 90, 90]])
    found = _found([[0, 0, 10, 10], [20, 20, 30, 30], [50, 50, 90, 90]], [0.9, 0.8, 0.7])
    result = average_precision([truth], [found], [0])[0]
    assert (result.ap50, result.ap) == pytest.approx(((51 + 50 * 2 / 3) / 101,) * 2)


def test_overlap_decides_at_which_thresholds_a_box_counts():
    """An overlap of 0.72 reaches 0.5, 0.55, 0.6, 0.65 and 0.7: five of ten thresholds."""
    result = average_precision(
        [_truth([[0, 0, 100, 100]])], [_found([[0, 0, 100, 72]], [0.5])], [0])[0]
    assert (result.ap50, result.ap) == pytest.approx((1, 0.5))


def test_second_detection_of_an_object_is_wrong():
    truth = _truth([[0, 0, 10, 10], [50, 50, 90, 90]])
    found = _found([[0, 0, 10, 10], [0, 0, 10, 10]], [0.9, 0.8])
    # One of two objects found, at precision 1: recalls 0 to 0.5 of 101.
    assert average_precision([truth], [found], [0])[0].ap50 == pytest.approx(51 / 101)


def test_class_with_labels_but_no_detections_has_precision_0():
    result = average_precision([_truth([[0, 0, 10, 10]])], [Detections.empty(NAMES)], [0])
    assert (result[0].ap50, result[0].ap) == (0, 0)


def test_classes_without_labels_are_left_out():
    found = _found([[0, 0, 10, 10], [3, 3, 30, 30]], [0.9, 0.95], [0, 1])
    result = average_precision([_truth([[0, 0, 10, 10]])], [found], range(3))
    assert list(result) == [0] and result[0].ap50 == pytest.approx(1)


def test_no_labels_give_no_result():
    assert average_precision([_truth([])], [Detections.empty(NAMES)], range(3)) == {}


def test_missing_package_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, 'faster_coco_eval', None)
    with pytest.raises(MissingDependencyError, match=r'\[eval\]'):
        average_precision([], [], [])


@pytest.fixture
def dataset(tmp_path) -> YoloTxtDataset:
    """Two pictures of 100 x 200 px: a person and a car, and nothing."""
    (tmp_path / 'images').mkdir()
    (tmp_path / 'labels').mkdir()
    paths = [tmp_path / 'images' / f'{name}.png' for name in ('street', 'empty')]
    for path in paths:
        assert cv2.imwrite(str(path), np.zeros((100, 200, 3), np.uint8))
    (tmp_path / 'labels' / 'street.txt').write_text('0 0.1 0.5 0.1 0.8\n1 0.6 0.5 0.4 0.2\n')
    return YoloTxtDataset(NAMES, paths)


PERSON, CAR = [10, 10, 30, 90], [80, 40, 160, 60]


def test_labels_are_compared_in_source_pixels(dataset):
    answers = iter([_found([PERSON, CAR], [0.9, 0.8], [0, 1]), Detections.empty(NAMES)])
    shapes = []

    def detect(image):
        shapes.append(image.shape)
        return next(answers)

    result = evaluate(detect, dataset)
    assert shapes == [(100, 200, 3)] * 2
    assert result.images == 2
    assert [(one.name, one.objects) for one in result.classes] == [('person', 1), ('car', 1)]
    assert (result.map50, result.map) == pytest.approx((1, 1))


def test_only_chosen_classes_count(dataset):
    def detect(image):
        return _found([PERSON], [0.9], [0])

    # The person is found in both pictures, once wrongly; equal scores keep their order.
    only_car = evaluate(detect, dataset, classes=['car'])
    assert [(one.name, one.ap50) for one in only_car.classes] == [('car', 0)]
    both = evaluate(detect, dataset, classes=['car', 'person'])
    assert both.map50 == pytest.approx(0.5)


def test_classes_are_matched_by_name(dataset):
    def detect(image):
        return _found([CAR, PERSON, CAR], [0.9, 0.8, 0.7], [1, 2, 0], ('tree', 'car', 'person'))

    result = evaluate(detect, dataset)
    assert [one.ap50 for one in result.classes] == pytest.approx([1, 1])


def test_model_of_other_classes_is_refused(dataset):
    with pytest.raises(ConfigurationError, match='no class in common'):
        evaluate(lambda image: Detections.empty(('tree',)), dataset)


def test_unknown_class_is_refused(dataset):
    with pytest.raises(ConfigurationError, match="'bicycle' is not in the data"):
        evaluate(lambda image: Detections.empty(NAMES), dataset, classes=['bicycle'])


def test_set_without_labels_is_refused(dataset):
    with pytest.raises(ConfigurationError, match='no labels of bus'):
        evaluate(lambda image: Detections.empty(NAMES), dataset, classes=['bus'])


ROWS = np.array([
    [32, 32, 20, 40, 0.9, 0.8, 0.1, 0.1],
    [96, 32, 40, 20, 0.6, 0.1, 0.5, 0.1],
    [96, 32, 40, 21, 0.5, 0.1, 0.5, 0.1]], dtype=np.float32)


@pytest.mark.parametrize('names', [json.dumps(NAMES), str(dict(enumerate(NAMES)))])
def test_float_detector_returns_source_pixels(tmp_path, names):
    fixed_detector(tmp_path / 'float.onnx', ROWS, names)
    image = np.zeros((128, 256, 3), np.uint8)
    image[..., 2] = 255  # red, which the network reads as its first channel
    found = list(FloatDetector(tmp_path / 'float.onnx')(image))
    assert [one.class_name for one in found] == ['person', 'car']
    assert found[0].box == pytest.approx((44, 24, 84, 104))
    assert found[0].score == pytest.approx(0.72, rel=1e-5)
    assert found[1].box == pytest.approx((152, 44, 232, 84))


def test_float_detector_feeds_red_first(tmp_path):
    fixed_detector(tmp_path / 'float.onnx', ROWS, json.dumps(NAMES))
    image = np.zeros((64, 128, 3), np.uint8)
    image[..., 0] = 255
    assert [one.class_name for one in FloatDetector(tmp_path / 'float.onnx')(image)] == ['car']


def test_float_network_without_class_names_is_refused(tmp_path):
    fixed_detector(tmp_path / 'float.onnx', ROWS, '[]')
    with pytest.raises(ModelFileError, match=r'\[1, 3, 8\] for 0 class names'):
        FloatDetector(tmp_path / 'float.onnx')


def test_float_detector_takes_what_its_file_does_not_say(tmp_path):
    fixed_detector(tmp_path / 'float.onnx', ROWS, '[]')
    image = np.zeros((64, 128, 3), np.uint8)
    image[..., 0] = 255  # blue, which the network is said to read as its first channel
    found = FloatDetector(tmp_path / 'float.onnx', class_names=NAMES,
                          picture=PictureFormat(colour='bgr'))(image)
    assert [one.class_name for one in found] == ['person', 'car']
    with pytest.raises(ModelFileError, match='cannot take 32x32 px'):
        FloatDetector(tmp_path / 'float.onnx', class_names=NAMES, input_size=(32, 32))


@pytest.mark.parametrize('names', ['not a list', '{1: "cat"}', '5', '[' * 500])
def test_malformed_class_names_are_refused(tmp_path, names):
    fixed_detector(tmp_path / 'float.onnx', ROWS, names)
    with pytest.raises(ModelFileError, match='no list of class names'):
        FloatDetector(tmp_path / 'float.onnx')


def test_foreign_file_is_refused(tmp_path):
    (tmp_path / 'float.onnx').write_bytes(b'no network')
    with pytest.raises(ModelFileError, match='float.onnx'):
        FloatDetector(tmp_path / 'float.onnx')


@pytest.mark.parametrize(('split', 'ap50', 'ap'), [
    ('test_people.txt', 0.934, 0.612), ('test_vehicles.txt', 0.517, 0.319)])
def test_figures_agree_with_an_independent_measurement(shared_data, split, ap50, ap):
    """The data folder states what FastestDet reaches, measured with other code."""
    folder = shared_data / 'weights' / 'fastestdet'
    text = (folder / 'coco.names').read_text().replace('motorbike', 'motorcycle')
    names = tuple(text.splitlines())
    session = onnxruntime.InferenceSession(folder / 'FastestDet.onnx')

    def detect(image):
        size = np.float32(image.shape[1::-1])
        blob = cv2.dnn.blobFromImage(cv2.resize(image, (352, 352)), 1 / 255)
        cells = session.run(None, {'input.1': blob})[0][0].reshape(85, -1).T
        corner = np.stack(np.indices((22, 22))[::-1], axis=-1).reshape(-1, 2)
        centre = (corner + np.tanh(cells[:, 1:3])) / 22 * size
        half = sigmoid(cells[:, 3:5]) * size / 2
        boxes = np.clip(np.concatenate([centre - half, centre + half], axis=1), 0, [*size, *size])
        scores = cells[:, 0] ** 0.6 * cells[:, 5:].max(axis=1) ** 0.4
        classes = cells[:, 5:].argmax(axis=1)
        some = np.flatnonzero(scores > 0.01)
        best = some[suppress(boxes[some], scores[some], classes[some], max_detections=100)]
        return Detections(boxes[best].astype(np.float32), scores[best], classes[best], names)

    dataset = YoloTxtDataset.open(shared_data / 'people_vehicles' / 'data.yaml', split)
    result = evaluate(detect, dataset)
    # The figures are given to three digits.
    assert (result.map50, result.map) == pytest.approx((ap50, ap), abs=6e-4)
