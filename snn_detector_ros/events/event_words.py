# SPDX-License-Identifier: Apache-2.0
"""
Streams of words that hold a whole event: EVT2 and EVT2.1, without loops over words.

EVT2.1 is EVT2 with a mask of 32 columns in the other half of each word. The definition that the
compiled decoder must equal.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from snn_detector_ros.events.types import TRIGGER, Events, Registers, select_events

ON, TIME_HIGH, EXT_TRIGGER = 0x1, 0x8, 0xA
#: Events of both polarities, and what is known and holds nothing for us: IMU, OTHER, CONTINUED.
KNOWN = (0x0, ON, TIME_HIGH, EXT_TRIGGER, 0xD, 0xE, 0xF)


@dataclass(frozen=True)
class Layout:
    """
    Where the parts of a word are, counted in 32-bit halves.

    :param halves: of a word.
    :param event: half that holds what EVT2 has.
    :param mask: half that holds the mask; -1 where there is none.
    """

    halves: int
    event: int
    mask: int


EVT2 = Layout(halves=1, event=0, mask=-1)
EVT21 = Layout(halves=2, event=1, mask=0)
EVT21_LEGACY = Layout(halves=2, event=0, mask=1)


def decode_event_words(
    data: memoryview, registers: Registers, layout: Layout,
) -> tuple[Events, Events]:
    """
    Decode whole words.

    :param data: bytes, a multiple of the word's size.
    :param registers: REGISTERS, 0-d; is brought up to date.
    :returns: EVENT [N], TRIGGER [M].
    """
    halves = np.frombuffer(data, '<u4').reshape(-1, layout.halves).astype(np.int64)
    words = halves[:, layout.event]
    codes = words >> 28

    is_high = codes == TIME_HIGH
    highs = words[is_high] & 0xfffffff
    before = np.append(registers['high'], highs)[:len(highs)]
    # Wrapped, if it fell by more than half of its range.
    origins = registers['origin'] + (np.cumsum(before - highs > 1 << 27) << 34)
    index = np.cumsum(is_high)
    t = np.append(registers['origin'] + (registers['high'] << 6), origins + (highs << 6))[index]
    t += words >> 22 & 63
    known = (index > 0) | (registers['high_known'] > 0)

    is_event = codes <= ON
    if layout.mask < 0:
        word, bit = np.flatnonzero(is_event), np.int64(0)
    else:
        masks = np.where(is_event, halves[:, layout.mask], 0)
        word, bit = np.nonzero(masks[:, None] >> np.arange(32) & 1)
    placed = known[word]
    x = (words[word] >> 11 & 0x7ff) + bit
    word, x = word[placed], x[placed]
    events = select_events(x, words[word] & 0x7ff, codes[word], t[word], registers)

    is_trigger = codes == EXT_TRIGGER
    timed = np.flatnonzero(is_trigger & known)
    triggers = np.empty(len(timed), TRIGGER)
    triggers['id'], triggers['p'] = words[timed] >> 8 & 31, words[timed] & 1
    triggers['t'] = t[timed]

    registers['unknown_words'] += np.count_nonzero(~np.isin(codes, KNOWN))
    registers['cold_start'] += (
        np.count_nonzero(~placed) + np.count_nonzero(is_trigger) - len(timed))
    if len(highs):
        registers['origin'], registers['high'], registers['high_known'] = origins[-1], highs[-1], 1
    return events, triggers
