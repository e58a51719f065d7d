# SPDX-License-Identifier: Apache-2.0
"""
Recognise the YOLOv5 Detect head by what it computes.

Exporters write the decoding in many ways: with Split or Slice, with grids as constants or made from
shapes, with the half cell in the grid or apart. All compute the same function, so the
post-processing is cut out and run: zero logits show strides and anchors, and random logits show
whether it agrees with the definition.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from snn_detector_ros.conversion.float_network import FloatNetwork
from snn_detector_ros.conversion.onnx_graph import OnnxGraph
from snn_detector_ros.errors import ConversionError
from snn_detector_ros.network import HeadLevel, Shape, YoloV5Head

#: (width, height) in px of each anchor of each level, finest level first.
Anchors: TypeAlias = tuple[tuple[tuple[float, float], ...], ...]


def check_anchors(value: Any) -> Anchors:
    """
    Return nested sequences of numbers as anchors.

    :raises ConversionError: unless they are positive and of the shape [levels][anchors][2].
    """
    try:
        array = np.asarray(value, np.float64)
    except (TypeError, ValueError):
        array = np.empty(0)
    if array.ndim != 3 or array.shape[2] != 2 or not array.size or not (
            (array > 0) & np.isfinite(array)).all():
        raise ConversionError(f'anchors {value}: needs levels of (width, height) pairs in px, '
                              'e.g. [[[10, 13], [16, 30]], [[30, 61], [62, 45]]]')
    return tuple(tuple((float(w), float(h)) for w, h in level) for level in array)


def recognise(
    graph: OnnxGraph, network: FloatNetwork, readouts: Mapping[str, str],
) -> YoloV5Head | None:
    """
    Find out whether an output is what the YOLOv5 head computes.

    :param readouts: ONNX tensor in which each readout leaves the network.
    :returns: the head; None if no output is its decoding.
    """
    shapes = {name: network.shapes()[name] for name in readouts}
    sizes = {readouts[name]: (1, channels, height, width)
             for name, (height, width, channels) in shapes.items()}
    for output in graph.outputs:
        if output in sizes:
            continue
        model = graph.subgraph(sizes, (output,))
        try:
            session = onnxruntime.InferenceSession(
                model.SerializeToString(), providers=['CPUExecutionProvider'])
            head = _Probe(session, readouts, shapes).head()
        except Exception:  # the errors of onnxruntime have no common base
            continue
        if head is not None:
            return head
    return None


def anchor_levels(
    anchors: Anchors, shapes: Mapping[str, Shape], input_size: tuple[int, int],
) -> tuple[HeadLevel, ...]:
    """
    Pair anchors with readouts by size, the largest map first.

    :param shapes: (height, width, channels) of each readout.
    :raises ConversionError: if they do not fit.
    """
    if len(anchors) != len(shapes):
        raise ConversionError(f'{len(anchors)} levels of anchors for {len(shapes)} readouts: '
                              f'{", ".join(shapes)}')
    levels = []
    for boxes, name in zip(anchors, sorted(shapes, key=lambda n: -shapes[n][0]), strict=True):
        height, width, channels = shapes[name]
        stride = input_size[0] // height
        if (height * stride, width * stride) != input_size or channels // len(boxes) <= 5 or (
                channels % len(boxes)):
            raise ConversionError(
                f'readout `{name}` of {height}x{width}x{channels} at {input_size[0]}x'
                f'{input_size[1]} px does not fit {len(boxes)} anchors of a YOLO head')
        levels.append(HeadLevel(name, stride, boxes))
    return tuple(levels)


class _Probe:
    """The post-processing as a function of the logits of all readouts."""

    def __init__(
        self, session: onnxruntime.InferenceSession, readouts: Mapping[str, str],
        shapes: Mapping[str, Shape],
    ) -> None:
        self._session = session
        self._readouts = readouts
        self._shapes = shapes

    def head(self) -> YoloV5Head | None:
        zeros = {name: np.zeros((c, h, w), np.float32)
                 for name, (h, w, c) in self._shapes.items()}
        at_zero = self._run(zeros)
        if at_zero.ndim != 2 or at_zero.shape[1] < 6:
            return None
        levels, places = [], {}
        for name in self._shapes:
            rows = np.flatnonzero((self._run(zeros | {name: zeros[name] + 1}) != at_zero).any(1))
            level = self._read_level(name, at_zero, rows)
            if level is None:
                return None
            levels.append(level)
            places[name] = int(rows[0])
        levels.sort(key=lambda level: level.stride)
        head = YoloV5Head(tuple(levels))
        return head if self._agrees(head, places) else None

    def _run(self, logits: Mapping[str, NDArray[np.float32]]) -> NDArray[np.float32]:
        """Return the output [rows, columns] for logits [C, H, W] of each readout."""
        feeds = {self._readouts[name]: value[None] for name, value in logits.items()}
        result = np.asarray(self._session.run(None, feeds)[0])
        return result[0] if result.ndim == 3 and len(result) == 1 else np.empty((0, 0), np.float32)

    def _read_level(
        self, name: str, at_zero: NDArray[np.float32], rows: NDArray[np.intp],
    ) -> HeadLevel | None:
        """Read stride and anchors: with zero logits, (x, y, w, h) is (stride / 2, anchor)."""
        height, width, channels = self._shapes[name]
        columns = at_zero.shape[1]
        anchors = channels // columns
        count = anchors * height * width
        if not count or len(rows) != count or rows[-1] - rows[0] != count - 1:
            return None
        first_cells = at_zero[rows[0]:rows[-1] + 1:height * width]
        boxes = tuple((round(float(w), 4), round(float(h), 4)) for w, h in first_cells[:, 2:4])
        return HeadLevel(name, round(2 * float(first_cells[0, 0])), boxes)

    def _agrees(self, head: YoloV5Head, places: Mapping[str, int]) -> bool:
        """Compare with the definition on random logits."""
        random = np.random.default_rng(0)
        logits = {name: random.normal(0, 2, (c, h, w)).astype(np.float32)
                  for name, (h, w, c) in self._shapes.items()}
        output = self._run(logits)
        expected = {level.readout: decode_level(logits[level.readout], level)
                    for level in head.levels}
        return all(
            np.allclose(rows, output[places[name]:places[name] + len(rows)], rtol=1e-4, atol=1e-3)
            for name, rows in expected.items())


def decode_level(logits: NDArray[np.float32], level: HeadLevel) -> NDArray[np.float32]:
    """
    Decode one level by the definition of :class:`YoloV5Head`.

    :param logits: [anchors * columns, H, W].
    :returns: centre x, centre y, width, height in px, objectness, classes: [anchors * H * W,
        columns].
    """
    _, height, width = logits.shape
    maps = logits.reshape(len(level.anchors), -1, height, width).transpose(0, 2, 3, 1)
    rows = 1 / (1 + np.exp(-maps))
    cells = np.stack(np.meshgrid(np.arange(width), np.arange(height)), axis=-1)
    rows[..., :2] = (2 * rows[..., :2] - 0.5 + cells) * level.stride
    rows[..., 2:4] = (2 * rows[..., 2:4])**2 * np.array(level.anchors)[:, None, None]
    return rows.reshape(-1, maps.shape[-1])
