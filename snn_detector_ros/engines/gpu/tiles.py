# SPDX-License-Identifier: Apache-2.0
"""
Which part of a layer one block of threads computes.

Chosen on paper, from the registers and the shared memory that the compiler reports, and never tuned
on a GPU. Large tiles reuse what they load; small ones give small layers enough blocks to fill the
chip.
"""

from __future__ import annotations

from dataclasses import dataclass

#: Blocks with which a large GPU is busy.
ENOUGH_BLOCKS = 128


@dataclass(frozen=True)
class Tile:
    """
    A tile of a convolution.

    :param pixels: rows of the matrix product; ``channels``: its columns.
    :param warps: of a block.
    :param stages: tiles in flight.
    """

    pixels: int
    channels: int
    warps: int
    stages: int


#: Largest first.
TILES = (Tile(128, 64, 8, 3), Tile(64, 64, 4, 4), Tile(128, 32, 4, 4), Tile(64, 32, 4, 4),
         Tile(32, 32, 4, 4), Tile(128, 16, 4, 4), Tile(32, 16, 2, 4))
#: Channels of the narrowest.
NARROWEST = 16
#: Of a convolution whose levels another multiplies at once: tensor cores take no fewer, and the
#: widest tile holds no more.
LEAST_TAIL_CHANNELS, MOST_TAIL_CHANNELS = 32, 64
#: Pixels and channels of a block of the kernels without weights.
RELAY = (32, 32)
#: Pixels of a block of the kernel that fits the picture.
PIXELS = 256
#: Bytes of levels that are multiplied at once, where a pixel has fewer, and where it has more.
DEPTHS = (32, 64)


def choose_tile(pixels: int, channels: int) -> Tile:
    """Return the largest tile that is not mostly empty and leaves enough blocks."""
    fitting = [tile for tile in TILES if tile.channels < 2 * max(channels, NARROWEST)]
    return next((tile for tile in fitting
                 if blocks(pixels, tile.pixels) * blocks(channels, tile.channels) >= ENOUGH_BLOCKS),
                fitting[-1])


def choose_tail_tile(pixels: int, channels: int) -> Tile:
    """
    Return a tile that holds all channels of a convolution with a tail.

    :param channels: at most :data:`MOST_TAIL_CHANNELS`.
    """
    least = max(channels, LEAST_TAIL_CHANNELS)
    width = min(tile.channels for tile in TILES if tile.channels >= least)
    fitting = [tile for tile in TILES if tile.channels == width]
    return next((tile for tile in fitting if blocks(pixels, tile.pixels) >= ENOUGH_BLOCKS),
                fitting[-1])


def choose_depth(bytes_of_pixel: int) -> int:
    """Return how many bytes of a pixel are multiplied at once."""
    return DEPTHS[bytes_of_pixel > DEPTHS[0]]


def blocks(size: int, of: int) -> int:
    """Return how many blocks cover a size."""
    return -(-size // of)
