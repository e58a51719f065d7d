# SPDX-License-Identifier: Apache-2.0
"""Decoders of streams of records of one size: libcaer, mono, Prophesee DAT, arrays of events."""

from __future__ import annotations

import numpy as np

from snn_detector_ros.events.decoder import EventDecoder
from snn_detector_ros.events.types import TRIGGER, Events, select_events

NO_TRIGGERS = np.empty(0, TRIGGER)


class LibcaerDecoder(EventDecoder):
    """
    libcaer: polarity events as the library keeps them, 8 bytes each.

    Times count from the packet's ``time_base``; within a packet a time that falls has wrapped at
    2^31 us. Events that the library marks as invalid count as unknown words.
    """

    encoding = 'libcaer'
    word_size = 8
    timed_by_packet = True

    def _decode_words(self, words: memoryview, time_base: int) -> tuple[Events, Events]:
        data, stamps = np.frombuffer(words, '<u4').reshape(-1, 2).T
        t = (stamps & 0x7fffffff).astype(np.int64)
        t[1:] += np.cumsum(t[1:] < t[:-1]) << 31
        valid = (data & 1).astype(bool)
        if not valid.all():
            self._registers['unknown_words'] += np.count_nonzero(~valid)
            data, t = data[valid], t[valid]
        return select_events(
            data >> 17, data >> 2 & 0x7fff, data >> 1 & 1, t + time_base // 1000, self._registers,
        ), NO_TRIGGERS


class MonoDecoder(EventDecoder):
    """mono: 64 bits an event; times in ns count from the packet's ``time_base``."""

    encoding = 'mono'
    word_size = 8
    timed_by_packet = True

    def _decode_words(self, words: memoryview, time_base: int) -> tuple[Events, Events]:
        dt, address = np.frombuffer(words, '<u4').reshape(-1, 2).T
        # The sum of both in ns may need 65 bits.
        t = time_base // 1000 + (time_base % 1000 + dt.astype(np.int64)) // 1000
        return select_events(
            address & 0xffff, address >> 16 & 0x7fff, address >> 31, t, self._registers,
        ), NO_TRIGGERS


class DatDecoder(EventDecoder):
    """DAT, version 2: 8 bytes an event; the time of 32 bits is carried on across its wrap."""

    encoding = 'dat'
    word_size = 8

    def _decode_words(self, words: memoryview, time_base: int) -> tuple[Events, Events]:
        stamps, address = np.frombuffer(words, '<u4').reshape(-1, 2).T
        low = stamps.astype(np.int64)
        before = np.append(self._registers['low'], low)[:len(low)]
        # Wrapped, if it fell by more than half of its range.
        origin = self._registers['origin'] + (np.cumsum(before - low > 1 << 31) << 32)
        if len(low):
            self._registers['low'], self._registers['origin'] = low[-1], origin[-1]
        return select_events(
            address & 0x3fff, address >> 14 & 0x3fff, address >> 28 & 1, origin + low,
            self._registers,
        ), NO_TRIGGERS


class EventArrayDecoder(EventDecoder):
    """
    The events of a `dvs_msgs/EventArray` as they lie in the message, 16 bytes each.

    A name of ours, not of `EventPacket`; see :func:`.packets.read_event_array`. Times are absolute.
    """

    encoding = 'event_array'
    word_size = 16
    timed_by_packet = True

    _RECORD = np.dtype({
        'names': ['x', 'y', 'sec', 'nanosec', 'p'], 'formats': ['<u2', '<u2', '<i4', '<u4', 'u1'],
        'offsets': [0, 2, 6, 10, 14], 'itemsize': 16})

    def _decode_words(self, words: memoryview, time_base: int) -> tuple[Events, Events]:
        records = np.frombuffer(words, self._RECORD)
        t = records['sec'].astype(np.int64) * 1_000_000 + records['nanosec'] // 1000
        return select_events(
            records['x'], records['y'], records['p'] != 0, t, self._registers), NO_TRIGGERS
