# SPDX-License-Identifier: Apache-2.0
"""
Convolutions of the picture, rewritten for more channels; the sums stay the same.

The runtime gathers the cells of a window channel by channel, and three channels of a byte are the
worst case. A stem of stride 2 reads the picture as 2x2 blocks, which the engine makes while it
copies the picture. A stem of stride 1 reads neighbouring columns as one and computes as many
columns at once: both are the same bytes in the same order, under another shape.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from snn_detector_ros.network import IMAGE, Convolution, Shape, SpikingNetwork

#: Columns that a stem of stride 1 reads as one, best first.
COLUMNS = (4, 2)
#: From so many channels on, a picture is read fast as it is.
ENOUGH_CHANNELS = 8


def reads_blocks(network: SpikingNetwork, input_size: tuple[int, int]) -> bool:
    """Return whether the picture must be given as 2x2 blocks (space to depth)."""
    stems = [conv for conv in network.convolutions if conv.source == IMAGE]
    return (not any(side % 2 for side in input_size)
            and all(stem.stride == (2, 2) and stem.groups == 1 and not stem.is_readout
                    for stem in stems))


def block_stem(stem: Convolution, shapes: dict[str, Shape]) -> Convolution:
    """
    Rewrite a stem of stride 2 for a picture of 2x2 blocks; the sums stay the same.

    With ``p`` cells of padding, tap ``k`` reads row ``2i + k - p``. Shifting the taps by
    ``e = p mod 2`` makes the padding whole blocks: row ``2 (i - (p + e) / 2) + (k + e)``.
    """
    count, channels, *kernel = stem.weight.shape
    starts, blocks, ends = [], [], []
    for axis in (0, 1):
        before = (stem.padding[axis] + 1) // 2
        taps = (kernel[axis] + stem.padding[axis] % 2 + 1) // 2
        out, cells = shapes[stem.name][axis], shapes[IMAGE][axis] // 2
        starts.append(before)
        blocks.append(taps)
        ends.append(out - 1 + taps - before - cells)  # what the last window needs past the end
    weight = np.zeros((count, channels, 2 * blocks[0], 2 * blocks[1]), dtype=np.int8)
    row, column = stem.padding[0] % 2, stem.padding[1] % 2
    weight[:, :, row:row + kernel[0], column:column + kernel[1]] = stem.weight
    weight = weight.reshape(count, channels, blocks[0], 2, blocks[1], 2)
    weight = weight.transpose(0, 3, 5, 1, 2, 4).reshape(count, 4 * channels, *blocks)
    return replace(stem, weight=np.ascontiguousarray(weight), stride=(1, 1),
                   padding=(starts[0], starts[1], ends[0], ends[1]))


def column_stem(stem: Convolution, shapes: dict[str, Shape]) -> Convolution | None:
    """
    Rewrite a stem of stride 1 for columns joined in groups; None where that does not fit.

    With ``f`` columns joined and ``p`` cells of padding, tap ``k`` of output column ``f j + i``
    reads column ``f j + i + k - p``, which lies in group ``j + (i + k - p) div f``.

    :returns: a convolution of pictures [H, W / f, f C] to levels [h, w / f, f Cout].
    """
    count, channels, rows, taps = stem.weight.shape
    width, out = shapes[IMAGE][1], shapes[stem.name][1]
    for columns in COLUMNS:
        before = -(-stem.padding[1] // columns)
        last = (columns - 1 + taps - 1 - stem.padding[1]) // columns
        after = out // columns + last - width // columns
        if (stem.stride == (1, 1) and stem.groups == 1 and channels < ENOUGH_CHANNELS
                and width % columns == 0 and out % columns == 0 and after >= 0):
            break
    else:
        return None
    weight = np.zeros((columns, count, columns, channels, rows, before + last + 1), dtype=np.int8)
    for column in range(columns):
        for tap in range(taps):
            group, read = divmod(column + tap - stem.padding[1], columns)
            weight[column, :, read, :, :, before + group] = stem.weight[:, :, :, tap]
    assert stem.threshold is not None
    return replace(
        stem, weight=weight.reshape(columns * count, columns * channels, rows, -1),
        bias=np.tile(stem.bias, columns), threshold=np.tile(stem.threshold, columns),
        padding=(stem.padding[0], before, stem.padding[2], after))
