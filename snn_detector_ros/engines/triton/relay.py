# SPDX-License-Identifier: Apache-2.0
"""Layers without synapses: sums of two trains, rectifiers, copies to another place or grid."""

import triton
import triton.language as tl

from snn_detector_ros.engines.triton.neurons import count, rectify, store


@triton.jit
def relay(
        x, x_pitch, factor, block_channels, slope, residual, residual_pitch,
        out, out_pitch, out_factor, other, other_pitch, other_factor,
        counts, counts_pitch, column, tau, steps, burst, max_level,
        height, width, channels,
        BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr,
        RESIDUAL: tl.constexpr, COUNTS: tl.constexpr, OTHER: tl.constexpr):
    """
    Relay BLOCK_M pixels of BLOCK_N channels.

    Pixel ``(y, x)`` reads ``(y // factor, x // factor)``: a plain copy, nearest upsampling, or,
    with ``block_channels``, depth to space.

    :param x: int8 levels [height / factor, width / factor, x_pitch].
    :param block_channels: how many channels further the next pixel of a block reads; 0 for none.
    :param slope: float32, of negative levels; 1 leaves them.
    :param residual: int8 [height, width, residual_pitch], added and cut off at Q (RESIDUAL).
    :param out: int8, see ``store``; ``other`` alike (OTHER).
    :param counts: int32 [steps, counts_pitch], from ``column`` on (COUNTS).
    """
    pixel = tl.program_id(0) * BLOCK_M + tl.arange(0, BLOCK_M)
    channel = tl.program_id(1) * BLOCK_N + tl.arange(0, BLOCK_N)
    row, col = pixel // width, pixel % width
    is_channel = channel < channels
    inside = (row < height)[:, None] & is_channel[None, :]
    read = (row // factor) * (width // factor) + col // factor
    offset = read * x_pitch + ((row % factor) * factor + col % factor) * block_channels
    level = tl.load(x + offset[:, None] + channel[None, :], mask=inside, other=0).to(tl.int32)
    if RESIDUAL:
        level += tl.load(residual + pixel[:, None] * residual_pitch + channel[None, :],
                         mask=inside, other=0).to(tl.int32)
        level = tl.maximum(tl.minimum(level, max_level), -max_level)
    level = rectify(level, slope)
    if COUNTS:
        count(level, inside, counts, column + channel, is_channel, counts_pitch, tau, steps, burst)
    store(level, inside, row, col, width, channel, out, out_pitch, out_factor, 0, channels)
    if OTHER:
        store(level, inside, row, col, width, channel, other, other_pitch, other_factor, 0,
              channels)
