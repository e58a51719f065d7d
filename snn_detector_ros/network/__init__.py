# SPDX-License-Identifier: Apache-2.0
"""The vocabulary of the package: spike codes, layers as plain data, and the model file."""

from snn_detector_ros.network.codes import SpikeCode
from snn_detector_ros.network.head import HeadLevel, YoloV5Head
from snn_detector_ros.network.layers import (
    IMAGE,
    Add,
    Concat,
    Convolution,
    Layer,
    MaxPool,
    Shape,
    Slice,
    Upsample,
    fires,
)
from snn_detector_ros.network.spiking_network import InitialMembrane, SpikingNetwork

__all__ = [
    'IMAGE',
    'Add',
    'Concat',
    'Convolution',
    'HeadLevel',
    'InitialMembrane',
    'Layer',
    'MaxPool',
    'Shape',
    'Slice',
    'SpikeCode',
    'SpikingNetwork',
    'Upsample',
    'YoloV5Head',
    'fires',
]
