# SPDX-License-Identifier: Apache-2.0
"""
Which readouts of a float network are what in a detection head: one function a kind of head.

A kind also knows how its published networks take pictures and what their classes are called, so
that neither must be said again. See docs/conversion.md for how to add one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import onnx
import onnxruntime

from snn_detector_ros.conversion.coco_names import COCO_NAMES
from snn_detector_ros.conversion.detect_head import Anchors, anchor_levels, recognise
from snn_detector_ros.conversion.float_network import FloatNetwork
from snn_detector_ros.conversion.onnx_graph import OnnxGraph
from snn_detector_ros.conversion.picture_format import PictureFormat
from snn_detector_ros.errors import ConversionError
from snn_detector_ros.network import Shape
from snn_detector_ros.network.head import (
    FastestDetHead,
    Head,
    PriorLevel,
    RawHead,
    SsdHead,
    YoloV3Head,
    YoloV5Head,
)

#: Sides of the square prior boxes of UltraFace in px, finest map first.
_ULTRAFACE_SIDES = ((10, 16, 24), (32, 48), (64, 96), (128, 192, 256))


@dataclass(frozen=True, eq=False)
class Readouts:
    """
    The end of a network, as a head finder sees it.

    :param graph: the float network's file, folded.
    :param network: its layers.
    :param tensors: ONNX tensor in which each readout leaves the layers.
    :param sizes: shape of each of these tensors.
    :param declared: anchors that the user gives; they count whatever the graph does.
    :param documented: anchors in the metadata; they count if the graph does not decode.
    :param scale_xy: see :class:`~snn_detector_ros.network.head.YoloV3Head`.
    """

    graph: OnnxGraph
    network: FloatNetwork
    tensors: Mapping[str, str]
    sizes: Mapping[str, tuple[int, ...]]
    declared: Anchors | None = None
    documented: Anchors | None = None
    scale_xy: float = 1.0

    @property
    def shapes(self) -> dict[str, Shape]:
        """(height, width, channels) of each readout."""
        shapes = self.network.shapes()
        return {name: shapes[name] for name in self.tensors}

    def anchors(self, kind: str) -> Anchors:
        """
        Return the anchors that the user or the file gives.

        :raises ConversionError: if neither does.
        """
        anchors = self.declared or self.documented
        if anchors is None:
            raise ConversionError(f'a head {kind} needs the anchors: give --anchors, finest level '
                                  'first')
        return anchors


@dataclass(frozen=True)
class HeadKind:
    """
    A kind of head that can be asked for by name.

    :param find: returns the head.
    :param picture: how its published networks take pictures.
    :param class_names: what their classes are called.
    """

    find: Callable[[Readouts], Head]
    picture: PictureFormat = PictureFormat()
    class_names: tuple[str, ...] = ()


def _auto(readouts: Readouts) -> Head:
    """Recognise YOLOv5 by its decoding or its anchors; anything else stays as it is."""
    head = None if readouts.declared else recognise(
        readouts.graph, readouts.network, readouts.tensors)
    if head is not None:
        return head
    return _yolov5(readouts) if readouts.declared or readouts.documented else _raw(readouts)


def _yolov5(readouts: Readouts) -> YoloV5Head:
    head = None if readouts.declared else recognise(
        readouts.graph, readouts.network, readouts.tensors)
    return head or YoloV5Head(anchor_levels(
        readouts.anchors('yolov5'), readouts.shapes, readouts.network.input_size))


def _yolov3(readouts: Readouts) -> YoloV3Head:
    return YoloV3Head(anchor_levels(
        readouts.anchors('yolov3'), readouts.shapes, readouts.network.input_size),
        readouts.scale_xy)


def _yolov2(readouts: Readouts) -> YoloV3Head:
    return YoloV3Head(anchor_levels(
        readouts.anchors('yolov2'), readouts.shapes, readouts.network.input_size), softmax=True)


def _fastestdet(readouts: Readouts) -> FastestDetHead:
    by_channels = {shape[2]: name for name, shape in readouts.shapes.items()}
    sizes = {shape[:2] for shape in readouts.shapes.values()}
    if len(readouts.shapes) != 3 or len(sizes) != 1 or not {1, 4} <= set(by_channels):
        raise _misfit('fastestdet', '1, 4 and one channel a class on one map', readouts)
    objectness, box = by_channels.pop(1), by_channels.pop(4)
    classes, = by_channels.values()
    return FastestDetHead(
        objectness, box, classes, readouts.network.input_size[0] // next(iter(sizes))[0])


def _ultraface(readouts: Readouts) -> SsdHead:
    maps: dict[tuple[int, int], dict[int, str]] = {}
    for name, (height, width, channels) in readouts.shapes.items():
        maps.setdefault((height, width), {})[channels] = name
    levels = []
    for (size, names), sides in zip(
            sorted(maps.items(), reverse=True), _ULTRAFACE_SIDES, strict=False):
        if set(names) != {2 * len(sides), 4 * len(sides)}:
            break
        levels.append(PriorLevel(
            names[2 * len(sides)], names[4 * len(sides)],
            round(readouts.network.input_size[0] / size[0]),
            tuple((float(side), float(side)) for side in sides)))
    if len(levels) != len(_ULTRAFACE_SIDES) or len(maps) != len(levels):
        raise _misfit('ultraface', '6 + 12, 4 + 8, 4 + 8 and 6 + 12 channels on four maps',
                      readouts)
    return SsdHead(tuple(levels))


def _raw(readouts: Readouts) -> RawHead:
    """Cut out what follows the readouts."""
    graph = readouts.graph
    tail = graph.subgraph(readouts.sizes, graph.outputs)
    inputs = dict(readouts.tensors)
    for value in tail.graph.input:
        if value.name in graph.outputs:
            # An output of the network itself: a tensor cannot be both input and output.
            copy = onnx.helper.make_node('Identity', [f'{value.name}/readout'], [value.name])
            tail.graph.node.insert(0, copy)
            inputs = {name: copy.input[0] if tensor == value.name else tensor
                      for name, tensor in inputs.items()}
            value.name = copy.input[0]
    try:
        onnxruntime.InferenceSession(
            tail.SerializeToString(), providers=['CPUExecutionProvider'])
    except Exception as error:  # ONNX Runtime has no public base class of its errors
        raise ConversionError(
            f'{graph.path}: its outputs need more than the last convolutions: {error}') from error
    return RawHead(tail.SerializeToString(), inputs, graph.picture_shape[0] or 1)


def _misfit(kind: str, needs: str, readouts: Readouts) -> ConversionError:
    found = ', '.join(f'`{name}` {height}x{width}x{channels}'
                      for name, (height, width, channels) in readouts.shapes.items())
    return ConversionError(f'a head {kind} needs {needs}, but the network ends in {found}; '
                           'choose another --head, or raw')


HEAD_KINDS: dict[str, HeadKind] = {
    'auto': HeadKind(_auto),
    'raw': HeadKind(_raw),
    'yolov5': HeadKind(_yolov5),
    'yolov3': HeadKind(_yolov3),
    'yolov2': HeadKind(_yolov2),
    'fastestdet': HeadKind(_fastestdet, PictureFormat('bgr'), COCO_NAMES),
    'ultraface': HeadKind(
        _ultraface, PictureFormat('rgb', 1.0, (127.0,) * 3, (128.0,) * 3), ('face',)),
}
