# SPDX-License-Identifier: Apache-2.0
"""
What every kernel does with levels: fire, count spikes, write.

Levels are int8, so that the largest may be 127. The loop over time steps runs in registers, on
levels: a membrane holds level ``q`` exactly if its neuron sends the digits of ``q`` (see
docs/how_it_works.md), so that firing is one division, and the spikes of each step are digits.
"""

import triton
import triton.language as tl


@triton.jit
def fire(membrane, threshold, reciprocal, max_level, slope, SIGNED: tl.constexpr):
    """
    Return the level that neurons send: ``clip(floor(V / theta), 0, Q)``, or its signed form.

    Cut off first, a membrane is below 2^23 and float32 holds it. The product is at most one level
    off the quotient, which the remainder tells.

    :param membrane: int32 [M, N]; the start of the membrane and the half threshold by which signed
        neurons round are in its bias.
    :param threshold: int32 [1, N].
    :param reciprocal: float32 [1, N], of the threshold.
    :param max_level: Q.
    :param slope: float32, of the activation below zero, moved away from ties.
    :returns: int32 [M, N].
    """
    lowest = -max_level if SIGNED else 0
    membrane = tl.minimum(tl.maximum(membrane, lowest * threshold),
                          max_level * threshold + threshold - 1)
    level = tl.floor(membrane.to(tl.float32) * reciprocal).to(tl.int32)
    rest = membrane - level * threshold
    level += (rest >= threshold).to(tl.int32) - (rest < 0).to(tl.int32)
    if SIGNED:
        level = rectify(level, slope)
    return level


@triton.jit
def rectify(level, slope):
    """Return levels, negative ones times the slope and rounded; no product is a tie."""
    below = -(slope * -level.to(tl.float32) + 0.5).to(tl.int32)
    return tl.where(level < 0, below, level)


@triton.jit
def count(level, inside, counts, column, columns, counts_pitch, tau, steps, burst):
    """
    Add the spikes of a tile to the counts of the frame.

    :param level: int32 [M, N].
    :param inside: which of them exist, [M, N].
    :param counts: int32 [T, counts_pitch]; a column a channel.
    :param column: of each channel of the tile, [N].
    :param columns: which of them exist, [N].
    :param tau: int32 [T], weight of a spike of each step.
    """
    rest = tl.where(inside, tl.abs(level), 0)
    for step in range(steps):
        weight = tl.load(tau + step)
        # Half a unit above the level, the quotient is no integer, and float32 keeps it apart.
        spikes = ((rest.to(tl.float32) + 0.5) / weight.to(tl.float32)).to(tl.int32)
        spikes = tl.minimum(spikes, burst)
        rest -= spikes * weight
        tl.atomic_add(counts + step * counts_pitch + column, tl.sum(spikes, 0), mask=columns,
                      sem='relaxed')


@triton.jit
def store(level, inside, row, column, width, channel, out, pitch, factor, first, last):
    """
    Write a tile of levels, each pixel ``factor`` by ``factor`` times.

    That is nearest upsampling as a map of addresses. What is wider than ``pitch`` suggests belongs
    to other tensors, which share the buffer (concatenation in place).

    :param level: int32 [M, N].
    :param inside: which of them exist, [M, N].
    :param row: of each pixel, [M]; ``column`` alike.
    :param width: of the map, without repetition.
    :param channel: of the layer, [N].
    :param first: channels from ``first`` to ``last`` go here, to the front of ``out``.
    """
    wanted = inside & (channel >= first)[None, :] & (channel < last)[None, :]
    for copy in range(factor * factor):
        pixel = ((row * factor + copy // factor) * (width * factor)
                 + column * factor + copy % factor)
        tl.store(out + pixel[:, None] * pitch + (channel - first)[None, :], level.to(tl.int8),
                 mask=wanted)
