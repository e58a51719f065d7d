# SPDX-License-Identifier: Apache-2.0
"""
Export a detector as float ONNX, with what the converter must know in the metadata.

The graph is what the published YOLOv5 export writes: input ``images`` float32 [1, 3, H, W], red,
green, blue in 0..1, and output ``output0`` float32 [1, boxes, 5 + classes], decoded, before
non-maximum suppression. The exporter folds batch normalisation into the convolutions. A network
that was trained with levels is exported without them: making spikes is the converter's work.
"""

import copy
import json
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from snn_detector_ros.errors import ConfigurationError
from snn_detector_ros.training.checkpoint import replace_file
from snn_detector_ros.training.head import AnchorDetector, BoxDecoder, strides
from snn_detector_ros.training.spike_levels import remove_levels

OPSET = 17


def export_onnx(
        model: AnchorDetector, path: Path, *, names: Sequence[str], size: tuple[int, int],
        training: Mapping[str, Any]) -> None:
    """
    Write the float ONNX of a detector, replacing the file in one step.

    :param model: the detector; it is left as it is.
    :param path: file to write.
    :param names: class names.
    :param size: height and width of the input in px, multiples of 32.
    :param training: where the weights come from (data, licences, command, seed, epochs), as JSON.
    :raises ConfigurationError: if the size is not a multiple of the largest stride.
    """
    steps = strides(len(model.head.anchors))
    if any(side <= 0 or side % steps[-1] for side in size):
        raise ConfigurationError(
            f'input size {size[0]}x{size[1]} is not a multiple of {steps[-1]} px; '
            f'take the next one, e.g. {-(-size[0] // 32) * 32}x{-(-size[1] // 32) * 32}')
    metadata = {
        'names': json.dumps(list(names)),
        'anchors': json.dumps(model.head.anchors.tolist()),
        'strides': json.dumps(steps),
        'input': json.dumps({'colour': 'rgb', 'scale': 1 / 255}),
        'training': json.dumps(dict(training)),
    }
    plain = copy.deepcopy(model).cpu()
    remove_levels(plain)
    decoded = nn.Sequential(plain, BoxDecoder(plain.head.anchors, size)).eval()
    replace_file(path, lambda file: _write(decoded, file, size, metadata))


def _write(
        model: nn.Module, path: Path, size: tuple[int, int], metadata: Mapping[str, str]) -> None:
    import onnx

    example = torch.zeros(1, 3, *size)
    with warnings.catch_warnings():
        # torch announces the end of this exporter; its replacement writes other operators.
        warnings.simplefilter('ignore')
        torch.onnx.export(
            model, (example,), str(path), opset_version=OPSET, input_names=['images'],
            output_names=['output0'], dynamo=False)
    graph = onnx.load(str(path))
    onnx.helper.set_model_props(graph, dict(metadata))
    onnx.checker.check_model(graph)
    onnx.save(graph, str(path))
