# SPDX-License-Identifier: Apache-2.0
"""Non-maximum suppression: of boxes that show the same object, keep the best."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray


def suppress(
    boxes: NDArray[np.float32],
    scores: NDArray[np.float32],
    classes: NDArray[np.int64],
    *,
    iou_threshold: float = 0.45,
    max_detections: int = 100,
) -> NDArray[np.intp]:
    """
    Return the boxes that no better box of their class overlaps by more than a limit.

    Only the ``3 * max_detections`` best boxes take part, because the time grows with the square of
    their number.

    :param boxes: float32 [N, 4]; left, top, right, bottom in pixels of any one picture.
    :param scores: float32 [N], above 0.
    :param classes: int64 [N].
    :param iou_threshold: largest intersection over union that two kept boxes may have.
    :param max_detections: most boxes to keep.
    :returns: indices of the kept boxes, best first; equal scores in their given order.
    """
    order = np.argsort(-scores, kind='stable')[:3 * max_detections]
    if not len(order):
        return order
    rectangles = boxes[order].astype(np.float64)
    rectangles[:, 2:] -= rectangles[:, :2]
    # Far enough apart, boxes of different classes cannot touch. NMSBoxesBatched does the same, but
    # OpenCV has it only since 4.7, and Ubuntu 24.04 ships 4.6.
    left = rectangles[:, 0]
    left += classes[order] * (np.ptp(left) + rectangles[:, 2].max() + 1)
    kept = cv2.dnn.NMSBoxes(
        rectangles.tolist(), scores[order].tolist(), 0.0, iou_threshold)
    return order[np.asarray(kept, dtype=np.intp).reshape(-1)[:max_detections]]
