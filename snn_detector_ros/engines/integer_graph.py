# SPDX-License-Identifier: Apache-2.0
"""
Emits a spiking network as the graph that ONNX Runtime runs fastest: channels last, all integers.

One ``QLinearConv`` does what T steps of accumulating and firing do. Its float32 requantisation
``rint(V * (1 / theta))`` equals the integer neuron exactly, because thresholds are odd:
``V / theta`` is then never half-way between two levels, and float32 errs by less than the distance
to that tie while ``level * theta < 2^22``. Convolutions of the picture are rewritten for more
channels (:mod:`~snn_detector_ros.engines.stems`).

``QLinearConv`` saturates at 255, not at Q, and knows no activation. Both wait: between layers a
byte above Q stands for Q, and a byte below the zero point for what the neuron makes of it
(:mod:`~snn_detector_ros.engines.level_bytes`). Pools and copies keep that true, unsigned adds as
well, since ``min(min(a, Q) + min(b, Q), Q) = min(a + b, Q)``. Only in front of a convolution or a
signed add are levels made exact, once for all that read the tensor.

Some CPUs without VNNI multiply bytes with int8 in pairs, whose sum saturates at 16 bits. Where a
layer could come to that, its weights are bytes around 128 there: such products are summed exactly,
though more slowly.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto, TensorProto, helper

from snn_detector_ros.engines.channel_moves import as_dense, fold_moves, selection
from snn_detector_ros.engines.level_bytes import LevelBytes
from snn_detector_ros.engines.stems import block_stem, column_stem, reads_blocks
from snn_detector_ros.network import (
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
    SpikingNetwork,
    Upsample,
)
from snn_detector_ros.network.graph_writer import GraphWriter
from snn_detector_ros.network.level_range import LevelRange
from snn_detector_ros.network.qdq_writer import OPSET, rounding_bias
from snn_detector_ros.network.signed_neuron import rounding_slope
from snn_detector_ros.network.validation import largest_input

CONTRIB = 'com.microsoft'
#: Channels come last in this graph.
CHANNEL_AXIS = 3


#: Largest sum of two products that saturating pairs hold.
MAX_PAIR = (1 << 15) - 1


def exceeds_pairs(network: SpikingNetwork, conv: Convolution) -> bool:
    """Whether two products of a convolution may add up to more than saturating pairs hold."""
    largest = int(np.abs(conv.weight.astype(np.int16)).max())
    return 2 * largest_input(network, conv) * largest > MAX_PAIR


def around_middle(weight: NDArray[np.int8]) -> NDArray[np.uint8]:
    """Return the same weights as bytes around a zero point of 128."""
    return (weight.astype(np.int16) + 128).astype(np.uint8)


def zero_of(weight: NDArray[np.int8] | NDArray[np.uint8]) -> np.int8 | np.uint8:
    """Return the zero point of weights: 0 of int8, 128 of bytes."""
    return np.uint8(128) if weight.dtype == np.uint8 else np.int8(0)


@dataclass(frozen=True)
class IntegerGraph:
    """
    A graph, and what its outputs mean.

    Its input is the picture, uint8 [1, H, W, C], or [1, H / 2, W / 2, 4 C] where
    :func:`reads_blocks` holds. Its outputs are the readouts, int32 [1, h, w, Cout] without bias,
    and the tensors of :attr:`levels`, uint8 [1, h, w, C].

    :param levels: where to find the levels of the exposed layers; layers may share a tensor.
    """

    model: ModelProto
    levels: dict[str, LevelBytes]


def emit(
    network: SpikingNetwork, input_size: tuple[int, int], exposed: Iterable[str], *,
    saturates: bool = False,
) -> IntegerGraph:
    """
    Return the integer graph of a network.

    :param exposed: the layers whose levels are outputs.
    :param saturates: whether sums of two products saturate at 16 bits where weights are int8.
    """
    shapes = network.shapes(input_size)
    emitter = _Emitter(network, shapes, blocks=reads_blocks(network, input_size),
                       saturates=saturates)
    for layer in fold_moves(network.layers, shapes):
        emitter.add(layer)
    height, width, channels = shapes[IMAGE]
    picture = ((height // 2, width // 2, 4 * channels) if emitter.blocks
               else (height, width, channels))
    levels = {name: emitter.levels[name] for name in exposed}
    outputs = {conv.name: (TensorProto.INT32, shapes[conv.name])
               for conv in network.convolutions if conv.is_readout}
    outputs |= {stored.tensor: (TensorProto.UINT8, shapes[name])
                for name, stored in levels.items()}
    graph = helper.make_graph(
        emitter.nodes, network.name or 'network',
        [helper.make_tensor_value_info(IMAGE, TensorProto.UINT8, [1, *picture])],
        [helper.make_tensor_value_info(name, dtype, [1, *shape])
         for name, (dtype, shape) in outputs.items()],
        emitter.initializers)
    model = helper.make_model(graph, ir_version=8, opset_imports=[
        helper.make_opsetid('', OPSET), helper.make_opsetid(CONTRIB, 1)])
    return IntegerGraph(model, levels)


class _Emitter(GraphWriter):
    """Writes layer by layer."""

    def __init__(
        self, network: SpikingNetwork, shapes: dict[str, Shape], *, blocks: bool, saturates: bool,
    ) -> None:
        super().__init__(CHANNEL_AXIS)
        self.network = network
        self._saturates = saturates
        self.shapes = shapes
        self.blocks = blocks
        self.levels: dict[str, LevelBytes] = {}
        self._exact: dict[LevelBytes, str] = {}  # the same levels with nothing left to do
        self._range = LevelRange.of_network(network)
        self._one = self._constant('/one', np.float32(1))
        self._pixel_zero = self._constant('/zero_pixel', np.uint8(0))
        self._zero = self._constant('/zero_level', self._range.zero)
        self._bottom = self._constant('/min_level', self._range.bottom)
        self._top = self._constant('/max_level', self._range.top)

    def add(self, layer: Layer) -> None:
        match layer:
            case Convolution(threshold=None):
                self._readout(layer)
            case Convolution():
                self._convolution(layer)
            case Add():
                self._add(layer)
            case Concat():
                self._concat(layer)
            case Rectifier():
                self._rectifier(layer)
            case _:
                stored = self.levels[layer.source]
                self._move(layer, stored.tensor)
                self.levels[layer.name] = LevelBytes(layer.name, stored.slope)

    def _move(self, layer: Layer, source: str) -> None:
        """Write a layer that only moves bytes, and so commutes with every activation."""
        match layer:
            case MaxPool():
                self._node('NhwcMaxPool', [source], layer.name, domain=CONTRIB,
                           kernel_shape=layer.kernel, strides=layer.stride, pads=layer.padding)
            case Upsample():
                self._upsample(layer, source)
            case Slice():
                self._slice(layer, source)
            case Permutation():
                weight = selection(layer.order, self.shapes[layer.source][2])
                self._requantise(layer.name, source, weight, np.ones(len(weight)))
            case DepthToSpace():
                self._depth_to_space(layer, source)
            case _:
                raise AssertionError(layer)

    def _add(self, layer: Add) -> None:
        if self._range.signed:
            first, second = (self._made_exact(source) for source in layer.sources)
        else:
            first, second = (self.levels[source].tensor for source in layer.sources)
        unit = [self._one, self._zero]
        self._node('QLinearAdd', [first, *unit, second, *unit, *unit], layer.name, domain=CONTRIB)
        self.levels[layer.name] = LevelBytes(layer.name, float(self._range.signed))

    def _concat(self, layer: Concat) -> None:
        slopes = {self.levels[source].slope for source in layer.sources}
        if len(slopes) == 1 or not self._range.signed:
            sources = [self.levels[source].tensor for source in layer.sources]
            stored = LevelBytes(layer.name, slopes.pop())
        else:
            sources = [self._made_exact(source) for source in layer.sources]
            stored = LevelBytes(layer.name, 1.0)
            self._exact[stored] = layer.name
        self._node('Concat', sources, layer.name, axis=CHANNEL_AXIS)
        self.levels[layer.name] = stored

    def _rectifier(self, layer: Rectifier) -> None:
        """Only note what is to be done to negative bytes."""
        stored = self.levels[layer.source]
        tensor = stored.tensor if stored.slope == 1 else self._made_exact(layer.source)
        self.levels[layer.name] = LevelBytes(tensor, layer.slope)

    def _convolution(self, conv: Convolution) -> None:
        self.levels[conv.name] = LevelBytes(conv.name, conv.slope)
        conv = as_dense(replace(conv, bias=rounding_bias(self.network, conv)))
        if conv.source == IMAGE:
            self._stem(conv)
        else:
            self._synapses(conv, conv.name, self._made_exact(conv.source))

    def _stem(self, conv: Convolution) -> None:
        if self.blocks:
            self._synapses(block_stem(conv, self.shapes), conv.name, IMAGE)
            return
        columns = column_stem(conv, self.shapes)
        if columns is None:
            self._synapses(conv, conv.name, IMAGE)
            return
        height, width, channels = self.shapes[IMAGE]
        copies = len(columns.weight) // len(conv.weight)
        picture = self._reshaped(IMAGE, f'{conv.name}/columns', 1, height, width // copies,
                                 copies * channels)
        self._synapses(columns, f'{conv.name}/fired_columns', picture)
        self._reshaped(f'{conv.name}/fired_columns', conv.name, 1, *self.shapes[conv.name])

    def _synapses(self, conv: Convolution, name: str, source: str) -> None:
        assert conv.threshold is not None
        self._requantise(
            name, source, self._weights(conv), 1 / conv.threshold.astype(np.float64), conv.bias,
            self._zero_of(conv.source), strides=conv.stride, pads=conv.padding, group=conv.groups)

    def _weights(self, conv: Convolution) -> NDArray[np.int8] | NDArray[np.uint8]:
        """Return weights as int8, or as uint8 around 128 where pairs of products would saturate."""
        if self._saturates and exceeds_pairs(self.network, conv):
            return around_middle(conv.weight)
        return conv.weight

    def _requantise(
        self, name: str, source: str, weight: NDArray[np.int8] | NDArray[np.uint8],
        scale: NDArray[np.float64], bias: NDArray[np.int32] | None = None,
        zero: str | None = None, **attributes: Any,
    ) -> None:
        """Write a QLinearConv, which sums bytes and writes bytes."""
        if bias is None:
            bias = np.zeros(len(weight), dtype=np.int32)
        constants = [self._constant(f'{name}/{key}', value) for key, value in (
            ('weight', weight), ('scale', scale.astype(np.float32)),
            ('zero', np.full(len(weight), zero_of(weight))), ('bias', bias))]
        self._node(
            'QLinearConv', [source, self._one, zero or self._zero, *constants[:3], self._one,
                            self._zero, constants[3]],
            name, domain=CONTRIB, channels_last=1, kernel_shape=weight.shape[2:], **attributes)

    def _readout(self, conv: Convolution) -> None:
        source, zero = self._made_exact(conv.source), self._zero_of(conv.source)
        if conv.weight.shape[2:] == (1, 1) and conv.stride == (1, 1) and conv.groups == 1 and (
                not any(conv.padding)):
            matrix = np.ascontiguousarray(self._weights(conv)[:, :, 0, 0].T)
            self._node('MatMulInteger', [
                source, self._constant(f'{conv.name}/weight', matrix), zero,
                self._constant(f'{conv.name}/middle', zero_of(matrix))], conv.name)
            return
        planar = self._node('Transpose', [source], f'{conv.name}/planar', perm=[0, 3, 1, 2])
        # Older runtimes have no ConvInteger for int8 weights.
        weight = around_middle(conv.weight)
        sums = self._node('ConvInteger', [
            planar, self._constant(f'{conv.name}/weight', weight), zero,
            self._constant(f'{conv.name}/middle', zero_of(weight))],
            f'{conv.name}/sums', kernel_shape=conv.weight.shape[2:], strides=conv.stride,
            pads=conv.padding, group=conv.groups)
        self._node('Transpose', [sums], conv.name, perm=[0, 2, 3, 1])

    def _upsample(self, layer: Upsample, source: str) -> None:
        """Copy columns as channels, then rows; faster here than the Resize operator."""
        height, width, channels = self.shapes[layer.source]
        copies = layer.factor
        columns = self._node('Concat', [source] * copies, f'{layer.name}/columns',
                             axis=CHANNEL_AXIS)
        rows = self._reshaped(columns, f'{layer.name}/rows', 1, height, copies * width * channels)
        copied = self._node('Concat', [rows] * copies, f'{layer.name}/copied_rows', axis=2)
        self._reshaped(copied, layer.name, 1, *self.shapes[layer.name])

    def _depth_to_space(self, layer: DepthToSpace, source: str) -> None:
        height, width, channels = self.shapes[layer.source]
        blocks = self._reshaped(source, f'{layer.name}/blocks', height, width, layer.factor,
                                channels // layer.factor)
        rows = self._node('Transpose', [blocks], f'{layer.name}/rows', perm=[0, 2, 1, 3])
        self._reshaped(rows, layer.name, 1, *self.shapes[layer.name])

    def _reshaped(self, source: str, name: str, *shape: int) -> str:
        return self._node('Reshape', [source, self._constant(
            f'{name}/shape', np.array(shape, dtype=np.int64))], name)

    def _zero_of(self, source: str) -> str:
        return self._pixel_zero if source == IMAGE else self._zero

    def _made_exact(self, source: str) -> str:
        """Return a tensor whose bytes are the levels of a layer; the picture stays as it is."""
        if source == IMAGE:
            return source
        stored = self.levels[source]
        if stored not in self._exact:
            self._exact[stored] = self._activation(stored)
        return self._exact[stored]

    def _activation(self, stored: LevelBytes) -> str:
        if self._range.top == 255:
            return stored.tensor  # of an unsigned network: nothing is above Q or below zero
        name = f'{stored.tensor}/slope{stored.slope}'
        if stored.slope in (0, 1):
            bottom = self._zero if stored.slope == 0 else self._bottom
            return self._node('Clip', [stored.tensor, bottom, self._top], name)
        # Twice as fast as QLinearLeakyRelu, which looks each byte up.
        above = self._node('Clip', [stored.tensor, self._zero, self._top], f'{name}/above')
        below = self._node('Clip', [stored.tensor, self._bottom, self._zero], f'{name}/below')
        slope = self._constant(f'{name}/slope', rounding_slope(
            stored.slope, self._range.max_level))
        unit = [self._one, self._zero]
        return self._node('QLinearAdd', [below, slope, self._zero, above, *unit, *unit], name,
                          domain=CONTRIB)
