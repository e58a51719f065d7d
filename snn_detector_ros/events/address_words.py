# SPDX-License-Identifier: Apache-2.0
"""
Streams of 16-bit words that set one register each: EVT3 and libcaer_cmp, without loops over words.

A word holds a code in bits 15..12 and its payload below. The definition that the compiled decoder
must equal.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from snn_detector_ros.events.types import TRIGGER, Events, Registers, select_events

#: A smaller step back of the high time is jitter, not a wrap (as event_camera_codecs has it).
MOST_JITTER = 10


@dataclass(frozen=True)
class Dialect:
    """
    The codes of an encoding; -1 where it has no such word.

    :param row: sets the row (bits 10..0), the coordinate that many events share.
    :param column: one event: column in bits 10..0, polarity in bit 11.
    :param base: sets first column and polarity of the vectors that follow.
    :param vector12: events at the columns base + i for the set bits i; base moves on by 12.
    :param vector8: the same with 8.
    :param ignored: codes that are known and hold nothing for us.
    :param columns_are_y: rows are x, and columns y.
    :param wraps: the 24-bit time runs on across packets.
    """

    row: int
    column: int
    base: int
    vector12: int
    vector8: int
    time_low: int
    time_high: int
    trigger: int
    ignored: tuple[int, ...]
    columns_are_y: bool
    wraps: bool


EVT3 = Dialect(
    row=0x0, column=0x2, base=0x3, vector12=0x4, vector8=0x5, time_low=0x6, time_high=0x8,
    trigger=0xA, ignored=(0x7, 0xE, 0xF), columns_are_y=False, wraps=True)
LIBCAER_CMP = Dialect(
    row=0x2, column=0x3, base=0x4, vector12=-1, vector8=0x5, time_low=0x1, time_high=0x0,
    trigger=-1, ignored=(), columns_are_y=True, wraps=False)


def held(sets: NDArray[np.bool_], values: NDArray[Any], initial: int) -> NDArray[np.int64]:
    """Return for each word what the last word with ``sets`` said, itself included, int64 [N]."""
    return np.append(np.int64(initial), values[sets])[np.cumsum(sets)]


def decode_address_words(
    data: memoryview, registers: Registers, dialect: Dialect,
) -> tuple[Events, Events]:
    """
    Decode whole words.

    :param data: bytes, a multiple of 2.
    :param registers: REGISTERS, 0-d; is brought up to date.
    :returns: EVENT [N], TRIGGER [M].
    """
    words = np.frombuffer(data, '<u2').astype(np.int64)
    codes, payload = words >> 12, words & 0xfff
    t, time_known = _times(codes, payload, registers, dialect)
    row = held(codes == dialect.row, words & 0x7ff, int(registers['row']))
    first, polarity, bits = _vectors(codes, payload, registers, dialect)

    word, bit = np.nonzero(bits[:, None] >> np.arange(12) & 1)
    placed = (time_known & (row >= 0) & (first >= 0))[word]
    word, bit = word[placed], bit[placed]
    column = first[word] + bit
    x, y = (row[word], column) if dialect.columns_are_y else (column, row[word])
    events = select_events(x, y, polarity[word], t[word], registers)

    is_trigger = codes == dialect.trigger
    timed = np.flatnonzero(is_trigger & time_known)
    triggers = np.empty(len(timed), TRIGGER)
    triggers['id'], triggers['p'], triggers['t'] = payload[timed] >> 8, payload[timed] & 1, t[timed]

    known = (*(code for code in vars(dialect).values() if type(code) is int), *dialect.ignored)
    registers['unknown_words'] += np.count_nonzero(~np.isin(codes, known))
    registers['cold_start'] += (
        np.count_nonzero(~placed) + np.count_nonzero(is_trigger) - len(timed))
    if len(words):
        registers['row'] = row[-1]
    return events, triggers


def _times(
    codes: NDArray[np.int64], payload: NDArray[np.int64], registers: Registers, dialect: Dialect,
) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Return the time at each word in us, and whether it is known."""
    is_high, is_low = codes == dialect.time_high, codes == dialect.time_low
    highs = payload[is_high]
    before = np.append(registers['high'], highs)[:len(highs)]
    wraps = np.cumsum(before - highs > MOST_JITTER) if dialect.wraps else np.zeros_like(highs)
    origins = registers['origin'] + (wraps << 24)
    index = np.cumsum(is_high)
    low = held(is_low, payload, int(registers['low']))
    t = np.append(registers['origin'] + (registers['high'] << 12), origins + (highs << 12))[index]
    high_known = (index > 0) | (registers['high_known'] > 0)
    time_known = (np.cumsum(is_low & high_known) > 0) | (registers['time_known'] > 0)
    if len(highs):
        registers['origin'], registers['high'], registers['high_known'] = origins[-1], highs[-1], 1
    if len(codes):
        registers['low'], registers['time_known'] = low[-1], time_known[-1]
    return t + low, time_known


def _vectors(
    codes: NDArray[np.int64], payload: NDArray[np.int64], registers: Registers, dialect: Dialect,
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """
    Return first column (-1 while unknown), polarity and bits of each word's events.

    Single events are vectors of one bit, so that both come out in the order of the stream.
    """
    is_base, is_column = codes == dialect.base, codes == dialect.column
    is_12, is_8 = codes == dialect.vector12, codes == dialect.vector8
    after = np.cumsum(12 * is_12 + 8 * is_8)
    start = after - (12 * is_12 + 8 * is_8)
    known = (np.cumsum(is_base) > 0) | (registers['base'] >= 0)
    base = held(is_base, (payload & 0x7ff) - start, int(registers['base'])) + start
    polarity = held(is_base, payload >> 11, int(registers['polarity']))
    if len(codes):
        is_vector = is_12[-1] or is_8[-1]
        end = base[-1] + (after[-1] - start[-1] if is_vector else 0)
        registers['base'] = end if known[-1] else -1
        registers['polarity'] = polarity[-1]
    bits = np.select([is_12, is_8, is_column], [payload, payload & 0xff, np.ones_like(payload)], 0)
    first = np.where(is_column, payload & 0x7ff, np.where(known, base, -1))
    return first, np.where(is_column, payload >> 11, polarity), bits
