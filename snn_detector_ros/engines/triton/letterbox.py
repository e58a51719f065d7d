# SPDX-License-Identifier: Apache-2.0
"""The first launch of a frame: the camera's picture becomes the network's input."""

import triton
import triton.language as tl


@triton.jit
def letterbox(
        source, source_width, source_channels, blue, green, red,
        row_taps, column_taps,
        fit_height, fit_width, top, left, padding, x, x_pitch, height, width,
        BLOCK_M: tl.constexpr, BLOCKS: tl.constexpr):
    """
    Fit BLOCK_M pixels, exactly as ``engines.picture.fit_picture`` does.

    :param source: uint8 [source_height, source_width, source_channels].
    :param blue: byte of blue in a pixel of the source; ``green`` and ``red`` alike.
    :param row_taps: int32 [fit_height, 3], see ``Fit.rows``; ``column_taps`` alike.
    :param padding: grey value outside of the picture.
    :param x: int8, pixels less 128: [height, width, x_pitch], or, with BLOCKS, 2x2 pixels as
        channels of one, [height / 2, width / 2, x_pitch].
    """
    pixel = tl.program_id(0) * BLOCK_M + tl.arange(0, BLOCK_M)
    y, x_ = pixel // width, pixel % width
    exists = y < height
    row, col = y - top, x_ - left
    inside = exists & (row >= 0) & (row < fit_height) & (col >= 0) & (col < fit_width)
    up = tl.load(row_taps + row * 3, mask=inside, other=0) * source_width
    down = tl.load(row_taps + row * 3 + 1, mask=inside, other=0) * source_width
    along = tl.load(row_taps + row * 3 + 2, mask=inside, other=0)
    before = tl.load(column_taps + col * 3, mask=inside, other=0)
    behind = tl.load(column_taps + col * 3 + 1, mask=inside, other=0)
    across = tl.load(column_taps + col * 3 + 2, mask=inside, other=0)
    if BLOCKS:
        out = (((y // 2) * (width // 2) + x_ // 2) * x_pitch
               + ((y % 2) * 2 + x_ % 2) * 3)
    else:
        out = pixel * x_pitch
    for channel in range(3):
        byte = tl.where(channel == 0, blue, tl.where(channel == 1, green, red))
        first = _line(source, up, before, behind, across, source_channels, byte, inside)
        second = _line(source, down, before, behind, across, source_channels, byte, inside)
        value = ((((2048 - along) * first) >> 16) + ((along * second) >> 16) + 2) >> 2
        value = tl.where(inside, value, padding)
        tl.store(x + out + channel, (value - 128).to(tl.int8), mask=exists)


@triton.jit
def _line(source, line, before, behind, across, source_channels, byte, inside):
    """Interpolate between two pixels of a line; in units of 1 / 128."""
    first = tl.load(source + (line + before) * source_channels + byte, mask=inside, other=0)
    second = tl.load(source + (line + behind) * source_channels + byte, mask=inside, other=0)
    return (first.to(tl.int32) * (2048 - across) + second.to(tl.int32) * across) >> 4
