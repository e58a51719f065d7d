# SPDX-License-Identifier: Apache-2.0
"""
Where each tensor lies, so that nothing is copied that need not be.

The inputs of a concatenation are written into its buffer by whoever computes them. Slices and
permutations are positions in another tensor's pixels. Upsampling is one more place to which the
source is written, with each pixel repeated.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from snn_detector_ros.engines.gpu.plan import View
from snn_detector_ros.network import Concat, Layer, Permutation, Shape, Slice

#: Slots start at multiples of this, so that every kernel may load 16 bytes at once.
ALIGNMENT = 16


def padded(channels: int) -> int:
    """Return channels rounded up to whole slots."""
    return -(-channels // ALIGNMENT) * ALIGNMENT


@dataclass(frozen=True)
class Slot:
    """
    A place in the pixels of a buffer.

    :param start: byte of a pixel.
    :param pitch: bytes of a pixel.
    """

    buffer: str
    start: int
    pitch: int


class Placement:
    """
    The places of all tensors of a network.

    :param layers: in order of execution.
    :param shapes: (height, width, channels) of every tensor.
    """

    def __init__(self, layers: Sequence[Layer], shapes: dict[str, Shape]) -> None:
        self._layers = {layer.name: layer for layer in layers}
        self._shapes = shapes
        #: All places where a tensor is to be written; the first is where it is read.
        self.slots: dict[str, list[Slot]] = {layer.name: [] for layer in layers}
        #: Bytes of a pixel that each tensor takes.
        self.widths: dict[str, int] = {}
        self._offsets: dict[str, NDArray[np.int64]] = {}
        self._lay_out(layers)
        # Outer concatenations first: inner ones may lie within them.
        for layer in reversed(layers):
            if isinstance(layer, Concat):
                self._place_parts(layer)
        for layer in layers:
            if not self.slots[layer.name] and not isinstance(layer, (Slice, Permutation)):
                self.slots[layer.name].append(self._own(layer.name))

    def buffers(self) -> dict[str, int]:
        """Return the bytes of each buffer."""
        sizes = {}
        for slots in self.slots.values():
            for slot in slots:
                height, width, _ = self._shapes[slot.buffer]
                sizes[slot.buffer] = height * width * slot.pitch
        return sizes

    def view(self, name: str) -> View:
        """Return where a tensor is read."""
        layer = self._layers[name]
        match layer:
            case Slice():
                source = self.view(layer.source)
                return View(source.buffer, source.pitch,
                            source.positions[layer.start:layer.stop], self._shapes[name])
            case Permutation():
                source = self.view(layer.source)
                return View(source.buffer, source.pitch, source.positions[list(layer.order)],
                            self._shapes[name])
            case _:
                return self.view_in(name, self.slots[name][0])

    def view_in(self, name: str, slot: Slot) -> View:
        """Return a tensor as it lies in a slot, gaps of inner concatenations included."""
        return View(slot.buffer, slot.pitch, slot.start + self._offsets[name], self._shapes[name])

    def _place_parts(self, layer: Concat) -> None:
        if not self.slots[layer.name]:
            self.slots[layer.name].append(self._own(layer.name))
        slot = self.slots[layer.name][0]
        start = slot.start
        for source in layer.sources:
            self.slots[source].append(Slot(slot.buffer, start, slot.pitch))
            start += self.widths[source]

    def _own(self, name: str) -> Slot:
        return Slot(name, 0, self.widths[name])

    def _lay_out(self, layers: Sequence[Layer]) -> None:
        """Find the bytes that each tensor takes of a pixel, and which of them hold its channels."""
        for layer in layers:
            name = layer.name
            if isinstance(layer, Concat):
                widths = [self.widths[source] for source in layer.sources]
                starts = np.cumsum([0, *widths[:-1]])
                self.widths[name] = sum(widths)
                self._offsets[name] = np.concatenate([
                    start + self._offsets[source]
                    for start, source in zip(starts, layer.sources, strict=True)])
            else:
                self.widths[name] = padded(self._shapes[name][2])
                self._offsets[name] = np.arange(self._shapes[name][2])
