# SPDX-License-Identifier: Apache-2.0
"""YOLOv5's anchors for COCO, px."""

from snn_detector_ros.training.anchors import Anchors, as_anchors

COCO_ANCHORS: Anchors = as_anchors((
    ((10, 13), (16, 30), (33, 23)),
    ((30, 61), (62, 45), (59, 119)),
    ((116, 90), (156, 198), (373, 326))))
