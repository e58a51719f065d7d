# SPDX-License-Identifier: Apache-2.0
"""Write a float network to a file that is read back as the same detector."""

from __future__ import annotations

import json
from pathlib import Path

import onnx

from snn_detector_ros.conversion.float_graph import to_onnx
from snn_detector_ros.conversion.float_network import FloatNetwork
from snn_detector_ros.errors import ConversionError
from snn_detector_ros.network import YoloV5Head


def save_float(network: FloatNetwork, path: Path) -> None:
    """
    Write a YOLOv5 detector as ONNX: raw outputs, names and anchors in the metadata.

    :raises ConversionError: if the network has another head.
    """
    if not isinstance(network.head, YoloV5Head):
        raise ConversionError(f'{network.name} has no YOLOv5 head, whose anchors a float file '
                              'could carry; give the float network itself')
    model = to_onnx(network, outputs=[level.readout for level in network.head.levels])
    onnx.helper.set_model_props(model, {
        'names': json.dumps(network.class_names),
        'anchors': json.dumps([level.anchors for level in network.head.levels])})
    onnx.save(model, str(path))
