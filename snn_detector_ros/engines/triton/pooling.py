# SPDX-License-Identifier: Apache-2.0
"""
Spike-Maxpooling, and the chain of three that makes Spike-SPPF, in one launch.

Pools of stride 1 that follow each other are pools of larger windows: three of 5x5 are 5x5, 9x9 and
13x13 of the same input, so that one walk over the largest window gives all three.
"""

import triton
import triton.language as tl

from snn_detector_ros.engines.triton.neurons import count, store


@triton.jit
def pooling(
        x, x_pitch, height, width,
        out, out_pitch, out_factor, other, other_pitch, other_factor, third, third_pitch,
        counts, counts_pitch, column, other_column, third_column, tau, steps, burst,
        out_height, out_width, channels, rows, columns, stride_y, stride_x, top, left,
        BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr, CHAIN: tl.constexpr,
        COUNTS: tl.constexpr, OTHER: tl.constexpr):
    """
    Pool BLOCK_M pixels of BLOCK_N channels.

    :param x: int8 levels [height, width, x_pitch].
    :param out: int8, see ``store``; ``other`` alike (OTHER).
    :param rows: height of the window, of the last pool of a chain; ``columns`` alike.
    :param top: rows above the picture; ``left`` alike.
    :param CHAIN: 1, or 3 pools of growing windows to ``out``, ``other`` and ``third``.
    :param counts: int32 [steps, counts_pitch], from the column of each pool on (COUNTS).
    """
    pixel = tl.program_id(0) * BLOCK_M + tl.arange(0, BLOCK_M)
    channel = tl.program_id(1) * BLOCK_N + tl.arange(0, BLOCK_N)
    row, col = pixel // out_width, pixel % out_width
    is_channel = channel < channels
    inside = (row < out_height)[:, None] & is_channel[None, :]
    best = tl.full((BLOCK_M, BLOCK_N), -128, tl.int32)
    second, first = best, best
    for cell in range(rows * columns):
        down, along = cell // columns, cell % columns
        y, x_ = row * stride_y - top + down, col * stride_x - left + along
        there = (row < out_height) & (y >= 0) & (y < height) & (x_ >= 0) & (x_ < width)
        level = tl.load(x + ((y * width + x_) * x_pitch)[:, None] + channel[None, :],
                        mask=there[:, None] & is_channel[None, :], other=-128).to(tl.int32)
        best = tl.maximum(best, level)
        if CHAIN == 3:
            # In thirds of the way from the middle to the edge of the largest window.
            ring = tl.maximum(_ring(down, rows), _ring(along, columns))
            second = tl.where(ring <= 2, tl.maximum(second, level), second)
            first = tl.where(ring <= 1, tl.maximum(first, level), first)
    if CHAIN == 1:
        first = best
    if COUNTS:
        count(first, inside, counts, column + channel, is_channel, counts_pitch, tau, steps, burst)
    store(first, inside, row, col, out_width, channel, out, out_pitch, out_factor, 0, channels)
    if CHAIN == 3:
        if COUNTS:
            count(second, inside, counts, other_column + channel, is_channel, counts_pitch,
                  tau, steps, burst)
            count(best, inside, counts, third_column + channel, is_channel, counts_pitch,
                  tau, steps, burst)
        store(second, inside, row, col, out_width, channel, other, other_pitch,
              other_factor, 0, channels)
        store(best, inside, row, col, out_width, channel, third, third_pitch, 1, 0, channels)
    elif OTHER:
        store(first, inside, row, col, out_width, channel, other, other_pitch, other_factor, 0,
              channels)


@triton.jit
def _ring(cell, cells):
    """Return which of three nested windows a cell first belongs to: 1, 2 or 3."""
    radius = (cells - 1) // 6  # of the innermost: (3 * (k - 1) + 1 - 1) / 6
    distance = tl.abs(cell - (cells - 1) // 2)
    return (distance + radius - 1) // radius
