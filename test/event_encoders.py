# SPDX-License-Identifier: Apache-2.0
"""
Encoders of event streams, one event after the other, from the byte layouts alone.

Events are tuples (x, y, p, t), times in us. They share nothing with the decoders.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator

Event = tuple[int, int, int, int]


def evt3(events: Iterable[Event]) -> bytes:
    """16-bit words; time, row and address are sent when they change."""
    words, high, low, row = [], None, None, None
    for x, y, p, t in events:
        if high != t >> 12 & 0xfff:
            high, low = t >> 12 & 0xfff, None
            words.append(0x8000 | high)
        if low != t & 0xfff:
            low = t & 0xfff
            words.append(0x6000 | low)
        if row != y:
            row = y
            words.append(row)
        words.append(0x2000 | p << 11 | x)
    return struct.pack(f'<{len(words)}H', *words)


def evt3_vector(t: int, x: int, y: int, p: int, masks: Iterable[tuple[int, int]]) -> bytes:
    """A vector: pairs of (bits, 12 or 8)."""
    words = [0x8000 | t >> 12 & 0xfff, 0x6000 | t & 0xfff, y, 0x3000 | p << 11 | x]
    words += [(0x4000 if size == 12 else 0x5000) | bits for bits, size in masks]
    return struct.pack(f'<{len(words)}H', *words)


def evt2(events: Iterable[Event]) -> bytes:
    """32-bit words."""
    return b''.join(struct.pack('<I', word) for word in _evt2_words(events))


def _evt2_words(events: Iterable[Event]) -> Iterator[int]:
    high = None
    for x, y, p, t in events:
        if high != t >> 6 & 0xfffffff:
            high = t >> 6 & 0xfffffff
            yield 0x8 << 28 | high
        yield p << 28 | (t & 63) << 22 | x << 11 | y


def evt21(events: Iterable[Event], *, legacy: bool = False) -> bytes:
    """64-bit words; neighbours in a row with the same time and polarity share one."""
    groups: list[list[int]] = []
    for x, y, p, t in events:
        if groups:
            first, gy, gp, gt, mask = groups[-1]
            newest = mask.bit_length() - 1
            if (gy, gp, gt) == (y, p, t) and newest < x - first < 32:
                groups[-1][4] |= 1 << x - first
                continue
        groups.append([x, y, p, t, 1])
    words, high = [], None
    for x, y, p, t, mask in groups:
        if high != t >> 6 & 0xfffffff:
            high = t >> 6 & 0xfffffff
            words.append((0x8 << 28 | high) << 32)
        words.append((p << 28 | (t & 63) << 22 | x << 11 | y) << 32 | mask)
    if legacy:
        words = [word >> 32 | (word & 0xffffffff) << 32 for word in words]
    return struct.pack(f'<{len(words)}Q', *words)


def libcaer(events: Iterable[Event], time_base: int) -> bytes:
    """8 bytes an event; the low 31 bits of the time since time_base (ns)."""
    return b''.join(
        struct.pack('<II', x << 17 | y << 2 | p << 1 | 1, (t - time_base // 1000) & 0x7fffffff)
        for x, y, p, t in events)


def libcaer_cmp(events: Iterable[Event], time_base: int, *, vectors: bool = False) -> bytes:
    """16-bit words; x is sent when it changes, y with each event."""
    words: list[int] = []
    high, low, column = 0, 0, None
    for x, y, p, t in events:
        dt = t - time_base // 1000
        if high != dt >> 12:
            high = dt >> 12
            words.append(high)
        if low != dt & 0xfff:
            low = dt & 0xfff
            words.append(0x1000 | low)
        if column != x:
            column = x
            words.append(0x2000 | x)
        words += [0x4000 | p << 11 | y, 0x5001] if vectors else [0x3000 | p << 11 | y]
    return struct.pack(f'<{len(words)}H', *words)


def mono(events: Iterable[Event], time_base: int) -> bytes:
    """64 bits an event, times in ns since time_base."""
    return b''.join(
        struct.pack('<Q', p << 63 | y << 48 | x << 32 | (1000 * t - time_base))
        for x, y, p, t in events)


def dat(events: Iterable[Event]) -> bytes:
    """8 bytes an event, the low 32 bits of the time."""
    return b''.join(
        struct.pack('<II', t & 0xffffffff, p << 28 | y << 14 | x) for x, y, p, t in events)


def event_array(events: Iterable[Event]) -> bytes:
    """16 bytes an event: the fields of a `dvs_msgs/Event` with the padding between and behind."""
    return b''.join(
        struct.pack('<HHxxiIBx', x, y, t // 1_000_000, 1000 * (t % 1_000_000), p)
        for x, y, p, t in events)


def words16(*words: int) -> bytes:
    return struct.pack(f'<{len(words)}H', *words)


def words32(*words: int) -> bytes:
    return struct.pack(f'<{len(words)}I', *words)
