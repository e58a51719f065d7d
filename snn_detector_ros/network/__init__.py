# SPDX-License-Identifier: Apache-2.0
"""The vocabulary of the package: spike codes, layers as plain data, and the model file."""

from snn_detector_ros.network.codes import SpikeCode
from snn_detector_ros.network.head import (
    FastestDetHead,
    Head,
    HeadLevel,
    PriorLevel,
    RawHead,
    SsdHead,
    YoloV3Head,
    YoloV5Head,
)
from snn_detector_ros.network.layered_network import LayeredNetwork
from snn_detector_ros.network.layers import (
    IMAGE,
    Add,
    Concat,
    Convolution,
    DepthToSpace,
    Layer,
    MaxPool,
    Permutation,
    Rectifier,
    Shape,
    Slice,
    Upsample,
    fires,
)
from snn_detector_ros.network.lif_layers import Lif, Mean, SiluMembrane, Synapses
from snn_detector_ros.network.lif_network import LifNetwork
from snn_detector_ros.network.spiking_network import Dynamics, InitialMembrane, SpikingNetwork

__all__ = [
    'IMAGE',
    'Add',
    'Concat',
    'Convolution',
    'DepthToSpace',
    'Dynamics',
    'FastestDetHead',
    'Head',
    'HeadLevel',
    'InitialMembrane',
    'Layer',
    'LayeredNetwork',
    'Lif',
    'LifNetwork',
    'MaxPool',
    'Mean',
    'Permutation',
    'PriorLevel',
    'RawHead',
    'Rectifier',
    'Shape',
    'SiluMembrane',
    'Slice',
    'SpikeCode',
    'SpikingNetwork',
    'SsdHead',
    'Synapses',
    'Upsample',
    'YoloV3Head',
    'YoloV5Head',
    'fires',
]
