# SPDX-License-Identifier: Apache-2.0
# What follows is Triton's language, in which arguments and tuples have other types than in Python.
# mypy: ignore-errors
"""
LIF over T time steps, alone or behind a batch normalisation, in one pass over memory.

Membranes live in registers and are never written: the backward pass reads the currents in their
place, and computes them again. The two passes agree to the last bit on who fires, because each
rounding is spelled out (``fma``), and none is left to the compiler.

A normalisation takes two passes in each direction: its statistics come first, then the rest. Going
backward, both passes compute the gradient of the membranes, so that it is not written either.
Sums are taken in a fixed order: a row of partial sums for each program, added up by the caller.

In memory, a step is ``rows`` by ``channels`` values: channel ``c`` of row ``r`` lies at
``(r // inner * channels + c) * inner + r % inner``. ``inner`` is 1 for channels_last, H * W for
NCHW. Tensors of T steps are given by a pointer and the distance between steps, which may be 0.
"""

import triton
import triton.language as tl


@triton.jit
def statistics(
        x, x_step: tl.int64, pivot, sums, squares, tiles, rows, channels, inner,
        STEPS: tl.constexpr, BLOCK_R: tl.constexpr, BLOCK_C: tl.constexpr):
    """
    Sum up, per channel, ``x - pivot`` and its square: one row of sums a program.

    :param x: currents of any float type, [T, rows, channels]; see the module.
    :param pivot: some value of the currents, [channels]; near their mean, nothing is lost when
        the variance is taken from the sums.
    :param sums: [programs, channels], in the type of ``pivot``; ``squares`` alike.
    :param tiles: of BLOCK_R rows, that a program sums up.
    """
    channel, is_channel = _channels(channels, BLOCK_C)
    start = tl.load(pivot + channel, mask=is_channel, other=0)
    total = tl.zeros((BLOCK_R, BLOCK_C), start.dtype)
    total_square = tl.zeros((BLOCK_R, BLOCK_C), start.dtype)
    for tile in range(tiles):
        place, inside = _places(tile, tiles, channel, is_channel, rows, channels, inner, BLOCK_R)
        for t in tl.static_range(STEPS):
            current = tl.load(x + t * x_step + place, mask=inside, other=0).to(start.dtype)
            distance = tl.where(inside, current - start, 0)
            total += distance
            total_square += distance * distance
    _store_sums(sums, total, channel, is_channel, channels)
    _store_sums(squares, total_square, channel, is_channel, channels)


@triton.jit
def forward(
        x, x_step: tl.int64, mean, gain, bias, spikes, spikes_step: tl.int64, rows, channels, inner,
        STEPS: tl.constexpr, NORMALISED: tl.constexpr,
        DECAY: tl.constexpr, THRESHOLD: tl.constexpr,
        BLOCK_R: tl.constexpr, BLOCK_C: tl.constexpr):
    """
    Write the spikes of ``(x - mean) * gain + bias``, or of ``x`` if it is not NORMALISED.

    :param x: currents of any float type, [T, rows, channels]; see the module.
    :param mean: [channels], float32 (float64 if x is); ``gain`` and ``bias`` alike. Not read if
        nothing is normalised.
    :param spikes: 0 and 1, as ``x`` in memory.
    """
    channel, is_channel = _channels(channels, BLOCK_C)
    place, inside = _places(0, 1, channel, is_channel, rows, channels, inner, BLOCK_R)
    _, membranes = _membranes(
        x + place, x_step, mean, gain, bias, channel, is_channel, inside,
        STEPS, NORMALISED, DECAY, THRESHOLD)
    for t in tl.static_range(STEPS):
        fired = tl.where(membranes[t] > THRESHOLD, 1.0, 0.0).to(spikes.dtype.element_ty)
        tl.store(spikes + t * spikes_step + place, fired, mask=inside)


@triton.jit
def gradient_sums(
        x, x_step: tl.int64, mean, gain, bias, gradient, gradient_step: tl.int64, sums, products,
        tiles, rows, channels, inner,
        STEPS: tl.constexpr, DECAY: tl.constexpr, THRESHOLD: tl.constexpr, WIDTH: tl.constexpr,
        DETACH: tl.constexpr, BLOCK_R: tl.constexpr, BLOCK_C: tl.constexpr):
    """
    Sum up, per channel, the gradient of normalised currents, and that times ``x - mean``.

    :param x: see ``forward``; ``mean``, ``gain`` and ``bias`` alike.
    :param gradient: of the spikes, as ``x`` in memory.
    :param sums: [programs, channels], in the type of ``mean``; ``products`` alike.
    :param tiles: of BLOCK_R rows, that a program sums up.
    """
    channel, is_channel = _channels(channels, BLOCK_C)
    total = tl.zeros((BLOCK_R, BLOCK_C), mean.dtype.element_ty)
    total_product = tl.zeros((BLOCK_R, BLOCK_C), mean.dtype.element_ty)
    for tile in range(tiles):
        place, inside = _places(tile, tiles, channel, is_channel, rows, channels, inner, BLOCK_R)
        centred, membranes = _membranes(
            x + place, x_step, mean, gain, bias, channel, is_channel, inside,
            STEPS, True, DECAY, THRESHOLD)
        slopes = _membrane_gradients(
            membranes, gradient + place, gradient_step, inside,
            STEPS, DECAY, THRESHOLD, WIDTH, DETACH)
        for t in tl.static_range(STEPS):
            total += slopes[t]
            total_product += slopes[t] * centred[t]
    _store_sums(sums, total, channel, is_channel, channels)
    _store_sums(products, total_product, channel, is_channel, channels)


