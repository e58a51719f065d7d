# SPDX-License-Identifier: Apache-2.0
"""
What decoders give, and what they remember from packet to packet.

The memory layouts are shared with the compiled decoders (``_events.c``).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

#: A change of brightness at pixel (x, y): p is 1 for brighter, 0 for darker; t is the time in us.
EVENT = np.dtype([('x', 'u2'), ('y', 'u2'), ('p', 'i1'), ('t', 'i8')], align=True)
#: An edge at the trigger input ``id``: p is the edge bit, 1 for rising; t is the time in us.
TRIGGER = np.dtype([('id', 'u1'), ('p', 'i1'), ('t', 'i8')], align=True)
#: What a stream says once for many events. Times in us: t = origin + high and low, as the encoding
#: puts them together. ``row`` and ``base`` (of a vector) are -1 while unknown.
REGISTERS = np.dtype([(name, 'i8') for name in (
    'width', 'height', 'origin', 'high', 'low', 'high_known', 'time_known', 'row', 'base',
    'polarity', 'unknown_words', 'out_of_range', 'cold_start')])

Events = NDArray[np.void]
Registers = NDArray[np.void]


@dataclass(frozen=True)
class DecoderCounters:
    """
    What a decoder has seen since it was made.

    :param packets: calls of ``decode``.
    :param words: whole words read.
    :param events: events given out.
    :param triggers: trigger edges given out.
    :param unknown_words: words that the encoding does not define, or marks as invalid; skipped.
    :param out_of_range: events beyond the sensor's width or height; skipped.
    :param cold_start: events and triggers whose time, row or base was not known yet, at the start
        of a stream or after lost packets; skipped.
    :param lost_packets: packets that :meth:`EventDecoder.note_gap` was told of.
    :param lost_bytes: bytes of words that were cut off and whose rest never came.
    """

    packets: int = 0
    words: int = 0
    events: int = 0
    triggers: int = 0
    unknown_words: int = 0
    out_of_range: int = 0
    cold_start: int = 0
    lost_packets: int = 0
    lost_bytes: int = 0


def new_registers(width: int, height: int) -> Registers:
    """Return the registers of a stream of which nothing has been seen, a 0-d array."""
    registers = np.zeros((), REGISTERS)
    registers['width'], registers['height'] = width, height
    registers['row'] = registers['base'] = -1
    return registers


def select_events(
    x: NDArray[Any], y: NDArray[Any], p: NDArray[Any], t: NDArray[np.int64], registers: Registers,
) -> Events:
    """
    Put events together; leave out, and count, those beyond the sensor.

    :param x: columns, [N]; ``y``, ``p`` and ``t`` alike.
    :returns: EVENT [<= N].
    """
    inside = (x < registers['width']) & (y < registers['height'])
    events = np.empty(int(np.count_nonzero(inside)), EVENT)
    for name, values in (('x', x), ('y', y), ('p', p), ('t', t)):
        events[name] = values[inside] if len(events) < len(inside) else values
    registers['out_of_range'] += len(inside) - len(events)
    return events
