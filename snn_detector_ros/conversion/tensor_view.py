# SPDX-License-Identifier: Apache-2.0
"""
Where each element of an ONNX tensor comes from, however often it was reshaped and transposed.

Exporters write a channel shuffle, a split, a space-to-depth stem or a flattening in many ways. All
of them only move elements. So the moves are carried out on an array of element numbers, and what
they amount to is read from the result: a run of channels, another order of channels, channels that
become pixels, or pixels that become channels.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from snn_detector_ros.conversion.onnx_graph import OnnxNode, run_node

#: Operators that move elements and compute nothing; the first input is what they move.
MOVES = frozenset({
    'Concat', 'DepthToSpace', 'Flatten', 'Gather', 'Reshape', 'Slice', 'SpaceToDepth', 'Split',
    'Squeeze', 'Transpose', 'Unsqueeze'})

NO_PADDING = (0, 0, 0, 0)


@dataclass(frozen=True, eq=False)
class Planes:
    """
    Pixels that became channels: plane ``j`` is every ``factor``-th pixel of channel ``channel[j]``.

    :param offsets: first (row, column) of each plane, int64 [C, 2].
    """

    channel: NDArray[np.int64]
    offsets: NDArray[np.int64]
    factor: int


@dataclass(frozen=True, eq=False)
class View:
    """
    The elements of a layer, or of the picture, in the order of an ONNX tensor.

    :param layer: the layer.
    :param source: shape of the layer's own tensor: (batch, channels, height, width).
    :param index: number of the element of the layer that each element of the tensor is, int64 of
        the shape of the tensor; None if they are all in their own order.
    :param exclusive: whether nothing else reads the layer.
    :param padding: rows and columns of zeros at the top, left, bottom and right.
    :param gain: of the picture, what each element is multiplied by, float64, before..
    :param shift: ..this is added.
    """

    layer: str
    source: tuple[int, int, int, int]
    index: NDArray[np.int64] | None = None
    exclusive: bool = True
    padding: tuple[int, int, int, int] = NO_PADDING
    gain: NDArray[np.float64] | None = None
    shift: NDArray[np.float64] | None = None

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the tensor, without padding."""
        return self.source if self.index is None else self.index.shape

    @property
    def numbers(self) -> NDArray[np.int64]:
        """The index, worked out."""
        if self.index is not None:
            return self.index
        return np.arange(prod(self.source), dtype=np.int64).reshape(self.source)

    @property
    def is_natural(self) -> bool:
        """Whether the elements are those of the layer in their own order, in whatever shape."""
        return self.index is None or np.array_equal(
            self.index.ravel(), np.arange(prod(self.source)))

    @property
    def is_whole(self) -> bool:
        """Whether each element of the layer is in the tensor once."""
        if self.index is None:
            return True
        seen = np.zeros(prod(self.source), bool)
        seen[self.index.ravel()] = True
        return self.index.size == seen.size and bool(seen.all())

    def padded(self, padding: tuple[int, int, int, int]) -> View:
        """Return the same elements with zeros around them."""
        return replace(self, padding=padding)

    def by_channel(self, values: NDArray[Any]) -> NDArray[np.float64] | None:
        """
        Return numbers that are combined with each element as one number a channel of the layer.

        :param values: constants that can be broadcast to the tensor.
        :returns: float64 [C]; None if two elements of a channel get different numbers, or the
            tensor is too small for them.
        """
        _, channels, height, width = self.source
        try:
            spread = np.broadcast_to(np.asarray(values, np.float64), self.shape)
        except ValueError:
            return None
        channel = self.numbers // (height * width) % channels
        result = np.zeros(channels)
        result[channel] = spread
        return result if np.array_equal(result[channel], spread) else None

    @property
    def planes(self) -> Planes | None:
        """What the channels of a map [N, C, H, W] are; None if the tensor is no such map."""
        batch, channels, height, width = self.source
        numbers = self.numbers
        if numbers.ndim != 4 or len(numbers) != batch or height % numbers.shape[2]:
            return None
        factor = height // numbers.shape[2]
        first = numbers[0, :, 0, 0]
        channel, pixel = np.divmod(first, height * width)
        offsets = np.stack(np.divmod(pixel, width), axis=1)
        rows, columns = np.indices(numbers.shape[2:])
        expected = first[:, None, None] + (rows * width + columns) * factor
        pictures = np.arange(batch)[:, None, None, None] * prod(self.source[1:])
        fits = width == factor * numbers.shape[3] and bool((offsets < factor).all()) and (
            np.array_equal(numbers, expected + pictures))
        return Planes(channel, offsets, factor) if fits else None

    @property
    def channel_order(self) -> NDArray[np.int64] | None:
        """The channels of the layer that those of the tensor are; None if pixels moved too."""
        planes = self.planes
        return planes.channel if planes is not None and planes.factor == 1 else None

    @property
    def depth_to_space(self) -> tuple[int, NDArray[np.int64]] | None:
        """
        Factor and order of a tensor whose pixels were channels.

        The channels, brought into that order, become pixels as in
        :class:`~snn_detector_ros.network.DepthToSpace`. None if the tensor is anything else.
        """
        batch, channels, height, width = self.source
        numbers = self.numbers
        if numbers.ndim != 4 or len(numbers) != batch or numbers.shape[2] % height:
            return None
        factor = numbers.shape[2] // height
        if factor < 2 or numbers.shape[1:] != (
                channels // factor**2, height * factor, width * factor):
            return None
        blocks = numbers.reshape(batch, -1, height, factor, width, factor)
        back = blocks.transpose(0, 3, 5, 1, 2, 4).reshape(batch, -1, height, width)
        order = replace(self, index=back).channel_order
        return None if order is None else (factor, order)


def move(
    node: OnnxNode, views: Sequence[View], constants: Mapping[str, NDArray[Any]],
    opsets: Mapping[str, int],
) -> list[View]:
    """
    Carry out a node that moves the elements of one layer.

    :param views: its inputs that are no constants, in order; all of the same layer.
    :param constants: the others, by name.
    :returns: a view for each output.
    """
    names = [name for name in node.inputs if name and name not in constants]

    def moved(arrays: Sequence[NDArray[Any]]) -> list[NDArray[Any]]:
        return run_node(node, dict(constants) | dict(zip(names, arrays, strict=True)), opsets)

    exclusive = all(view.exclusive for view in views) and len(node.outputs) == 1
    first = replace(views[0], exclusive=exclusive)
    results = [replace(first, index=index) for index in moved([view.numbers for view in views])]
    gains = [view.gain for view in views if view.gain is not None]
    shifts = [view.shift for view in views if view.shift is not None]
    if not gains:
        return results
    return [replace(result, gain=gain, shift=shift) for result, gain, shift in zip(
        results, moved(gains), moved(shifts), strict=True)]