@triton.jit
def backward(
        x, x_step: tl.int64, mean, gain, bias, gradient, gradient_step: tl.int64, slope, offset,
        result, result_step: tl.int64,
        rows, channels, inner,
        STEPS: tl.constexpr, NORMALISED: tl.constexpr, DECAY: tl.constexpr,
        THRESHOLD: tl.constexpr, WIDTH: tl.constexpr, DETACH: tl.constexpr,
        BLOCK_R: tl.constexpr, BLOCK_C: tl.constexpr):
    """
    Write the gradient of the currents.

    It is ``gain * dy + slope * (x - mean) + offset``, where dy is that of the normalised currents,
    or just dy if nothing is NORMALISED.

    :param x: see ``forward``; ``mean``, ``gain`` and ``bias`` alike.
    :param gradient: of the spikes, as ``x`` in memory.
    :param slope: [channels], how the variance of the batch depends on x; ``offset``, its mean.
    :param result: as ``x`` in memory.
    """
    channel, is_channel = _channels(channels, BLOCK_C)
    place, inside = _places(0, 1, channel, is_channel, rows, channels, inner, BLOCK_R)
    centred, membranes = _membranes(
        x + place, x_step, mean, gain, bias, channel, is_channel, inside,
        STEPS, NORMALISED, DECAY, THRESHOLD)
    slopes = _membrane_gradients(
        membranes, gradient + place, gradient_step, inside, STEPS, DECAY, THRESHOLD, WIDTH, DETACH)
    if NORMALISED:
        factor = _of_channels(gain, channel, is_channel, inside)
        tilt = _of_channels(slope, channel, is_channel, inside)
        rest = _of_channels(offset, channel, is_channel, inside)
    for t in tl.static_range(STEPS):
        value = slopes[t]
        if NORMALISED:
            value = value * factor + (centred[t] * tilt + rest)
        tl.store(result + t * result_step + place, value.to(result.dtype.element_ty), mask=inside)


@triton.jit
def _membranes(
        x, x_step, mean, gain, bias, channel, is_channel, inside,
        STEPS: tl.constexpr, NORMALISED: tl.constexpr, DECAY: tl.constexpr,
        THRESHOLD: tl.constexpr):
    """
    Integrate, leak and fire.

    :param x: pointers to the currents of the first step, [BLOCK_R, BLOCK_C].
    :returns: ``x - mean`` of each step (``x`` if it is not NORMALISED), and the membranes.
    """
    if NORMALISED:
        middle = _of_channels(mean, channel, is_channel, inside)
        factor = _of_channels(gain, channel, is_channel, inside)
        start = _of_channels(bias, channel, is_channel, inside)
    centred = ()
    membranes = ()
    for t in tl.static_range(STEPS):
        current = _real(tl.load(x + t * x_step, mask=inside, other=0))
        if NORMALISED:
            current -= middle
        centred = centred + (current,)
        if NORMALISED:
            current = tl.fma(current, factor, start)
        if t > 0:
            last = membranes[t - 1]
            left = tl.where(last > THRESHOLD, 0.0, last)
            current = tl.fma(left, tl.full(left.shape, DECAY, left.dtype), current)
        membranes = membranes + (current,)
    return centred, membranes


@triton.jit
def _membrane_gradients(
        membranes, gradient, gradient_step, inside,
        STEPS: tl.constexpr, DECAY: tl.constexpr, THRESHOLD: tl.constexpr, WIDTH: tl.constexpr,
        DETACH: tl.constexpr):
    """
    Go back in time.

    :param gradient: pointers to that of the first step's spikes, [BLOCK_R, BLOCK_C].
    :returns: the gradient of the membranes, so of the currents, of each step.
    """
    slopes = ()
    later = tl.zeros_like(membranes[0])
    for t in tl.static_range(STEPS - 1, -1, -1):
        membrane = membranes[t]
        at_spike = _real(tl.load(gradient + t * gradient_step, mask=inside, other=0))
        if not DETACH:
            at_spike -= DECAY * later * membrane
        in_window = (membrane > THRESHOLD - WIDTH / 2) & (membrane < THRESHOLD + WIDTH / 2)
        later = tl.where(membrane > THRESHOLD, 0.0, later * DECAY)
        later += tl.where(in_window, at_spike * (1 / WIDTH), 0.0)
        slopes = (later,) + slopes
    return slopes


@triton.jit
def _real(x):
    """Return a tile in the type of all arithmetic: float32, or float64 where it comes as that."""
    if x.dtype == tl.float64:
        return x
    else:
        return x.to(tl.float32)


@triton.jit
def _channels(channels, BLOCK_C: tl.constexpr):
    """Return the channels of this program, [1, BLOCK_C], and which of them exist."""
    channel = tl.program_id(1) * BLOCK_C + tl.arange(0, BLOCK_C)[None, :]
    return channel, channel < channels


@triton.jit
def _places(
        tile, tiles, channel, is_channel, rows, channels, inner, BLOCK_R: tl.constexpr):
    """Return where a tile lies within a step, [BLOCK_R, BLOCK_C], and which values exist."""
    row = (tl.program_id(0) * tiles + tile) * BLOCK_R + tl.arange(0, BLOCK_R)[:, None]
    place = ((row // inner).to(tl.int64) * channels + channel) * inner + row % inner
    return place, (row < rows) & is_channel


@triton.jit
def _of_channels(values, channel, is_channel, inside):
    """Read one value a channel, and repeat it over the rows."""
    return tl.broadcast_to(tl.load(values + channel, mask=is_channel, other=0), inside.shape)


@triton.jit
def _store_sums(sums, values, channel, is_channel, channels):
    """Write this program's row of sums."""
    total = tl.sum(values, 0)[None, :]
    tl.store(sums + tl.program_id(0) * channels + channel, total, mask=is_channel)
