# SPDX-License-Identifier: Apache-2.0
"""The loss: which cells answer for an object, and what a right and a wrong answer cost."""

import numpy as np
import pytest

torch = pytest.importorskip('torch', reason='torch is not installed (extra: train)')

from coco_anchors import COCO_ANCHORS  # noqa: E402

from snn_detector_ros.training.head import STRIDES  # noqa: E402
from snn_detector_ros.training.loss import DetectionLoss, assign, complete_iou  # noqa: E402
from snn_detector_ros.training.models import create_model  # noqa: E402

# The network is tiny here: a second thread costs more than it gives.
torch.set_num_threads(1)

SIZE, CLASSES = 128, 3
TARGETS = torch.tensor([
    [0, 1, 0.40, 0.60, 0.30, 0.20], [0, 2, 0.71, 0.22, 0.10, 0.30], [1, 0, 0.52, 0.49, 0.8, 0.7]])


def naive_assignment(targets, anchors, height, width):
    """Assignment by loops: cell of the centre and the nearer neighbour in each direction."""
    found = set()
    for image, kind, cx, cy, w, h in targets.double().tolist():
        x, y, w, h = cx * width, cy * height, w * width, h * height
        cells = {(int(x), int(y))}
        if x > 1 and x % 1 < 0.5:
            cells.add((int(x) - 1, int(y)))
        if x % 1 > 0.5 and x < width - 1:
            cells.add((int(x) + 1, int(y)))
        if y > 1 and y % 1 < 0.5:
            cells.add((int(x), int(y) - 1))
        if y % 1 > 0.5 and y < height - 1:
            cells.add((int(x), int(y) + 1))
        for k, (aw, ah) in enumerate(anchors.tolist()):
            if max(w / aw, aw / w, h / ah, ah / h) < 4:
                found |= {(int(image), k, row, column, int(kind)) for column, row in cells}
    return found


def test_assignment_equals_loops() -> None:
    random = np.random.default_rng(5)
    targets = torch.from_numpy(np.concatenate((
        random.integers(0, 4, (60, 1)), random.integers(0, CLASSES, (60, 1)),
        random.uniform(0.01, 0.99, (60, 2)), random.uniform(0.02, 0.9, (60, 2))), 1)).float()
    anchors = torch.tensor(COCO_ANCHORS[1]) / STRIDES[1]
    chosen = assign(targets, anchors, 10, 14)
    rows = torch.stack(
        (chosen.image, chosen.anchor, chosen.row, chosen.column, chosen.classes), 1)
    assert {tuple(row) for row in rows.tolist()} == naive_assignment(targets, anchors, 10, 14)


def test_complete_iou_of_known_pairs() -> None:
    a = torch.tensor([[5.0, 5, 4, 4], [5, 5, 4, 4], [0, 0, 2, 2]])
    b = torch.tensor([[5.0, 5, 4, 4], [7, 5, 4, 4], [10, 0, 2, 2]])
    # Equal; IoU 8/24 and centres 2 apart in a 6x4 hull; no overlap, 10 apart in a 12x2 hull.
    expected = [1.0, 8 / 24 - 4 / 52, -100 / 148]
    np.testing.assert_allclose(complete_iou(a, b).numpy(), expected, atol=1e-5)


def perfect_maps(anchors: torch.Tensor) -> list[torch.Tensor]:
    """Logits that decode to exactly the targets in every cell that answers for one."""
    maps = []
    for stride, pixels in zip(STRIDES, anchors, strict=True):
        cells = SIZE // stride
        y = torch.full((2, 3, cells, cells, 5 + CLASSES), -12.0)
        chosen = assign(TARGETS, pixels / stride, cells, cells)
        for k in range(len(chosen.image)):
            wh = (chosen.boxes[k, 2:] / (pixels / stride)[chosen.anchor[k]]).sqrt() / 2
            xy = (chosen.boxes[k, :2] + 0.5) / 2
            row = y[chosen.image[k], chosen.anchor[k], chosen.row[k], chosen.column[k]]
            row[:4] = torch.logit(torch.cat((xy, wh)))
            row[4] = 12.0
            row[5 + chosen.classes[k]] = 12.0
        maps.append(y)
    return maps


def test_perfect_answers_cost_nothing_and_wrong_ones_do() -> None:
    anchors = torch.tensor(COCO_ANCHORS)
    loss = DetectionLoss(anchors, CLASSES, SIZE)
    maps = perfect_maps(anchors)
    # What is left is softplus(-12) = 6e-6 in the logits and fp32 rounding in the IoU.
    assert all(float(part) < 1e-4 for part in loss(maps, TARGETS))
    wrong = [y.clone() for y in maps]
    for y in wrong:
        y[..., 5:] = -y[..., 5:]
        y[..., :2] += 1.0
        y[..., 4] = 0.0
    assert all(float(part) > 1e-3 for part in loss(wrong, TARGETS))


def test_a_batch_without_objects_only_costs_objectness() -> None:
    loss = DetectionLoss(torch.tensor(COCO_ANCHORS), CLASSES, SIZE)
    maps = [torch.zeros(1, 3, SIZE // s, SIZE // s, 5 + CLASSES) for s in STRIDES]
    parts = loss(maps, torch.zeros(0, 6))
    assert float(parts.box) == 0
    assert float(parts.classes) == 0
    assert float(parts.objectness) > 0


def test_a_few_steps_lower_the_loss() -> None:
    torch.manual_seed(0)
    model = create_model('yolov5n-relu', CLASSES, COCO_ANCHORS)
    loss = DetectionLoss(model.head.anchors, CLASSES, SIZE)
    optimizer = torch.optim.SGD(model.parameters(), 0.5, momentum=0.9)
    images = torch.rand(2, 3, SIZE, SIZE)
    values = []
    for _ in range(15):
        total = sum(loss(model(images), TARGETS))
        total.backward()
        optimizer.step()
        optimizer.zero_grad()
        values.append(total.item())
    assert values[-1] < 0.85 * values[0]
