# SPDX-License-Identifier: Apache-2.0
"""Makes the plan of a frame: layer by layer, in as few launches and copies as can be."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from snn_detector_ros.engines.channel_moves import dense, selection
from snn_detector_ros.engines.gpu.convolutions import ConvolutionWriter
from snn_detector_ros.engines.gpu.fusion import MAX_DESTINATIONS, Fusions, find_fusions
from snn_detector_ros.engines.gpu.launches import Destination
from snn_detector_ros.engines.gpu.placement import Placement, Slot, padded
from snn_detector_ros.engines.gpu.plan import Plan, View
from snn_detector_ros.engines.picture import Fit
from snn_detector_ros.engines.stems import block_stem, reads_blocks
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


def make_plan(
    network: SpikingNetwork, input_size: tuple[int, int], fit: Fit, *,
    statistics: bool = True, fuse: bool = True, tails: bool = True,
) -> Plan:
    """
    Return the plan of a network.

    :param network: a valid network whose levels fit int8.
    :param input_size: (height, width) of the network's input in px.
    :param fit: the camera's picture in that input.
    :param statistics: whether spikes are counted.
    :param fuse: whether layers share launches; without, each layer is written.
    :param tails: whether the kernels can let a convolution follow another.
    """
    planner = _Planner(network, input_size, statistics=statistics, fuse=fuse, tails=tails)
    planner.picture(fit)
    for layer in planner.layers:
        planner.add(layer)
    return planner.writer.plan


class _Planner:
    def __init__(
        self, network: SpikingNetwork, input_size: tuple[int, int], *, statistics: bool,
        fuse: bool, tails: bool,
    ) -> None:
        self._network = network
        self._shapes = network.shapes(input_size)
        self._blocks = reads_blocks(network, input_size)
        self.layers = [self._prepared(layer) for layer in network.layers]
        self._placement = Placement(self.layers, self._shapes)
        self._fusions = (
            find_fusions(self.layers, self._placement, network.outputs, tails=tails)
            if fuse else Fusions())
        self._absorbed = self._fusions.absorbed
        self.writer = ConvolutionWriter(network, self._shapes, statistics=statistics)
        self._pixels = self._picture_view()
        self.writer.plan.buffers |= self._placement.buffers()
        self.writer.plan.buffers[IMAGE] = self._pixels.shape[0] * self._pixels.shape[1] * (
            self._pixels.pitch)

    def picture(self, fit: Fit) -> None:
        """Let the frame begin with the picture that the camera sent."""
        self.writer.letterbox(fit, self._pixels, blocks_of_4=self._blocks)

    def add(self, layer: Layer) -> None:
        """Add the launches of a layer, if it needs any."""
        name = layer.name
        if not isinstance(layer, Convolution) or not layer.is_readout:
            self.writer.plan.views[name] = self._placement.view(name)
        if name in self._absorbed:
            return
        match layer:
            case Convolution(threshold=None):
                self.writer.readout(layer, self._view(layer.source))
            case Convolution():
                self._convolution(layer)
            case MaxPool():
                self._pool(layer)
            case Add():
                first, second = (self._contiguous(source, name) for source in layer.sources)
                self._relay(layer, first, residual=second)
            case Rectifier():
                self._relay(layer, self._contiguous(layer.source, name), slope=layer.slope)
            case Upsample():
                self._relay(layer, self._contiguous(layer.source, name), factor=layer.factor)
            case DepthToSpace():
                self._relay(layer, self._contiguous(layer.source, name), factor=layer.factor,
                            block_channels=self._shapes[name][2])
            case Slice() | Permutation() if self._placement.slots[name]:
                self._copy(self._contiguous(name, name), self._placement.slots[name])
            case Concat():
                self._copy_pixels(layer, self._placement.slots[name][1:])

    def _prepared(self, layer: Layer) -> Layer:
        """Return a convolution as one matrix, which reads the picture as it is laid out."""
        if not isinstance(layer, Convolution):
            return layer
        conv = dense(layer)
        return block_stem(conv, self._shapes) if self._blocks and conv.source == IMAGE else conv

    def _picture_view(self) -> View:
        height, width, channels = self._shapes[IMAGE]
        shape: Shape = ((height // 2, width // 2, 4 * channels) if self._blocks
                        else (height, width, channels))
        return View(IMAGE, padded(shape[2]), np.arange(shape[2]), shape)

    def _view(self, name: str) -> View:
        return self._pixels if name == IMAGE else self._placement.view(name)

    def _convolution(self, conv: Convolution) -> None:
        total = self._fusions.residuals.get(conv.name)
        tail = self._fusions.tails.get(conv.name)
        last = total or tail or conv
        places, extra = self._destinations(last)
        written = [tail or conv]
        sibling = self._fusions.siblings.get(written[0].name)
        if sibling is not None:
            count = len(written[0].weight)
            (theirs,), _ = self._destinations(sibling)
            places = [replace(places[0], last=count), replace(theirs, first=count)]
            written.append(sibling)
        residual = None
        if total is not None:
            (other,) = (name for name in total.sources if name != conv.name)
            residual = self._placement.view(other)
        self.writer.convolution(
            written if tail is None else [conv], self._view(conv.source), places,
            tail=() if tail is None else written, total=total, residual=residual)
        self._copy(self._placement.view(last.name), extra)

    def _pool(self, pool: MaxPool) -> None:
        source = self._contiguous(pool.source, pool.name)
        chain = (pool, *self._fusions.chains.get(pool.name, ()))
        places, extra = zip(*map(self._destinations, chain), strict=True)
        self.writer.pooling(chain, source, [place for each in places for place in each])
        self._copy(self._placement.view(pool.name), extra[0])

    def _relay(
        self, layer: Layer, source: View, *, residual: View | None = None, slope: float = 1.0,
        factor: int = 1, block_channels: int = 0,
    ) -> None:
        places, extra = self._destinations(layer)
        self.writer.relay(layer.name, self._shapes[layer.name], source, places, residual=residual,
                          slope=slope, factor=factor, block_channels=block_channels)
        self._copy(self._placement.view(layer.name), extra)

    def _destinations(self, layer: Layer) -> tuple[list[Destination], list[Slot]]:
        """Return where a launch writes a layer, and to where it must be copied afterwards."""
        slots = self._placement.slots[layer.name]
        repeats = [Destination(slot, repeat.factor)
                   for repeat in self._fusions.repeats.get(layer.name, ())
                   for slot in self._placement.slots[repeat.name]]
        room = MAX_DESTINATIONS - len(repeats)
        return [*map(Destination, slots[:room]), *repeats], list(slots[room:])

    def _copy(self, view: View, slots: Sequence[Slot]) -> None:
        for slot in slots:
            self.writer.relay('', view.shape, view, [Destination(slot)])

    def _copy_pixels(self, layer: Concat, slots: Sequence[Slot]) -> None:
        """Copy a concatenation with the gaps between its parts."""
        height, width, _ = self._shapes[layer.name]
        home, count = self._placement.slots[layer.name][0], self._placement.widths[layer.name]
        positions = home.start + np.arange(count)
        self._copy(View(home.buffer, home.pitch, positions, (height, width, count)), slots)

    def _contiguous(self, name: str, reader: str) -> View:
        """Return a tensor whose channels lie one after the other, in a copy if need be."""
        view = self._view(name)
        if view.is_contiguous:
            return view
        channels = view.shape[2]
        slot = Slot(f'{reader}/{name}', 0, padded(channels))
        self.writer.plan.buffers[slot.buffer] = view.shape[0] * view.shape[1] * slot.pitch
        self.writer.convolution([_identity(channels)], view, [Destination(slot)])
        return View(slot.buffer, slot.pitch, np.arange(channels), view.shape)


def _identity(channels: int) -> Convolution:
    """Return a convolution that copies levels of either sign."""
    return Convolution(
        '', '', selection(range(channels), channels), np.zeros(channels, np.int32),
        np.ones(channels, np.int32), np.ones(channels, np.float32), slope=1.0)
