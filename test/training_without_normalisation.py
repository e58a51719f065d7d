# SPDX-License-Identifier: Apache-2.0
"""
Train a small network without batch normalisation; alone, or as one process of ``torchrun``.

Usage: training_without_normalisation.py DATA RUN_FOLDER
"""

import sys
from pathlib import Path

import torch
from coco_anchors import COCO_ANCHORS
from torch import nn

from snn_detector_ros.datasets.formats import open_dataset
from snn_detector_ros.training.blocks import ConvBnRelu
from snn_detector_ros.training.data_loader import PictureCache
from snn_detector_ros.training.loop import Trainer, TrainingOptions
from snn_detector_ros.training.models import create_model
from snn_detector_ros.training.processes import join_processes
from snn_detector_ros.training.schedule import Schedule


def train(data: Path, folder: Path) -> None:
    """Train for two epochs of three batches; every process starts from the same weights."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    model = create_model('tiny-yolo-relu', 2, COCO_ANCHORS[:2])
    for block in model.modules():
        if isinstance(block, ConvBnRelu):
            block[1] = nn.Identity()
            nn.init.kaiming_normal_(block[0].weight)
    pictures = PictureCache(open_dataset(data, split='train'), largest_side=64)
    schedule = Schedule(epochs=2, size=64, small_size=64, multi_scale=0.5)
    options = TrainingOptions(schedule, batch=4, workers=0, warm_up_steps=2)
    with join_processes() as processes:
        Trainer(model, pictures, pictures, folder, options, processes=processes).run()


if __name__ == '__main__':
    train(Path(sys.argv[1]), Path(sys.argv[2]))
