# SPDX-License-Identifier: Apache-2.0
"""The detector: published layout, raw maps, decoding, anchors."""

import numpy as np
import pytest

torch = pytest.importorskip('torch', reason='torch is not installed (extra: train)')

from coco_anchors import COCO_ANCHORS  # noqa: E402

from snn_detector_ros.training.anchors import kmeans_anchors  # noqa: E402
from snn_detector_ros.training.blocks import ConvBnRelu  # noqa: E402
from snn_detector_ros.training.head import (  # noqa: E402
    STRIDES,
    AnchorDetector,
    BoxDecoder,
    strides,
)
from snn_detector_ros.training.models import MODELS, create_model  # noqa: E402
from snn_detector_ros.training.tiny_yolo import TinyYolo  # noqa: E402


def model_of(name: str, classes: int) -> AnchorDetector:
    return create_model(name, classes, COCO_ANCHORS[-MODELS[name].levels:])


@pytest.mark.parametrize(('name', 'count'), [
    ('yolov5n-relu', 1_872_157), ('yolov5s-relu', 7_235_389)])
def test_layout_has_the_published_number_of_parameters(name: str, count: int) -> None:
    assert sum(p.numel() for p in model_of(name, 80).parameters()) == count


def test_tiny_yolo_of_full_width_has_the_published_number_of_parameters() -> None:
    model = TinyYolo(80, COCO_ANCHORS[1:], width=1.0, slope=0.1)
    assert sum(p.numel() for p in model.parameters()) == 8_852_366


@pytest.mark.parametrize('name', MODELS)
def test_raw_maps_have_one_row_a_cell_and_anchor(name: str) -> None:
    with torch.no_grad():
        maps = model_of(name, 5).eval()(torch.zeros(2, 3, 64, 96))
    assert [tuple(y.shape) for y in maps] == [
        (2, 3, 64 // s, 96 // s, 10) for s in strides(MODELS[name].levels)]


@pytest.mark.parametrize(('name', 'slope'), [('tiny-yolo-leaky', 0.1), ('tiny-yolo-relu', 0.0)])
def test_tiny_yolo_has_one_kind_of_activation(name: str, slope: float) -> None:
    model = model_of(name, 5)
    slopes = {getattr(block[2], 'negative_slope', 0.0) for block in model.modules()
              if isinstance(block, ConvBnRelu)}
    assert slopes == {slope}


def test_decode_follows_the_published_formula() -> None:
    random = np.random.default_rng(0)
    maps = [
        torch.from_numpy(random.normal(size=(1, 3, 64 // s, 96 // s, 7)).astype(np.float32))
        for s in STRIDES]
    decoded = BoxDecoder(torch.tensor(COCO_ANCHORS), (64, 96))(maps)[0]
    row = 0
    for level, (y, stride) in enumerate(zip(maps, STRIDES, strict=True)):
        for anchor, j, i in np.ndindex(*y.shape[1:4]):
            sigmoid = 1 / (1 + np.exp(-y[0, anchor, j, i].numpy().astype(np.float64)))
            width, height = COCO_ANCHORS[level][anchor]
            expected = np.concatenate((
                [(2 * sigmoid[0] - 0.5 + i) * stride, (2 * sigmoid[1] - 0.5 + j) * stride],
                [(2 * sigmoid[2]) ** 2 * width, (2 * sigmoid[3]) ** 2 * height], sigmoid[4:]))
            # fp32 against fp64: boxes up to 1500 px.
            np.testing.assert_allclose(decoded[row].numpy(), expected, rtol=1e-5, atol=1e-4)
            row += 1
    assert row == len(decoded)


def test_anchors_find_the_clusters() -> None:
    random = np.random.default_rng(0)
    # Well apart in area: k-means is only promised to find what its start can reach.
    centres = np.array([
        [6, 8], [10, 20], [24, 16], [25, 50], [60, 35], [60, 90], [140, 70], [130, 200],
        [280, 180]])
    sizes = (centres.repeat(50, 0) * random.uniform(0.97, 1.03, (450, 2))).astype(np.float32)
    found = np.array(kmeans_anchors(sizes, np.ones(450))).reshape(9, 2)
    # The means of 50 sizes spread by 3 %, rounded to whole px.
    np.testing.assert_allclose(found, centres, atol=1.5)


def test_anchors_need_enough_boxes() -> None:
    with pytest.raises(ValueError, match='4 boxes are too few for 9 anchors'):
        kmeans_anchors(np.ones((4, 2), np.float32), np.ones(4))
