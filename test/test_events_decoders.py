# SPDX-License-Identifier: Apache-2.0
"""Each encoding is decoded exactly; what makes no sense is skipped and counted."""

from __future__ import annotations

import array
from collections.abc import Callable

import event_encoders as encode
import numpy as np
import pytest

from snn_detector_ros.errors import ConfigurationError
from snn_detector_ros.events import (
    DECODERS,
    EventDecoder,
    EventError,
    create_decoder,
)

WIDTH, HEIGHT = 640, 480
BASE = 1_700_000_000_123_456_000  # ns
Event = tuple[int, int, int, int]
#: Encoding -> (encoder, times count from BASE).
ENCODERS: dict[str, tuple[Callable[[list[Event]], bytes], bool]] = {
    'evt3': (encode.evt3, False),
    'evt2': (encode.evt2, False),
    'evt21': (encode.evt21, False),
    'evt21_legacy': (lambda events: encode.evt21(events, legacy=True), False),
    'libcaer': (lambda events: encode.libcaer(events, BASE), True),
    'libcaer_cmp': (lambda events: encode.libcaer_cmp(events, BASE), True),
    'mono': (lambda events: encode.mono(events, BASE), True),
    'dat': (encode.dat, False),
    'event_array': (encode.event_array, True),
}


def random_events(count: int, *, start: int, step: int = 3, seed: int = 0) -> list[Event]:
    rng = np.random.default_rng(seed)
    times = start + np.cumsum(rng.integers(0, step + 1, count))
    columns = (rng.integers(0, WIDTH, count), rng.integers(0, HEIGHT, count),
               rng.integers(0, 2, count), times)
    return [tuple(map(int, event)) for event in zip(*columns, strict=True)]  # type: ignore[misc]


def decoded(decoder: EventDecoder, data: bytes, time_base: int = 0) -> list[Event]:
    return [tuple(event) for event in decoder.decode(data, time_base).tolist()]


def test_every_encoding_is_tested() -> None:
    assert set(ENCODERS) == set(DECODERS)


