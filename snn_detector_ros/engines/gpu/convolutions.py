# SPDX-License-Identifier: Apache-2.0
"""Writes the launches of convolutions: their weights as kernels read them, and what is fused."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from snn_detector_ros.engines.gpu.launches import Destination, LaunchWriter
from snn_detector_ros.engines.gpu.placement import ALIGNMENT
from snn_detector_ros.engines.gpu.plan import Argument, KernelSpec, Pointer, View
from snn_detector_ros.engines.gpu.tiles import (
    Tile,
    blocks,
    choose_depth,
    choose_tail_tile,
    choose_tile,
)
from snn_detector_ros.network import IMAGE, Add, Convolution
from snn_detector_ros.network.qdq_writer import rounding_bias


class ConvolutionWriter(LaunchWriter):
    """Writes the plan of a network; see :class:`LaunchWriter`."""

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
