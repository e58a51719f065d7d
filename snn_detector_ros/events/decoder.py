# SPDX-License-Identifier: Apache-2.0
"""
The interface of all decoders, and what they share: registers, cut words, counters.

A decoder belongs to one stream: one topic, encoding and sensor size. Whatever bytes arrive, it
raises nothing: what makes no sense is skipped and counted.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from snn_detector_ros.errors import ConfigurationError
from snn_detector_ros.events.types import (
    TRIGGER,
    DecoderCounters,
    Events,
    new_registers,
)

if TYPE_CHECKING:
    from typing_extensions import Buffer


class EventDecoder(ABC):
    """
    Turn the bytes of one event stream into events.

    :param width: of the sensor in px.
    :param height: of the sensor in px.
    :raises ConfigurationError: if the sensor has no pixels, or more than events can address.
    """

    #: As in ``EventPacket.encoding``.
    encoding: ClassVar[str]
    #: Bytes of a word, or of an event.
    word_size: ClassVar[int]
    #: Times count from the packet's ``time_base``: packets stand for themselves. Otherwise the
    #: stream may be cut anywhere, even within a word.
    timed_by_packet: ClassVar[bool] = False

    def __init__(self, width: int, height: int) -> None:
        if not (0 < width <= 32768 and 0 < height <= 32768):
            raise ConfigurationError(
                f'sensor size {width}x{height}: width and height must lie in 1..32768 px')
        self.width, self.height = width, height
        self._counts = dict.fromkeys(
            ('packets', 'words', 'events', 'triggers', 'lost_packets', 'lost_bytes'), 0)
        self._registers = new_registers(width, height)
        self._tail = b''
        self._triggers = np.empty(0, TRIGGER)

    def decode(self, data: Buffer, time_base: int = 0) -> Events:
        """
        Decode the next bytes of the stream.

        :param data: any contiguous bytes, for example ``EventPacket.events``; is not changed, and
            must not change meanwhile.
        :param time_base: ``EventPacket.time_base`` in ns; only for encodings timed by packet.
        :returns: EVENT [N] in the order of the stream, in memory of its own.
        """
        words = self._whole_words(data)
        events, self._triggers = self._decode_words(words, time_base)
        self._counts['packets'] += 1
        self._counts['words'] += len(words) // self.word_size
        self._counts['events'] += len(events)
        self._counts['triggers'] += len(self._triggers)
        return events

    def note_gap(self, lost_packets: int = 1) -> None:
        """
        Tell that packets were lost before the next one, as a gap in ``EventPacket.seq`` shows.

        The time is kept; events are skipped until their row, or the base of their vector, is known
        again.
        """
        self._counts['lost_packets'] += lost_packets
        self._drop_tail()
        self._registers['row'] = self._registers['base'] = -1

    def reset(self) -> None:
        """Forget the stream, for example when time has jumped back; counters go on."""
        self._drop_tail()
        old, self._registers = self._registers, new_registers(self.width, self.height)
        for name in ('unknown_words', 'out_of_range', 'cold_start'):
            self._registers[name] = old[name]
        self._triggers = np.empty(0, TRIGGER)

    @property
    def triggers(self) -> Events:
        """The trigger edges of the last packet, TRIGGER [N]."""
        return self._triggers

    @property
    def counters(self) -> DecoderCounters:
        """All that was seen so far."""
        return DecoderCounters(**self._counts, **{
            name: int(self._registers[name])
            for name in ('unknown_words', 'out_of_range', 'cold_start')})

    @abstractmethod
    def _decode_words(self, words: memoryview, time_base: int) -> tuple[Events, Events]:
        """Return the events and triggers of whole words."""

    def _whole_words(self, data: Buffer) -> memoryview:
        view = memoryview(data)
        if not view.nbytes:
            return memoryview(b'')
        view = view.cast('B')
        if self._tail or not view.readonly:
            # A copy that nobody can change while it is decoded.
            view = memoryview(self._tail + bytes(view))
            self._tail = b''
        whole = len(view) - len(view) % self.word_size
        if whole < len(view):
            self._tail = bytes(view[whole:])
            if self.timed_by_packet:
                self._drop_tail()
        return view[:whole]

    def _drop_tail(self) -> None:
        self._counts['lost_bytes'] += len(self._tail)
        self._tail = b''
