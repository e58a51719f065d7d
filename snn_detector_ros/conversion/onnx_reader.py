# SPDX-License-Identifier: Apache-2.0
"""Read a float ONNX network: its layers, its head and the names of its classes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import onnx

from snn_detector_ros.conversion.detect_head import Anchors
from snn_detector_ros.conversion.detector_metadata import DetectorMetadata
from snn_detector_ros.conversion.float_network import FloatNetwork
from snn_detector_ros.conversion.head_finders import HEAD_KINDS, Readouts
from snn_detector_ros.conversion.onnx_graph import OnnxGraph
from snn_detector_ros.conversion.onnx_translation import Translation
from snn_detector_ros.conversion.picture_format import PictureFormat
from snn_detector_ros.conversion.picture_stem import picture_view
from snn_detector_ros.errors import ConfigurationError, ConversionError
from snn_detector_ros.network import FastestDetHead, Head, RawHead, SsdHead
from snn_detector_ros.network.validation import MAX_SIDE

#: No network needs more pictures at a time; their elements are all followed through the graph.
MAX_BATCH = 64


@dataclass(frozen=True, eq=False)
class OnnxNetwork:
    """
    A float network and how it lies in its file.

    :param network: its layers, head and class names.
    :param picture: the format in which the file takes pictures.
    :param tensors: the ONNX tensor that each readout is.
    :param has_channels_last: whether the file takes [N, H, W, C].
    :param batch: pictures in one run of the file.
    """

    network: FloatNetwork
    picture: PictureFormat
    tensors: Mapping[str, str]
    has_channels_last: bool
    batch: int


def read_onnx(
    path: str | Path,
    *,
    input_size: tuple[int, int] | None = None,
    anchors: Anchors | None = None,
    class_names: Sequence[str] | None = None,
    head: str = 'auto',
    picture: PictureFormat | None = None,
    scale_xy: float = 1.0,
) -> FloatNetwork:
    """
    Read a float network.

    :param path: ONNX file, opset 9 or newer, with one picture [N, 3, H, W] or [N, H, W, 3].
    :param input_size: (height, width) in px; needed where the file leaves it free.
    :param anchors: (width, height) in px of each anchor of each level, finest level first. Declares
        the readouts to be an anchor head, whatever post-processing follows them.
    :param class_names: names by index, instead of those in the file.
    :param head: a name in :data:`~snn_detector_ros.conversion.head_finders.HEAD_KINDS`.
    :param picture: how the network takes pictures; what the file or the kind of head says if None.
    :param scale_xy: of YOLOv4 heads, see :class:`~snn_detector_ros.network.head.YoloV3Head`.
    :raises ConversionError: if the file is broken or holds what cannot become spikes; the message
        names the node.
    """
    return read_onnx_file(
        path, input_size=input_size, anchors=anchors, class_names=class_names, head=head,
        picture=picture, scale_xy=scale_xy).network


def read_onnx_file(
    path: str | Path,
    *,
    input_size: tuple[int, int] | None = None,
    anchors: Anchors | None = None,
    class_names: Sequence[str] | None = None,
    head: str = 'auto',
    picture: PictureFormat | None = None,
    scale_xy: float = 1.0,
) -> OnnxNetwork:
    """Read a float network and how it lies in its file; see :func:`read_onnx`."""
    if head not in HEAD_KINDS:
        raise ConfigurationError(f'head {head!r} is unknown; known: {", ".join(HEAD_KINDS)}')
    kind = HEAD_KINDS[head]
    graph = OnnxGraph(path)
    metadata = DetectorMetadata.read(graph)
    picture = picture or metadata.picture or kind.picture
    shape, channel_axis = _picture_shape(graph, input_size)
    translation = Translation(graph, picture_view(shape, channel_axis, picture))
    network = translation.run()
    found = kind.find(Readouts(
        graph, network, translation.readouts, translation.readout_sizes, anchors,
        metadata.anchors, scale_xy))
    names = tuple(class_names or metadata.class_names or kind.class_names)
    network = replace(
        network,
        outputs=found.readouts,
        head=found,
        class_names=_class_names(network, found, names),
        provenance={'source': graph.path.name, 'source_sha256': graph.sha256,
                    'source_pictures': picture.to_json(), **metadata.provenance})
    return OnnxNetwork(network, picture, translation.readouts, channel_axis == 3, shape[0])


def with_readouts(path: str | Path, source: OnnxNetwork) -> bytes:
    """Return the file of a float network with its readouts among the outputs."""
    model = onnx.load(str(path))
    known = {value.name for value in model.graph.output}
    model.graph.output.extend(
        onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None)
        for name in source.tensors.values() if name not in known)
    return model.SerializeToString()


def _class_names(
    network: FloatNetwork, head: Head, names: tuple[str, ...],
) -> tuple[str, ...]:
    """Return as many names as the head has classes; numbers where there are none."""
    if isinstance(head, RawHead):
        return names
    shapes = network.shapes()
    match head:
        case FastestDetHead():
            count = shapes[head.classes][2]
        case SsdHead():
            level = head.levels[0]
            count = shapes[level.scores][2] // len(level.priors) - 1
        case _:
            count = shapes[head.levels[0].readout][2] // len(head.levels[0].anchors) - 5
    names = names or tuple(f'class {index}' for index in range(count))
    if len(names) != count:
        raise ConversionError(f'{network.name}: the head has {count} classes, but there are '
                              f'{len(names)} names; give all of them')
    return names


def _picture_shape(
    graph: OnnxGraph, wanted: tuple[int, int] | None,
) -> tuple[tuple[int, int, int, int], int]:
    """Return (batch, 3, height, width) to convert at, and the axis of the channels in the file."""
    shape = graph.picture_shape
    if len(shape) != 4 or shape[1] not in (3, None) and shape[3] != 3:
        raise ConversionError(
            f'input `{graph.picture}` has the shape {shape}; a picture [N, 3, H, W] or '
            '[N, H, W, 3] is needed')
    channel_axis = 3 if shape[3] == 3 and shape[1] != 3 else 1
    own = shape[1:3] if channel_axis == 3 else shape[2:4]
    height, width = wanted or own
    if height is None or width is None:
        raise ConversionError(f'input `{graph.picture}` has no fixed size; give the input size')
    if not 1 <= min(height, width) <= max(height, width) <= MAX_SIDE:
        raise ConversionError(f'input size {height}x{width}: sides must be 1..{MAX_SIDE} px')
    if own[0] not in (height, None) or own[1] not in (width, None):
        raise ConversionError(
            f'input `{graph.picture}` is {own[0]}x{own[1]} px (height x width), not '
            f'{height}x{width}; export the network with that size')
    batch = shape[0] or 1
    if batch > MAX_BATCH:
        raise ConversionError(f'input `{graph.picture}` takes {batch} pictures at a time; export '
                              f'the network with at most {MAX_BATCH}, or a free batch size')
    return (batch, 3, height, width), channel_axis
