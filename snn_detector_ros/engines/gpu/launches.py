# SPDX-License-Identifier: Apache-2.0
"""Writes launches: what each kernel is given for a layer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from snn_detector_ros.engines.gpu.placement import ALIGNMENT, Slot
from snn_detector_ros.engines.gpu.plan import (
    COUNTS,
    NOTHING,
    SOURCE,
    TAU,
    Argument,
    KernelSpec,
    Launch,
    Plan,
    Pointer,
    View,
)
from snn_detector_ros.engines.gpu.tiles import (
    PIXELS,
    RELAY,
    Tile,
    blocks,
    choose_depth,
    choose_tail_tile,
    choose_tile,
)
from snn_detector_ros.engines.picture import COLOURS, Fit
from snn_detector_ros.network import IMAGE, Add, Convolution, MaxPool, Shape, SpikingNetwork
from snn_detector_ros.network.qdq_writer import rounding_bias
from snn_detector_ros.network.signed_neuron import rounding_slope

#: Channels that a place without an end takes.
ALL = 1 << 30


@dataclass(frozen=True)
class Destination:
    """
    A place to which a kernel writes levels.

    :param factor: how often each pixel is repeated in both directions.
    :param first: channels of the launch from this one on go here.
    :param last: channels before this one do.
    """

    slot: Slot
    factor: int = 1
    first: int = 0
    last: int = ALL

    @property
    def pointer(self) -> Pointer:
        """Where the first channel of the first pixel goes."""
        return Pointer(self.slot.buffer, self.slot.start)


class LaunchWriter:
    """
    Writes the plan of a network.

    :param network: whose code and neurons the launches have.
    :param shapes: (height, width, channels) of every tensor.
    :param statistics: whether spikes are counted.
    """

    def __init__(
        self, network: SpikingNetwork, shapes: dict[str, Shape], *, statistics: bool,
    ) -> None:
        self._network = network
        self._shapes = shapes
        self._statistics = statistics
        self._next_column = 0
        code = network.code
        columns = sum(shapes[layer.name][2] for layer in network.firing_layers)
        self.plan = Plan(shapes[IMAGE], counts=(code.steps, columns if statistics else 0))
        self.plan.buffers |= {NOTHING: ALIGNMENT, COUNTS: 4 * prod(self.plan.counts)}
        tau = self.plan.constant(TAU, np.array(code.tau, dtype=np.int32))
        #: What all neurons are given.
        self._code: dict[str, Argument] = {
            'counts': Pointer(COUNTS), 'counts_pitch': self.plan.counts[1],
            'tau': tau, 'steps': code.steps, 'burst': code.burst}

    def letterbox(self, fit: Fit, pixels: View, *, blocks_of_4: bool) -> None:
        """
        Fit the camera's picture.

        :param pixels: where its pixels less 128 are to lie.
        :param blocks_of_4: whether as blocks of 2x2 pixels.
        """
        height, width, _ = self._shapes[IMAGE]
        self.plan.buffers[SOURCE] = prod(fit.source_size) * fit.source_channels
        blue, green, red = COLOURS[fit.colour]
        self._launch(
            KernelSpec('letterbox', (('BLOCK_M', PIXELS), ('BLOCKS', blocks_of_4))),
            (IMAGE,), (blocks(height * width, PIXELS), 1),
            {'source': Pointer(SOURCE), 'source_width': fit.source_size[1],
             'source_channels': fit.source_channels, 'blue': blue, 'green': green, 'red': red,
             'row_taps': self.plan.constant('/rows', fit.rows()),
             'column_taps': self.plan.constant('/columns', fit.columns()),
             'fit_height': fit.size[0], 'fit_width': fit.size[1], 'top': fit.top,
             'left': fit.left, 'padding': fit.padding, 'x': Pointer(pixels.buffer),
             'x_pitch': pixels.pitch, 'height': height, 'width': width},
            traffic=self.plan.buffers[SOURCE] + prod(pixels.shape))

    def readout(self, conv: Convolution, source: View) -> None:
        """Write a convolution whose membranes never fire."""
        self.plan.readouts[conv.name] = shape = self._shapes[conv.name]
        self.plan.buffers[conv.name] = 4 * prod(shape)
        # The accumulated input goes out without bias; only pixels need one, being less 128.
        self._synapses(conv, source, np.zeros(len(conv.weight), np.int64), (conv.name,),
                       {'sums': Pointer(conv.name)}, shape[:2],
                       choose_tile(shape[0] * shape[1], shape[2]), fires=False)

    def convolution(
        self, convs: Sequence[Convolution], source: View, places: Sequence[Destination], *,
        tail: Sequence[Convolution] = (), total: Add | None = None, residual: View | None = None,
    ) -> None:
        """
        Write convolutions that fire.

        :param convs: one, or two that are computed as one; without a name they count nothing.
        :param places: one or two.
        :param tail: convolutions of single pixels that follow, one or two as one.
        :param total: the sum that is computed too, with ``residual``.
        """
        conv, named = _joined(convs), [layer.name for layer in convs if layer.name]
        arguments = self._places(places)
        arguments['column'] = self._first_column(named)
        layers = (*named, *(layer.name for layer in tail))
        if total is not None and residual is not None:
            layers = (*layers, total.name)
            arguments |= {
                'residual': Pointer(residual.buffer, residual.first),
                'residual_pitch': residual.pitch, 'residual_column': self._column(total.name)}
        height, width = self._shapes[layers[0]][:2] if layers else source.shape[:2]
        tile = choose_tile(height * width, len(conv.weight))
        if tail:
            tile = choose_tail_tile(height * width, len(conv.weight))
            arguments |= self._tail(tail, tile)
        self._synapses(conv, source, self._start(conv), layers, arguments, (height, width), tile,
                       other=len(places) > 1, residual=residual is not None,
                       tail_size=sum(layer.weight.size for layer in tail))

    def pooling(
        self, chain: Sequence[MaxPool], source: View, places: Sequence[Destination],
    ) -> None:
        """
        Write a pool, or a chain of three.

        :param places: of a single pool one or two, of a chain one a pool.
        """
        pool, length = chain[0], len(chain)
        height, width, channels = self._shapes[pool.name]
        columns = [self._column(layer.name) for layer in chain]
        arguments = self._places(places[:2]) | dict(zip(
            ('column', 'other_column', 'third_column'), columns, strict=False))
        if length > 1:
            arguments |= {'third': places[2].pointer, 'third_pitch': places[2].slot.pitch}
        rows, cols = (length * (side - 1) + 1 for side in pool.kernel)
        block_m, block_n = RELAY
        self._launch(
            KernelSpec('pooling', (
                ('BLOCK_M', block_m), ('BLOCK_N', block_n), ('CHAIN', length),
                ('COUNTS', self._statistics), ('OTHER', len(places) == 2))),
            tuple(layer.name for layer in chain),
            (blocks(height * width, block_m), blocks(channels, block_n)),
            {**self._source(source), **arguments, 'out_height': height, 'out_width': width,
             'channels': channels, 'rows': rows, 'columns': cols,
             'stride_y': pool.stride[0], 'stride_x': pool.stride[1],
             'top': length * pool.padding[0], 'left': length * pool.padding[1]},
            traffic=prod(source.shape) + len(places) * prod(self._shapes[pool.name]))

    def relay(
        self, name: str, shape: Shape, source: View, places: Sequence[Destination], *,
        residual: View | None = None, slope: float = 1.0, factor: int = 1,
        block_channels: int = 0,
    ) -> None:
        """
        Write a layer without synapses.

        :param name: of the layer; without one, or if it does not fire, nothing is counted.
        :param shape: (height, width, channels) of it.
        :param slope: of negative levels.
        :param factor: see the kernel; ``block_channels`` alike.
        """
        height, width, channels = shape
        counts = self._statistics and name in self._firing
        block_m, block_n = RELAY
        arguments: dict[str, Argument] = {
            'x': Pointer(source.buffer, source.first), 'x_pitch': source.pitch,
            'factor': factor, 'block_channels': block_channels, 'slope': self._slope(slope),
            'height': height, 'width': width, 'channels': channels,
            'column': self._column(name) if counts else 0}
        if residual is not None:
            arguments |= {'residual': Pointer(residual.buffer, residual.first),
                          'residual_pitch': residual.pitch}
        self._launch(
            KernelSpec('relay', (
                ('BLOCK_M', block_m), ('BLOCK_N', block_n), ('RESIDUAL', residual is not None),
                ('COUNTS', counts), ('OTHER', len(places) > 1))),
            (name,) if name else (),
            (blocks(height * width, block_m), blocks(channels, block_n)),
            arguments | self._places(places),
            traffic=prod(source.shape) + (1 + (residual is not None)) * prod(shape))

    @property
    def _firing(self) -> frozenset[str]:
        return frozenset(layer.name for layer in self._network.firing_layers)

    def _synapses(
        self, conv: Convolution, source: View, bias: NDArray[np.int64], layers: tuple[str, ...],
        arguments: dict[str, Argument], size: tuple[int, int], tile: Tile, *, fires: bool = True,
        residual: bool = False, other: bool = False, tail_size: int = 0,
    ) -> None:
        outputs, _, rows, columns = conv.weight.shape
        pixels = size[0] * size[1]
        label = layers[0] if layers else f'/copy{len(self.plan.launches)}'
        first = source.positions.min() // ALIGNMENT * ALIGNMENT
        depth = choose_depth(int(source.positions.max() - first + 1))
        weight = _scattered(conv.weight, source.positions - first, depth)
        is_picture = source.buffer == IMAGE
        if is_picture:
            bias = bias + 128 * conv.weight.astype(np.int64).sum(axis=(1, 2, 3))
        arguments |= {
            'x': Pointer(source.buffer, int(first)), 'x_pitch': source.pitch,
            'height': source.shape[0], 'width': source.shape[1],
            'weight': self.plan.constant(f'{label}/weight', weight),
            'bias': self.plan.constant(f'{label}/bias', bias.astype(np.int32)),
            'slope': self._slope(conv.slope), 'out_height': size[0], 'out_width': size[1],
            'outputs': outputs, 'blocks': weight.shape[2] // depth, 'taps': rows * columns,
            'taps_wide': columns, 'stride_y': conv.stride[0], 'stride_x': conv.stride[1],
            'top': conv.padding[0], 'left': conv.padding[1]}
        if fires:
            arguments |= self._thresholds(conv, label)
        constants = (
            ('BLOCK_M', tile.pixels), ('BLOCK_N', tile.channels), ('BLOCK_K', depth),
            ('PICTURE', is_picture), ('FIRES', fires), ('SIGNED', fires and conv.slope > 0),
            ('RESIDUAL', residual), ('COUNTS', fires and self._statistics and bool(layers)),
            ('OTHER', other), ('TAIL', tail_size > 0))
        written = tail_size // outputs if tail_size else outputs
        self._launch(
            KernelSpec('convolution', constants, tile.warps, tile.stages), layers,
            (blocks(pixels, tile.pixels), blocks(outputs, tile.channels)), arguments,
            products=pixels * (conv.weight.size + tail_size),
            traffic=(prod(source.shape) + conv.weight.size + tail_size
                     + pixels * written * (1 if fires else 4) * (2 if residual else 1)))

    def _tail(self, convs: Sequence[Convolution], tile: Tile) -> dict[str, Argument]:
        """Return what a convolution of single pixels adds to the launch of another."""
        conv, label = _joined(convs), f'{convs[0].name}'
        weight = np.zeros((len(conv.weight), tile.channels), dtype=np.int8)
        weight[:, :conv.weight.shape[1]] = conv.weight[:, :, 0, 0]
        own = {'weight': self.plan.constant(f'{label}/weight', weight),
               'bias': self.plan.constant(f'{label}/bias', self._start(conv).astype(np.int32)),
               'slope': self._slope(conv.slope), 'outputs': len(weight),
               'column': self._first_column([layer.name for layer in convs]),
               **self._thresholds(conv, label)}
        return {f'tail_{name}': value for name, value in own.items()}

    def _start(self, conv: Convolution) -> NDArray[np.int64]:
        """Return the bias with which a kernel's rounding down gives the neurons' levels."""
        assert conv.threshold is not None
        return rounding_bias(self._network, conv).astype(np.int64) + (conv.threshold - 1) // 2

    def _thresholds(self, conv: Convolution, label: str) -> dict[str, Argument]:
        assert conv.threshold is not None
        reciprocal = (1 / conv.threshold.astype(np.float64)).astype(np.float32)
        return {'threshold': self.plan.constant(f'{label}/threshold', conv.threshold),
                'reciprocal': self.plan.constant(f'{label}/reciprocal', reciprocal)}

    def _launch(
        self, spec: KernelSpec, layers: tuple[str, ...], grid: tuple[int, int],
        arguments: dict[str, Argument], *, products: int = 0, traffic: int = 0,
    ) -> None:
        """Add a launch; what a layer does not give is nothing, or zero."""
        common = {**self._code, 'max_level': self._network.code.max_level}
        self.plan.launches.append(
            Launch(spec, layers, grid, common | arguments, products, traffic))

    def _column(self, name: str) -> int:
        """Return the first column of a layer's counts."""
        start, count = self._next_column, self._shapes[name][2]
        if self._statistics:
            self._next_column += count
            self.plan.columns[name] = slice(start, start + count)
        return start

    def _first_column(self, names: Sequence[str]) -> int:
        """Return the first column of layers that are counted side by side; 0 of none."""
        columns = [self._column(name) for name in names]
        return columns[0] if columns else 0

    def _slope(self, slope: float) -> float:
        return float(rounding_slope(slope, self._network.code.max_level))

    def _source(self, source: View) -> dict[str, Argument]:
        return {'x': Pointer(source.buffer, source.first), 'x_pitch': source.pitch,
                'height': source.shape[0], 'width': source.shape[1]}

    def _places(self, places: Sequence[Destination]) -> dict[str, Argument]:
        out, other = places[0], places[-1]
        return {'out': out.pointer, 'out_pitch': out.slot.pitch, 'out_factor': out.factor,
                'out_last': out.last, 'other': other.pointer, 'other_pitch': other.slot.pitch,
                'other_factor': other.factor, 'other_first': other.first}


def _joined(convs: Sequence[Convolution]) -> Convolution:
    """Return convolutions of one input and window as one."""
    if len(convs) == 1:
        return convs[0]
    whole: dict[str, Any] = {
        name: np.concatenate([getattr(conv, name) for conv in convs])
        for name in ('weight', 'bias', 'threshold', 'step')}
    return replace(convs[0], **whole)


def _scattered(
    weight: NDArray[np.int8], positions: NDArray[np.int64], depth: int,
) -> NDArray[np.int8]:
    """
    Lay weights out as a kernel reads them, zero where no channel lies.

    :param weight: int8 [Cout, Cin, rows, columns].
    :param positions: byte of each channel.
    :returns: int8 [Cout, rows * columns, blocks * depth].
    """
    outputs, inputs = weight.shape[:2]
    width = blocks(int(positions.max()) + 1, depth) * depth
    result = np.zeros((outputs, weight[0, 0].size, width), dtype=np.int8)
    result[:, :, positions] = weight.reshape(outputs, inputs, -1).transpose(0, 2, 1)
    return result
