# SPDX-License-Identifier: Apache-2.0
"""Writes launches: what the kernels without weights are given, and what all are given."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

import numpy as np

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
from snn_detector_ros.engines.gpu.tiles import PIXELS, RELAY, blocks
from snn_detector_ros.engines.picture import COLOURS, Fit
from snn_detector_ros.network import IMAGE, MaxPool, Shape, SpikingNetwork
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
    Writes the plan of a network, but for its convolutions.

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
        self._firing = frozenset(layer.name for layer in network.firing_layers)
        columns = sum(shapes[name][2] for name in self._firing)
        self.plan = Plan(shapes[IMAGE], counts=(code.steps, columns if statistics else 0))
        self.plan.buffers |= {NOTHING: ALIGNMENT, COUNTS: 4 * prod(self.plan.counts)}
        tau = self.plan.constant(TAU, np.array(code.tau, dtype=np.int32))
        #: What all neurons are given.
        self._code: dict[str, Argument] = {
            'counts': Pointer(COUNTS), 'counts_pitch': self.plan.counts[1],
            'tau': tau, 'steps': code.steps, 'burst': code.burst, 'max_level': code.max_level}

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

    def _launch(
        self, spec: KernelSpec, layers: tuple[str, ...], grid: tuple[int, int],
        arguments: dict[str, Argument], *, products: int = 0, traffic: int = 0,
    ) -> None:
        """Add a launch; what a layer does not give is nothing, or zero."""
        self.plan.launches.append(
            Launch(spec, layers, grid, self._code | arguments, products, traffic))

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
