# SPDX-License-Identifier: Apache-2.0
"""Read a float ONNX detector: its layers, its head and the names of its classes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from snn_detector_ros.conversion.detect_head import Anchors, find_head
from snn_detector_ros.conversion.detector_metadata import DetectorMetadata
from snn_detector_ros.conversion.float_network import FloatNetwork
from snn_detector_ros.conversion.onnx_graph import OnnxGraph
from snn_detector_ros.conversion.onnx_translation import Translation
from snn_detector_ros.errors import ConversionError
from snn_detector_ros.network import YoloV5Head
from snn_detector_ros.network.validation import MAX_SIDE


def read_onnx(
    path: str | Path,
    *,
    input_size: tuple[int, int] | None = None,
    anchors: Anchors | None = None,
    class_names: Sequence[str] | None = None,
) -> FloatNetwork:
    """
    Read a float detector.

    :param path: ONNX file, opset 9 or newer, with one picture [N, 3, H, W], RGB in 0..1.
    :param input_size: (height, width) in px; needed where the file leaves it free.
    :param anchors: (width, height) in px of each anchor of each level, finest level first. Declares
        the readouts to be a YOLOv5 head, whatever post-processing follows them.
    :param class_names: names by index, instead of those in the file.
    :raises ConversionError: if the file is broken or holds what cannot become spikes; the message
        names the node.
    """
    graph = OnnxGraph(path)
    metadata = DetectorMetadata.read(graph)
    translation = Translation(graph, _picture_size(graph, input_size))
    network = translation.run()
    head = find_head(
        graph, network, translation.readouts, translation.post_processing,
        declared=anchors, documented=metadata.anchors)
    return replace(
        network,
        outputs=tuple(level.readout for level in head.levels) if head else network.outputs,
        head=head,
        class_names=_class_names(network, head, tuple(class_names or metadata.class_names)),
        provenance={'source': graph.path.name, 'source_sha256': graph.sha256,
                    **metadata.provenance})


def _class_names(
    network: FloatNetwork, head: YoloV5Head | None, names: tuple[str, ...],
) -> tuple[str, ...]:
    """Return as many names as the head has classes; numbers where there are none."""
    if head is None:
        return names
    level = head.levels[0]
    count = network.shapes()[level.readout][2] // len(level.anchors) - 5
    names = names or tuple(f'class {index}' for index in range(count))
    if len(names) != count:
        raise ConversionError(f'{network.name}: the head has {count} classes, but there are '
                              f'{len(names)} names; give all of them')
    return names


def _picture_size(graph: OnnxGraph, wanted: tuple[int, int] | None) -> tuple[int, int]:
    """Return the (height, width) to convert at."""
    shape = graph.picture_shape
    if len(shape) != 4 or shape[1] not in (3, None):
        raise ConversionError(
            f'input `{graph.picture}` has the shape {shape}; a picture [N, 3, H, W] is needed')
    height, width = wanted or shape[2:]
    if height is None or width is None:
        raise ConversionError(f'input `{graph.picture}` has no fixed size; give the input size')
    if not 1 <= min(height, width) <= max(height, width) <= MAX_SIDE:
        raise ConversionError(f'input size {height}x{width}: sides must be 1..{MAX_SIDE} px')
    if shape[2] not in (height, None) or shape[3] not in (width, None):
        raise ConversionError(
            f'input `{graph.picture}` is {shape[2]}x{shape[3]} px (height x width), not '
            f'{height}x{width}; export the network with that size')
    return height, width
