# SPDX-License-Identifier: Apache-2.0
"""The float ONNX: same numbers as torch, the published operators, the promised metadata."""

import json
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip('torch', reason='torch is not installed (extra: train)')
onnx = pytest.importorskip('onnx', reason='onnx is not installed (extra: train)')
ort = pytest.importorskip('onnxruntime')

from coco_anchors import COCO_ANCHORS  # noqa: E402

from snn_detector_ros.errors import ConfigurationError  # noqa: E402
from snn_detector_ros.training.export import OPSET, export_onnx  # noqa: E402
from snn_detector_ros.training.head import AnchorDetector, BoxDecoder  # noqa: E402
from snn_detector_ros.training.models import create_model  # noqa: E402

torch.set_num_threads(1)

SIZE = (64, 96)
OPERATORS = {
    'Add', 'Concat', 'Constant', 'Conv', 'MaxPool', 'Mul', 'Pow', 'Relu', 'Reshape', 'Resize',
    'Sigmoid', 'Split', 'Transpose'}


@pytest.fixture(scope='module')
def detector() -> AnchorDetector:
    """A detector whose batch statistics and biases are not the initial ones."""
    torch.manual_seed(0)
    model = create_model('yolov5n-relu', 3, COCO_ANCHORS).train()
    with torch.no_grad():
        for _ in range(20):
            model(torch.rand(4, 3, *SIZE))
        for name, value in model.named_parameters():
            if name.endswith('bias'):
                value.add_(torch.randn_like(value), alpha=0.3)
    return model


@pytest.fixture(scope='module')
def exported(detector: AnchorDetector, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp('export') / 'model.onnx'
    export_onnx(detector, path, names=['a', 'b', 'c'], size=SIZE, training={'seed': 0})
    return path


def test_onnxruntime_computes_what_torch_computes(detector: AnchorDetector, exported: Path) -> None:
    images = np.random.default_rng(0).random((1, 3, *SIZE), np.float32)
    session = ort.InferenceSession(exported, providers=['CPUExecutionProvider'])
    output, = session.run(None, {'images': images})
    was_training = detector.training
    with torch.no_grad():
        maps = detector.eval()(torch.from_numpy(images))
        expected = BoxDecoder(detector.head.anchors, SIZE)(maps).numpy()
    detector.train(was_training)
    assert was_training, 'exporting must leave the model as it is'
    assert output.shape == (1, 3 * (8 * 12 + 4 * 6 + 2 * 3), 8)
    # fp32 sums in another order through 60 layers; boxes reach hundreds of px.
    np.testing.assert_allclose(output, expected, rtol=1e-3, atol=1e-3)


def test_only_published_operators_with_fixed_shapes(exported: Path) -> None:
    model = onnx.load(str(exported))
    assert {node.op_type for node in model.graph.node} <= OPERATORS
    assert model.opset_import[0].version == OPSET
    dims = [d.dim_value for d in model.graph.input[0].type.tensor_type.shape.dim]
    assert dims == [1, 3, *SIZE]


def test_metadata_describes_the_head(exported: Path) -> None:
    metadata = {p.key: json.loads(p.value) for p in onnx.load(str(exported)).metadata_props}
    assert metadata['names'] == ['a', 'b', 'c']
    assert metadata['strides'] == [8, 16, 32]
    np.testing.assert_allclose(metadata['anchors'], COCO_ANCHORS)
    assert metadata['input'] == {'colour': 'rgb', 'scale': 1 / 255}
    assert metadata['training'] == {'seed': 0}


def test_wrong_sizes_are_refused(detector: AnchorDetector, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match='100x64 is not a multiple of 32 px.*128x64'):
        export_onnx(detector, tmp_path / 'x.onnx', names='abc', size=(100, 64), training={})
    assert not list(tmp_path.iterdir())


def test_leaky_networks_keep_their_activation(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = create_model('tiny-yolo-leaky', 3, COCO_ANCHORS[1:]).eval()
    export_onnx(model, tmp_path / 'tiny.onnx', names=['a', 'b', 'c'], size=SIZE, training={})
    nodes = onnx.load(str(tmp_path / 'tiny.onnx')).graph.node
    # Constants that are equal, as those of untrained layers, are shared through Identity.
    operators = {node.op_type for node in nodes} - {'Identity'}
    assert operators <= (OPERATORS | {'LeakyRelu'}) - {'Relu'}
    slopes = [node.attribute[0].f for node in nodes if node.op_type == 'LeakyRelu']
    assert slopes == pytest.approx([0.1] * 11)
    images = np.random.default_rng(0).random((1, 3, *SIZE), np.float32)
    session = ort.InferenceSession(tmp_path / 'tiny.onnx', providers=['CPUExecutionProvider'])
    with torch.no_grad():
        expected = BoxDecoder(model.head.anchors, SIZE)(model(torch.from_numpy(images))).numpy()
    # fp32 sums in another order; boxes reach hundreds of px.
    np.testing.assert_allclose(
        session.run(None, {'images': images})[0], expected, rtol=1e-3, atol=1e-3)
