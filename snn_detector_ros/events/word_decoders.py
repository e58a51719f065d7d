# SPDX-License-Identifier: Apache-2.0
"""Decoders of streams with registers: EVT3, EVT2 and EVT2.1 of Prophesee, and libcaer_cmp."""

from __future__ import annotations

from typing import ClassVar

from snn_detector_ros.events.decoder import EventDecoder
from snn_detector_ros.events.types import Events
from snn_detector_ros.events.words import FORMS, Form, decode_words


class WordDecoder(EventDecoder):
    """A decoder whose words are read one after the other, each in the light of those before."""

    form: ClassVar[Form]

    def _decode_words(self, words: memoryview, time_base: int) -> tuple[Events, Events]:
        return decode_words(self.form, words, self._registers)


class Evt3Decoder(WordDecoder):
    """
    EVT3: 16-bit words that set time, row or base, or are events or vectors of them.

    Sensor time of 24 bits, carried on across its wrap every 16.8 s: a high time that is smaller
    than the last by more than 10 steps has wrapped. Events count from the first TIME_LOW after a
    TIME_HIGH.
    """

    encoding = 'evt3'
    word_size = 2
    form = FORMS['EVT3']


class Evt2Decoder(WordDecoder):
    """
    EVT2: 32-bit words that are whole events but for the upper bits of their time.

    Sensor time of 34 bits, carried on across its wrap every 4 h 46 min. Events count from the first
    TIME_HIGH.
    """

    encoding = 'evt2'
    word_size = 4
    form = FORMS['EVT2']


class Evt21Decoder(WordDecoder):
    """EVT2.1: as EVT2, in 64-bit words, with a mask of 32 neighbours in the lower half."""

    encoding = 'evt21'
    word_size = 8
    form = FORMS['EVT21']


class Evt21LegacyDecoder(WordDecoder):
    """EVT2.1 with the halves of its words swapped, as RAW files with ``endianness=legacy``."""

    encoding = 'evt21_legacy'
    word_size = 8
    form = FORMS['EVT21_LEGACY']


class LibcaerCmpDecoder(WordDecoder):
    """
    libcaer_cmp: as EVT3 with x and y in each other's place, and codes of its own.

    Times count from the packet's ``time_base``; column, base and polarity persist.
    """

    encoding = 'libcaer_cmp'
    word_size = 2
    timed_by_packet = True
    form = FORMS['LIBCAER_CMP']

    def _decode_words(self, words: memoryview, time_base: int) -> tuple[Events, Events]:
        registers = self._registers
        registers['origin'] = time_base // 1000
        registers['high'] = registers['low'] = 0
        registers['high_known'] = registers['time_known'] = 1
        return super()._decode_words(words, time_base)
