# SPDX-License-Identifier: Apache-2.0
"""Decode streams with registers: in C where the compiled module is there, else in numpy."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from snn_detector_ros.events.address_words import EVT3, LIBCAER_CMP, decode_address_words
from snn_detector_ros.events.event_words import EVT2, EVT21, EVT21_LEGACY, decode_event_words
from snn_detector_ros.events.types import EVENT, TRIGGER, Events, Registers

try:
    from snn_detector_ros import _events
except ImportError:
    _events = None  # type: ignore[assignment]

HAVE_NATIVE = _events is not None
#: Words that the numpy twins take at a time, so that their temporaries stay small.
CHUNK = 1 << 14


@dataclass(frozen=True)
class Form:
    """
    How a stream lays out its words.

    :param name: of the form in the compiled module.
    :param word_size: bytes.
    :param decode_numpy: decodes whole words; the definition that the compiled module equals.
    """

    name: str
    word_size: int
    decode_numpy: Callable[[memoryview, Registers], tuple[Events, Events]]


FORMS = {form.name: form for form in (
    Form('EVT3', 2, lambda words, registers: decode_address_words(words, registers, EVT3)),
    Form('LIBCAER_CMP', 2,
         lambda words, registers: decode_address_words(words, registers, LIBCAER_CMP)),
    Form('EVT2', 4, lambda words, registers: decode_event_words(words, registers, EVT2)),
    Form('EVT21', 8, lambda words, registers: decode_event_words(words, registers, EVT21)),
    Form('EVT21_LEGACY', 8,
         lambda words, registers: decode_event_words(words, registers, EVT21_LEGACY)),
)}


def decode_words_numpy(
    form: Form, words: memoryview, registers: Registers,
) -> tuple[Events, Events]:
    """Decode without the compiled module; see :func:`decode_words`."""
    size = CHUNK * form.word_size
    parts = [form.decode_numpy(words[start:start + size], registers)
             for start in range(0, len(words), size)]
    if not parts:
        return np.empty(0, EVENT), np.empty(0, TRIGGER)
    events, triggers = zip(*parts, strict=True)
    return np.concatenate(events), np.concatenate(triggers)


def decode_words(form: Form, words: memoryview, registers: Registers) -> tuple[Events, Events]:
    """
    Decode whole words.

    :param words: bytes, a multiple of ``form.word_size``.
    :param registers: REGISTERS, 0-d; is brought up to date.
    :returns: EVENT [N], TRIGGER [M].
    """
    if _events is None:
        return decode_words_numpy(form, words, registers)
    events, triggers = _events.decode(getattr(_events, form.name), words, registers)
    return np.frombuffer(events, EVENT), np.frombuffer(triggers, TRIGGER)
