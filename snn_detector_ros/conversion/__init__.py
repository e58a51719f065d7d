# SPDX-License-Identifier: Apache-2.0
"""From a trained float ONNX detector to a spiking network."""

from snn_detector_ros.conversion.converter import SuhdOptions, convert
from snn_detector_ros.conversion.dequantise import dequantise
from snn_detector_ros.conversion.float_graph import to_onnx
from snn_detector_ros.conversion.float_network import FloatConvolution, FloatNetwork
from snn_detector_ros.conversion.onnx_reader import read_onnx
from snn_detector_ros.conversion.spiking_yolo import SpikingYoloOptions, convert_spiking_yolo

__all__ = [
    'FloatConvolution',
    'FloatNetwork',
    'SpikingYoloOptions',
    'SuhdOptions',
    'convert',
    'convert_spiking_yolo',
    'dequantise',
    'read_onnx',
    'to_onnx',
]
