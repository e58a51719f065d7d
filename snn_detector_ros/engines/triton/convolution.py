# SPDX-License-Identifier: Apache-2.0
"""
The fused spiking convolution: synapses, membrane, all T steps of firing, and counting, in one
launch.

An implicit matrix product of int8 levels and int8 weights on the tensor cores. One flat loop goes
over the taps of the window and, within a tap, over blocks of channels, so that the compiler can
load ahead. Numbers of channels, the window and the spike code are arguments, not constants: a
network needs few kernels.

A convolution of single pixels may follow in the same launch, if all that it reads fits one tile: it
multiplies the levels while they are in registers, and they are never written.
"""

import triton
import triton.language as tl

from snn_detector_ros.engines.triton.neurons import count, fire, store


@triton.jit
def convolution(
        x, x_pitch, height, width, weight, bias, threshold, reciprocal, slope,
        residual, residual_pitch, sums,
        out, out_pitch, out_factor, out_last,
        other, other_pitch, other_factor, other_first,
        counts, counts_pitch, column, residual_column, tau, steps, burst, max_level,
        out_height, out_width, outputs, blocks, taps, taps_wide,
        stride_y, stride_x, top, left,
        tail_weight, tail_bias, tail_threshold, tail_reciprocal, tail_slope, tail_outputs,
        tail_column,
        BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_K: tl.constexpr,
        PICTURE: tl.constexpr, FIRES: tl.constexpr, SIGNED: tl.constexpr,
        RESIDUAL: tl.constexpr, COUNTS: tl.constexpr, OTHER: tl.constexpr, TAIL: tl.constexpr):
    """
    Compute BLOCK_M pixels of BLOCK_N channels of a convolution.

    :param x: int8 levels [height, width, x_pitch], or pixels less 128 (PICTURE). More bytes than
        there are channels may be read; the weights there are zero.
    :param weight: int8 [outputs, taps, blocks * BLOCK_K].
    :param bias: int32 [outputs], threshold alike; reciprocal of it float32.
    :param residual: int8 [out_height, out_width, residual_pitch]: levels that are added to those
        of these neurons before they are written, by neurons that fire again (RESIDUAL).
    :param sums: int32 [out_height, out_width, outputs]: accumulated input, if not FIRES.
    :param out: int8; levels of the channels before ``out_last``, see ``store``. Those from
        ``other_first`` go to ``other`` (OTHER).
    :param counts: int32 [steps, counts_pitch]: spikes, from ``column`` on, and of the sum with the
        residual from ``residual_column`` on (COUNTS).
    :param tail_weight: int8 [tail_outputs, BLOCK_N], of a convolution of single pixels; it is what
        goes to ``out`` and ``other`` then (TAIL).
    """
    pixel = tl.program_id(0) * BLOCK_M + tl.arange(0, BLOCK_M)
    channel = tl.program_id(1) * BLOCK_N + tl.arange(0, BLOCK_N)
    row, col = pixel // out_width, pixel % out_width
    is_pixel, is_channel = row < out_height, channel < outputs
    across = tl.arange(0, BLOCK_K)
    synapses = weight + channel[None, :] * (taps * blocks * BLOCK_K) + across[:, None]
    membrane = tl.zeros((BLOCK_M, BLOCK_N), tl.int32)
    for block in range(taps * blocks):
        tap, part = block // blocks, block % blocks
        y, x_ = row * stride_y - top + tap // taps_wide, col * stride_x - left + tap % taps_wide
        inside = is_pixel & (y >= 0) & (y < height) & (x_ >= 0) & (x_ < width)
        source = x + ((y * width + x_) * x_pitch + part * BLOCK_K)[:, None] + across[None, :]
        # Pixels are less 128, so that they fit int8; the bias makes up for it, and black cells pad.
        levels = tl.load(source, mask=inside[:, None], other=-128 if PICTURE else 0)
        synapse = tl.load(synapses + block * BLOCK_K, mask=is_channel[None, :], other=0)
        membrane = tl.dot(levels, synapse, membrane, out_dtype=tl.int32)
    inside = is_pixel[:, None] & is_channel[None, :]
    membrane += tl.load(bias + channel, mask=is_channel, other=0)[None, :]
    if not FIRES:
        tl.store(sums + pixel[:, None] * outputs + channel[None, :], membrane, mask=inside)
        return
    level = fire(
        membrane, tl.load(threshold + channel, mask=is_channel, other=1)[None, :],
        tl.load(reciprocal + channel, mask=is_channel, other=1.0)[None, :],
        max_level, slope, SIGNED)
    if COUNTS:
        count(level, inside, counts, column + channel, is_channel, counts_pitch, tau, steps, burst)
    if RESIDUAL:
        level += tl.load(residual + pixel[:, None] * residual_pitch + channel[None, :],
                         mask=inside, other=0).to(tl.int32)
        level = tl.minimum(level, max_level)
        if SIGNED:
            level = tl.maximum(level, -max_level)
        if COUNTS:
            count(level, inside, counts, residual_column + channel, is_channel, counts_pitch,
                  tau, steps, burst)
    if TAIL:
        levels = level.to(tl.int8)
        for part in range(tl.cdiv(tail_outputs, BLOCK_N)):
            behind = part * BLOCK_N + tl.arange(0, BLOCK_N)
            is_behind = behind < tail_outputs
            synapse = tl.load(
                tail_weight + behind[None, :] * BLOCK_N + tl.arange(0, BLOCK_N)[:, None],
                mask=is_behind[None, :], other=0)
            membrane = tl.dot(levels, synapse, out_dtype=tl.int32)
            membrane += tl.load(tail_bias + behind, mask=is_behind, other=0)[None, :]
            level = fire(
                membrane, tl.load(tail_threshold + behind, mask=is_behind, other=1)[None, :],
                tl.load(tail_reciprocal + behind, mask=is_behind, other=1.0)[None, :],
                max_level, tail_slope, SIGNED)
            inside = is_pixel[:, None] & is_behind[None, :]
            if COUNTS:
                count(level, inside, counts, tail_column + behind, is_behind, counts_pitch, tau,
                      steps, burst)
            store(level, inside, row, col, out_width, behind, out, out_pitch, out_factor, 0,
                  out_last)
            if OTHER:
                store(level, inside, row, col, out_width, behind, other, other_pitch, other_factor,
                      other_first, tail_outputs)
    else:
        store(level, inside, row, col, out_width, channel, out, out_pitch, out_factor, 0, out_last)
        if OTHER:
            store(level, inside, row, col, out_width, channel, other, other_pitch, other_factor,
                  other_first, outputs)