@pytest.mark.parametrize('encoding', ENCODERS)
def test_events_come_back_exactly(encoding: str) -> None:
    encoder, relative = ENCODERS[encoding]
    events = random_events(5000, start=BASE // 1000 if relative else 4096)
    decoder = create_decoder(encoding, WIDTH, HEIGHT)
    assert decoded(decoder, encoder(events), BASE) == events
    counters = decoder.counters
    assert (counters.events, counters.packets, counters.unknown_words) == (5000, 1, 0)
    assert counters.out_of_range == counters.cold_start == counters.lost_bytes == 0


@pytest.mark.parametrize('encoding', ENCODERS)
def test_any_bytes_like_object_will_do(encoding: str) -> None:
    encoder, relative = ENCODERS[encoding]
    events = random_events(40, start=BASE // 1000 if relative else 4096)
    data = encoder(events)
    shifted = memoryview(b'!' + data)[1:]
    for form in (data, bytearray(data), shifted, array.array('B', data),
                 np.frombuffer(data, np.uint8)):
        decoder = create_decoder(encoding, WIDTH, HEIGHT)
        assert decoded(decoder, form, BASE) == events  # type: ignore[arg-type]
        assert decoder.decode(form[:0]).shape == (0,)  # type: ignore[arg-type]


@pytest.mark.parametrize('encoding', ENCODERS)
def test_events_beyond_the_sensor_are_skipped_and_counted(encoding: str) -> None:
    encoder, relative = ENCODERS[encoding]
    events = random_events(2000, start=BASE // 1000 if relative else 4096)
    decoder = create_decoder(encoding, 320, 200)
    inside = [event for event in events if event[0] < 320 and event[1] < 200]
    assert decoded(decoder, encoder(events), BASE) == inside
    assert decoder.counters.out_of_range == len(events) - len(inside) > 0


@pytest.mark.parametrize(('encoding', 'bits'), [
    ('evt3', 24), ('evt2', 34), ('evt21', 34), ('evt21_legacy', 34), ('dat', 32)])
def test_time_runs_on_across_its_wrap(encoding: str, bits: int) -> None:
    events = random_events(400, start=(1 << bits) - 300)
    assert events[0][3] < 1 << bits < events[-1][3]
    decoder = create_decoder(encoding, WIDTH, HEIGHT)
    data = ENCODERS[encoding][0](events)
    half = len(data) // 2 // decoder.word_size * decoder.word_size
    assert decoded(decoder, data[:half]) + decoded(decoder, data[half:]) == events


def test_evt3_wraps_many_times() -> None:
    events = random_events(3000, start=5000, step=100_000)
    assert events[-1][3] > 5 << 24
    assert decoded(create_decoder('evt3', WIDTH, HEIGHT), encode.evt3(events)) == events


def test_evt3_takes_a_small_step_back_of_the_high_time_as_jitter() -> None:
    decoder = create_decoder('evt3', WIDTH, HEIGHT)
    data = encode.words16(0x8020, 0x6000, 0x0001, 0x2001, 0x8016, 0x2002, 0x800b, 0x2003)
    assert [event[3] for event in decoded(decoder, data)] == [
        0x20000, 0x16000, (1 << 24) + 0xb000]


def test_evt3_vectors_move_their_base_and_may_be_cut_short() -> None:
    decoder = create_decoder('evt3', WIDTH, HEIGHT)
    data = encode.evt3_vector(5000, 100, 7, 1, [(0b1001, 12), (0x800, 12)])
    data += encode.words16(0x2005)  # no VECT_8 follows
    data += encode.words16(0x5081)  # it comes late; the base is where it was
    assert decoded(decoder, data) == [
        (100, 7, 1, 5000), (103, 7, 1, 5000), (123, 7, 1, 5000), (5, 7, 0, 5000),
        (124, 7, 1, 5000), (131, 7, 1, 5000)]


def test_evt3_vectors_are_cut_at_the_edge_of_the_sensor() -> None:
    decoder = create_decoder('evt3', WIDTH, HEIGHT)
    data = encode.evt3_vector(5000, 630, 7, 0, [(0xfff, 12), (0xff, 8)])
    assert [event[0] for event in decoded(decoder, data)] == list(range(630, 640))
    assert decoder.counters.out_of_range == 10


def test_unknown_words_are_skipped_and_counted() -> None:
    decoder = create_decoder('evt3', WIDTH, HEIGHT)
    known = encode.evt3([(1, 2, 1, 5000)])
    skipped = encode.words16(0x9123, 0x1000, 0xB000, 0xC000, 0xD000)
    ignored = encode.words16(0x7123, 0xE014, 0xF123)
    assert decoded(decoder, known + skipped + ignored + known) == 2 * [(1, 2, 1, 5000)]
    assert decoder.counters.unknown_words == 5
    decoder = create_decoder('evt2', WIDTH, HEIGHT)
    known = encode.evt2([(1, 2, 1, 5000)])
    skipped = encode.words32(0x20000000, 0x70000000, 0x90000000, 0xB0000000, 0xC0000000)
    assert decoded(decoder, known + skipped + encode.words32(0xE0000001) + known) == 2 * [
        (1, 2, 1, 5000)]
    assert decoder.counters.unknown_words == 5


def test_evt3_starts_at_a_time_low_after_a_time_high() -> None:
    decoder = create_decoder('evt3', WIDTH, HEIGHT)
    before = encode.words16(0x0007, 0x2001, 0x6123, 0x2002, 0x3003, 0x4003, 0x8001, 0x2004, 0xA001)
    assert decoded(decoder, before) == []
    assert (decoder.counters.cold_start, len(decoder.triggers)) == (6, 0)
    assert decoded(decoder, encode.words16(0x6002, 0x2005)) == [(5, 7, 0, 4098)]


def test_evt3_waits_for_a_row() -> None:
    decoder = create_decoder('evt3', WIDTH, HEIGHT)
    data = encode.words16(0x8001, 0x6002, 0x2005, 0x3004, 0x4001, 0x0009, 0x2006)
    assert decoded(decoder, data) == [(6, 9, 0, 4098)]
    assert decoder.counters.cold_start == 2


def test_evt2_starts_at_a_time_high() -> None:
    decoder = create_decoder('evt2', WIDTH, HEIGHT)
    data = encode.evt2([(3, 4, 1, 70)])
    assert decoded(decoder, data[4:] + data) == [(3, 4, 1, 70)]
    assert decoder.counters.cold_start == 1


def test_after_lost_packets_time_is_kept_and_row_and_base_are_not() -> None:
    decoder = create_decoder('evt3', WIDTH, HEIGHT)
    decoder.decode(encode.evt3_vector(5000, 100, 7, 1, [(1, 12)]) + b'\x01')
    decoder.note_gap(3)
    data = encode.words16(0x2001, 0x4001, 0x0008, 0x2002, 0x4001, 0x3003, 0x5001)
    assert decoded(decoder, data) == [(2, 8, 0, 5000), (3, 8, 0, 5000)]
    counters = decoder.counters
    assert (counters.lost_packets, counters.cold_start, counters.lost_bytes) == (3, 3, 1)


def test_reset_forgets_the_stream_and_keeps_the_counters() -> None:
    decoder = create_decoder('evt3', WIDTH, HEIGHT)
    data = encode.evt3([(1, 2, 1, (1 << 24) - 1), (1, 2, 1, 1 << 24)])
    assert [event[3] for event in decoded(decoder, data)] == [(1 << 24) - 1, 1 << 24]
    decoder.decode(encode.words16(0x9000))
    decoder.reset()
    assert decoded(decoder, encode.words16(0x2001)) == []
    assert decoded(decoder, encode.evt3([(1, 2, 1, 5000)])) == [(1, 2, 1, 5000)]
    counters = decoder.counters
    assert (counters.unknown_words, counters.events, counters.cold_start) == (1, 3, 1)


@pytest.mark.parametrize(('encoding', 'data'), [
    ('evt3', encode.words16(0x8001, 0x6002, 0xA301, 0xA200)),
    ('evt2', encode.words32(0x80000040, 0xA0800301, 0xA0800200)),
    ('evt21', encode.words32(0, 0x80000040, 0, 0xA0800301, 0, 0xA0800200))])
def test_triggers_are_given_out_and_counted(encoding: str, data: bytes) -> None:
    decoder = create_decoder(encoding, WIDTH, HEIGHT)
    assert len(decoder.decode(data)) == 0
    assert decoder.triggers.tolist() == [(3, 1, 4098), (2, 0, 4098)]
    assert decoder.counters.triggers == 2
    decoder.decode(b'')
    assert len(decoder.triggers) == 0


def test_libcaer_time_may_wrap_within_a_packet() -> None:
    start = BASE // 1000
    events = [(1, 2, 0, start + (1 << 31) - 1), (3, 4, 1, start + (1 << 31)),
              (5, 6, 1, start + (1 << 31) + 7)]
    decoder = create_decoder('libcaer', WIDTH, HEIGHT)
    assert decoded(decoder, encode.libcaer(events, BASE), BASE) == events


def test_libcaer_events_that_are_marked_invalid_are_skipped() -> None:
    start = BASE // 1000
    good = encode.libcaer([(1, 2, 0, start + 5)], BASE)
    bad = bytes([good[0] & 0xfe]) + good[1:]
    decoder = create_decoder('libcaer', WIDTH, HEIGHT)
    assert decoded(decoder, bad + good, BASE) == [(1, 2, 0, start + 5)]
    assert decoder.counters.unknown_words == 1


def test_libcaer_cmp_keeps_its_column_and_starts_its_time_anew_with_each_packet() -> None:
    start = BASE // 1000
    decoder = create_decoder('libcaer_cmp', WIDTH, HEIGHT)
    first = encode.libcaer_cmp([(9, 2, 0, start + 70_000)], BASE)
    assert decoded(decoder, first, BASE) == [(9, 2, 0, start + 70_000)]
    assert decoded(decoder, encode.words16(0x3801), BASE) == [(9, 1, 1, start)]


def test_libcaer_cmp_vectors_run_along_y() -> None:
    start = BASE // 1000
    events = random_events(300, start=start)
    decoder = create_decoder('libcaer_cmp', WIDTH, HEIGHT)
    assert decoded(decoder, encode.libcaer_cmp(events, BASE, vectors=True), BASE) == events
    data = encode.words16(0x2005, 0x4800 | 10, 0x5003, 0x5001)
    assert [event[:3] for event in decoded(decoder, data, BASE)] == [
        (5, 10, 1), (5, 11, 1), (5, 18, 1)]


def test_mono_rounds_down_to_us() -> None:
    decoder = create_decoder('mono', WIDTH, HEIGHT)
    data = encode.words32(600, 1 << 31 | 4 << 16 | 3)
    assert decoded(decoder, data, 1_700) == [(3, 4, 1, 2)]
    largest = 2**64 - 1
    assert decoded(decoder, data, largest) == [(3, 4, 1, (largest + 600) // 1000)]


def test_packets_that_stand_for_themselves_do_not_wait_for_the_rest_of_a_word() -> None:
    decoder = create_decoder('libcaer', WIDTH, HEIGHT)
    data = encode.libcaer([(1, 2, 0, BASE // 1000 + 5)], BASE)
    assert decoded(decoder, data + b'abc', BASE) == decoded(decoder, data, BASE)
    assert decoder.counters.lost_bytes == 3


def test_a_stream_that_cannot_be_decoded_is_refused_by_name() -> None:
    with pytest.raises(EventError, match='`evt4` is unknown; there are evt3, evt2'):
        create_decoder('evt4', 640, 480)
    with pytest.raises(ConfigurationError, match='0x480'):
        create_decoder('evt3', 0, 480)
