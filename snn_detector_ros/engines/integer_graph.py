# SPDX-License-Identifier: Apache-2.0
"""
Emits a spiking network as the graph that ONNX Runtime runs fastest: channels last, all integers.

One ``QLinearConv`` does what T steps of accumulating and firing do. Its float32 requantisation
``rint(V * (1 / theta))`` equals the integer neuron exactly, because thresholds are odd:
``V / theta`` is then never half-way between two levels, and float32 errs by less than the distance
to that tie while ``level * theta < 2^22``. A stem of stride 2 reads the picture as 2x2 blocks,
which turns its few, slow channels into four times as many.

``QLinearConv`` saturates at 255, not at Q. Between convolutions a level above Q therefore stands
for Q, which adds, pools and copies keep true: ``min(min(a, Q) + min(b, Q), Q) = min(a + b, Q)``.
Only in front of a convolution is it cut off, once for all that read the tensor.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import numpy as np
from onnx import ModelProto, TensorProto, helper

from snn_detector_ros.network import (
    IMAGE,
    Add,
    Concat,
    Convolution,
    MaxPool,
    Shape,
    Slice,
    SpikingNetwork,
    Upsample,
)
from snn_detector_ros.network.graph_writer import GraphWriter
from snn_detector_ros.network.qdq_writer import OPSET, rounding_bias

CONTRIB = 'com.microsoft'
#: Channels come last in this graph.
CHANNEL_AXIS = 3


def emit(
    network: SpikingNetwork, input_size: tuple[int, int], exposed: Iterable[str],
) -> ModelProto:
    """
    Return the integer graph of a network.

    Its input is the picture, uint8 [1, H, W, C], or [1, H / 2, W / 2, 4 C] where
    :func:`reads_blocks` holds. Its outputs are the readouts, int32 [1, h, w, Cout] without bias,
    and the levels of the ``exposed`` layers, uint8 [1, h, w, C]; a value above Q stands for Q.
    """
    shapes = network.shapes(input_size)
    emitter = _Emitter(network, shapes, blocks=reads_blocks(network, input_size))
    for layer in network.layers:
        emitter.add(layer)
    height, width, channels = shapes[IMAGE]
    picture = ((height // 2, width // 2, 4 * channels) if emitter.blocks
               else (height, width, channels))
    outputs = [(name, TensorProto.INT32) for name in network.outputs]
    outputs += [(name, TensorProto.UINT8) for name in exposed]
    graph = helper.make_graph(
        emitter.nodes, network.name or 'network',
        [helper.make_tensor_value_info(IMAGE, TensorProto.UINT8, [1, *picture])],
        [helper.make_tensor_value_info(name, dtype, [1, *shapes[name]])
         for name, dtype in outputs],
        emitter.initializers)
    return helper.make_model(graph, ir_version=8, opset_imports=[
        helper.make_opsetid('', OPSET), helper.make_opsetid(CONTRIB, 1)])


def reads_blocks(network: SpikingNetwork, input_size: tuple[int, int]) -> bool:
    """Return whether the picture must be given as 2x2 blocks (space to depth)."""
    stems = [conv for conv in network.convolutions if conv.source == IMAGE]
    return (not any(side % 2 for side in input_size)
            and all(stem.stride == (2, 2) and stem.groups == 1 and not stem.is_readout
                    for stem in stems))


def block_stem(stem: Convolution, shapes: dict[str, Shape]) -> Convolution:
    """
    Rewrite a stem of stride 2 for a picture of 2x2 blocks; the sums stay the same.

    With ``p`` cells of padding, tap ``k`` reads row ``2i + k - p``. Shifting the taps by
    ``e = p mod 2`` makes the padding whole blocks: row ``2 (i - (p + e) / 2) + (k + e)``.
    """
    count, channels, *kernel = stem.weight.shape
    starts, blocks, ends = [], [], []
    for axis in (0, 1):
        before = (stem.padding[axis] + 1) // 2
        taps = (kernel[axis] + stem.padding[axis] % 2 + 1) // 2
        out, cells = shapes[stem.name][axis], shapes[IMAGE][axis] // 2
        starts.append(before)
        blocks.append(taps)
        ends.append(out - 1 + taps - before - cells)  # what the last window needs past the end
    weight = np.zeros((count, channels, 2 * blocks[0], 2 * blocks[1]), dtype=np.int8)
    row, column = stem.padding[0] % 2, stem.padding[1] % 2
    weight[:, :, row:row + kernel[0], column:column + kernel[1]] = stem.weight
    weight = weight.reshape(count, channels, blocks[0], 2, blocks[1], 2)
    weight = weight.transpose(0, 3, 5, 1, 2, 4).reshape(count, 4 * channels, *blocks)
    return replace(stem, weight=np.ascontiguousarray(weight), stride=(1, 1),
                   padding=(starts[0], starts[1], ends[0], ends[1]))


class _Emitter(GraphWriter):
    """Writes layer by layer."""

    def __init__(self, network: SpikingNetwork, shapes: dict[str, Shape], *, blocks: bool) -> None:
        super().__init__(CHANNEL_AXIS)
        self.network = network
        self.shapes = shapes
        self.blocks = blocks
        self._clips: dict[str, str] = {}  # tensor -> the same, cut off at Q
        self._one = self._constant('/one', np.float32(1))
        self._zero = self._constant('/zero_level', np.uint8(0))
        self._top = self._constant('/max_level', np.uint8(network.code.max_level))

    def add(self, layer: object) -> None:
        match layer:
            case Convolution(threshold=None):
                self._readout(layer)
            case Convolution():
                self._convolution(layer)
            case Add():
                unit = [self._one, self._zero]
                self._node('QLinearAdd', [
                    layer.sources[0], *unit, layer.sources[1], *unit, *unit], layer.name,
                    domain=CONTRIB)
            case MaxPool():
                self._node('NhwcMaxPool', [layer.source], layer.name, domain=CONTRIB,
                           kernel_shape=layer.kernel, strides=layer.stride, pads=layer.padding)
            case Concat():
                self._node('Concat', list(layer.sources), layer.name, axis=CHANNEL_AXIS)
            case Upsample():
                self._upsample(layer)
            case Slice():
                self._slice(layer, layer.source)

    def _convolution(self, conv: Convolution) -> None:
        threshold = conv.threshold
        assert threshold is not None
        bias = rounding_bias(self.network, conv)
        if conv.source == IMAGE and self.blocks:
            conv = block_stem(conv, self.shapes)
        scale = (1 / threshold.astype(np.float64)).astype(np.float32)
        constants = [
            self._constant(f'{conv.name}/{key}', value)
            for key, value in (('weight', conv.weight), ('scale', scale),
                               ('zero', np.zeros(len(scale), dtype=np.int8)), ('bias', bias))]
        self._node(
            'QLinearConv',
            [self._clipped(conv.source), self._one, self._zero, *constants[:3], self._one,
             self._zero, constants[3]],
            conv.name, domain=CONTRIB, channels_last=1, kernel_shape=conv.weight.shape[2:],
            strides=conv.stride, pads=conv.padding, group=conv.groups)

    def _readout(self, conv: Convolution) -> None:
        source = self._clipped(conv.source)
        if conv.weight.shape[2:] == (1, 1) and conv.stride == (1, 1) and conv.groups == 1 and (
                not any(conv.padding)):
            matrix = np.ascontiguousarray(conv.weight[:, :, 0, 0].T)
            self._node('MatMulInteger', [
                source, self._constant(f'{conv.name}/weight', matrix)], conv.name)
            return
        planar = self._node('Transpose', [source], f'{conv.name}/planar', perm=[0, 3, 1, 2])
        # As uint8 around 128, because older runtimes have no ConvInteger for int8 weights.
        weight = (conv.weight.astype(np.int16) + 128).astype(np.uint8)
        sums = self._node('ConvInteger', [
            planar, self._constant(f'{conv.name}/weight', weight), self._zero,
            self._constant(f'{conv.name}/middle', np.uint8(128))],
            f'{conv.name}/sums', kernel_shape=conv.weight.shape[2:], strides=conv.stride,
            pads=conv.padding, group=conv.groups)
        self._node('Transpose', [sums], conv.name, perm=[0, 2, 3, 1])

    def _upsample(self, layer: Upsample) -> None:
        """Copy columns as channels, then rows; faster here than the Resize operator."""
        height, width, channels = self.shapes[layer.source]
        copies = layer.factor
        columns = self._node('Concat', [layer.source] * copies, f'{layer.name}/columns',
                             axis=CHANNEL_AXIS)
        rows = self._node('Reshape', [columns, self._constant(
            f'{layer.name}/row_shape',
            np.array([1, height, copies * width * channels], dtype=np.int64))],
            f'{layer.name}/rows')
        doubled = self._node('Concat', [rows] * copies, f'{layer.name}/copied_rows', axis=2)
        self._node('Reshape', [doubled, self._constant(
            f'{layer.name}/shape',
            np.array([1, *self.shapes[layer.name]], dtype=np.int64))], layer.name)

    def _clipped(self, source: str) -> str:
        """Return a tensor of levels that are at most Q; the picture stays as it is."""
        if source == IMAGE or self.network.code.max_level == 255:
            return source
        if source not in self._clips:
            self._clips[source] = self._node(
                'Clip', [source, self._zero, self._top], f'{source}/clipped')
        return self._clips[source]
