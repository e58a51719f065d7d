# SPDX-License-Identifier: Apache-2.0
"""
The YOLOv5 loss: CIoU for boxes, binary cross-entropy for objectness (target: the IoU) and classes.

Each object is taught to every anchor whose sides are within a factor 4 of its own, in its cell and
in the two nearest neighbour cells.
"""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits, one_hot

from snn_detector_ros.training.head import strides

ANCHOR_RATIO = 4.0
LEVEL_BALANCE = (4.0, 1.0, 0.4)
BOX_GAIN = 0.05
OBJECTNESS_GAIN = 1.0
CLASS_GAIN = 0.5

# The cell itself, then the neighbour on the left, above, on the right, below.
_SHIFTS = ((0.0, 0.0), (0.5, 0.0), (0.0, 0.5), (-0.5, 0.0), (0.0, -0.5))


class LossParts(NamedTuple):
    """Gained loss, mean over the batch: scalars."""

    box: Tensor
    objectness: Tensor
    classes: Tensor


class Assignment(NamedTuple):
    """Cells of one level that must predict an object; K rows each."""

    image: Tensor
    anchor: Tensor
    row: Tensor
    column: Tensor
    boxes: Tensor
    classes: Tensor


class DetectionLoss:
    """Callable that compares raw maps with target boxes."""

    def __init__(
            self, anchors: Tensor, class_count: int, size: int, *,
            mean: Callable[[Tensor], Tensor] = lambda value: value) -> None:
        """
        Scale the gains to the number of classes and the picture size, as YOLOv5 does.

        :param anchors: float [levels, anchors, 2], px.
        :param class_count: number of classes.
        :param size: edge of the training picture in px.
        :param mean: of a tensor over the processes that share a batch; the number of objects in
            it, by which the loss is divided, is that of the whole batch.
        """
        level_strides = anchors.new_tensor(strides(len(anchors)))
        self.mean = mean
        self.anchors = anchors / level_strides.view(-1, 1, 1)
        self.balance = LEVEL_BALANCE[:len(anchors)]
        self.class_gain = CLASS_GAIN * class_count / 80
        self.objectness_gain = OBJECTNESS_GAIN * (size / 640) ** 2

    def __call__(self, maps: Sequence[Tensor], targets: Tensor) -> LossParts:
        """
        Compute the loss.

        :param maps: one [N, anchors, h, w, 5 + classes] a level, logits.
        :param targets: float [M, 6]: image in the batch, class, cx, cy, w, h relative to the
            picture.
        """
        zero = maps[0].new_zeros(())
        box, objectness, classes = zero, zero, zero
        assigned = [
            assign(targets, anchors, y.shape[2], y.shape[3])
            for y, anchors in zip(maps, self.anchors, strict=True)]
        counts = self.mean(zero.new_tensor([len(chosen.image) for chosen in assigned]))
        for y, anchors, balance, chosen, count in zip(
                maps, self.anchors, self.balance, assigned, counts, strict=True):
            goal = torch.zeros_like(y[..., 4])
            if len(chosen.image):
                cells = (chosen.image, chosen.anchor, chosen.row, chosen.column)
                predicted = y[cells]
                xy = predicted[:, :2].sigmoid() * 2 - 0.5
                wh = (predicted[:, 2:4].sigmoid() * 2) ** 2 * anchors[chosen.anchor]
                iou = complete_iou(torch.cat((xy, wh), 1), chosen.boxes)
                box = box + (1 - iou).sum() / count
                goal[cells] = iou.detach().clamp(0)
                if y.shape[4] > 6:
                    wanted = one_hot(chosen.classes, y.shape[4] - 5).to(y.dtype)
                    classes = classes + binary_cross_entropy_with_logits(
                        predicted[:, 5:], wanted, reduction='sum') / (count * wanted.shape[1])
            objectness = objectness + balance * binary_cross_entropy_with_logits(
                y[..., 4], goal)
        return LossParts(
            box * BOX_GAIN, objectness * self.objectness_gain, classes * self.class_gain)


def assign(targets: Tensor, anchors: Tensor, height: int, width: int) -> Assignment:
    """
    Choose the cells and anchors of one level that answer for each target.

    :param targets: float [M, 6]: image, class, cx, cy, w, h relative to the picture.
    :param anchors: float [anchors, 2] in cells of this level.
    :param height: rows of the level.
    :param width: columns of the level.
    :returns: the assignment; ``boxes`` are relative to their cell, in cells.
    """
    size = targets.new_tensor((width, height))
    ratio = targets[None, :, 4:6] * size / anchors[:, None]
    fits = torch.maximum(ratio, 1 / ratio).amax(2) < ANCHOR_RATIO
    anchor, index = fits.nonzero(as_tuple=True)
    xy = targets[index, 2:4] * size
    far = size - xy
    near_low = (xy % 1 < 0.5) & (xy > 1)
    near_high = (far % 1 < 0.5) & (far > 1)
    use = torch.cat((torch.ones_like(near_low[:, :1]), near_low, near_high), 1).T
    shift, pair = use.nonzero(as_tuple=True)
    cell = (xy[pair] - xy.new_tensor(_SHIFTS)[shift]).long()
    column = cell[:, 0].clamp(0, width - 1)
    row = cell[:, 1].clamp(0, height - 1)
    index = index[pair]
    offset = xy[pair] - torch.stack((column, row), 1)
    return Assignment(
        targets[index, 0].long(), anchor[pair], row, column,
        torch.cat((offset, targets[index, 4:6] * size), 1), targets[index, 1].long())


def complete_iou(a: Tensor, b: Tensor) -> Tensor:
    """
    Compute the complete IoU (Zheng et al. 2020, eqs 7, 10, 11) of box pairs.

    :param a: float [K, 4]: cx, cy, w, h.
    :param b: float [K, 4] in the same unit.
    :returns: float [K], 1 for equal boxes, below 0 for distant ones.
    """
    tiny = 1e-7
    low_a, high_a = a[:, :2] - a[:, 2:] / 2, a[:, :2] + a[:, 2:] / 2
    low_b, high_b = b[:, :2] - b[:, 2:] / 2, b[:, :2] + b[:, 2:] / 2
    overlap = (torch.minimum(high_a, high_b) - torch.maximum(low_a, low_b)).clamp(0).prod(1)
    union = a[:, 2:].prod(1) + b[:, 2:].prod(1) - overlap + tiny
    iou = overlap / union
    hull = torch.maximum(high_a, high_b) - torch.minimum(low_a, low_b)
    diagonal = hull.square().sum(1) + tiny
    distance = (a[:, :2] - b[:, :2]).square().sum(1)
    angle_a = torch.atan(a[:, 2] / (a[:, 3] + tiny))
    angle_b = torch.atan(b[:, 2] / (b[:, 3] + tiny))
    shape = (4 / math.pi ** 2) * (angle_b - angle_a).square()
    with torch.no_grad():
        weight = shape / (shape - iou + (1 + tiny))
    return iou - distance / diagonal - weight * shape
