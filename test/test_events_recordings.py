# SPDX-License-Identifier: Apache-2.0
"""Recordings: a real one, files that another program wrote, headers of all sorts."""

from __future__ import annotations

import sqlite3
import struct
from pathlib import Path

import event_encoders as encode
import numpy as np
import pytest

from snn_detector_ros.events import EventDecoder, EventError, EventRecording, create_decoder
from snn_detector_ros.events.words import HAVE_NATIVE

needs_native = pytest.mark.skipif(not HAVE_NATIVE, reason='the C module was not built')
EVENTS = [(3, 4, 1, 5000), (30, 40, 0, 5001), (31, 40, 0, 5001), (639, 479, 1, 70_000)]


def write(path: Path, header: str, data: bytes) -> Path:
    path.write_bytes(header.encode() + data)
    return path


def all_events(recording: EventRecording) -> list[tuple[int, ...]]:
    return [tuple(event) for part in recording for event in part.tolist()]


@pytest.mark.parametrize(('header', 'encoding', 'data'), [
    ('% format EVT3;height=480;width=640\n% end\n', 'evt3', encode.evt3(EVENTS)),
    ('% evt 3.0\n% geometry 640x480\n% end\n', 'evt3', encode.evt3(EVENTS)),
    ('% Date 2026-01-02\n% evt 2.0\n% geometry 640x480\n', 'evt2', encode.evt2(EVENTS)),
    ('% format EVT21;endianness=little;height=480;width=640\n% end\n', 'evt21',
     encode.evt21(EVENTS)),
    ('% format EVT21;endianness=legacy;height=480;width=640\n% end\n', 'evt21_legacy',
     encode.evt21(EVENTS, legacy=True)),
    ('% Data file containing CD events.\n% Version 2\n% Height 480\n% Width 640\n', 'dat',
     b'\x0c\x08' + encode.dat(EVENTS)),
    ('% Data file containing Event2D events.\n% Version 2\n% height 480\n% width 640\n', 'dat',
     b'\x00\x08' + encode.dat(EVENTS)),
], ids=lambda value: value if isinstance(value, str) and '%' not in value else '')
def test_headers_say_encoding_and_size(
    tmp_path: Path, header: str, encoding: str, data: bytes,
) -> None:
    recording = EventRecording(write(tmp_path / 'file', header, data), piece=7)
    assert recording.header.encoding == encoding
    assert (recording.width, recording.height) == (640, 480)
    assert all_events(recording) == EVENTS
    assert all_events(recording) == EVENTS, 'a second pass starts anew'
    assert recording.decoder.counters.events == len(EVENTS)


def test_the_size_may_be_given_where_the_header_lacks_it(tmp_path: Path) -> None:
    path = write(tmp_path / 'a.raw', '% evt 2.0\n% end\n', encode.evt2(EVENTS))
    with pytest.raises(EventError, match='give width and height'):
        EventRecording(path)
    assert all_events(EventRecording(path, width=640, height=480)) == EVENTS


@pytest.mark.parametrize(('header', 'data', 'problem'), [
    ('', b'no header', 'no header of lines'),
    ('% evt 4.0\n% end\n', b'', '`4.0` is unknown'),
    ('% format EVT3;width=0x2;height=1\n', b'', 'the sensor is 0x2 by 1'),
    ('% Version 2\n', b'\x0e\x08', r'size \[14, 8\]'),
    ('% Version 2\n', b'', r'size \[\]'),
    ('% Version 1\n', b'\x00\x08', 'version 1'),
    ('% evt 3.0' + 70_000 * ' ', b'', 'no header of lines'),
])
def test_what_cannot_be_read_is_refused_by_name(
    tmp_path: Path, header: str, data: bytes, problem: str,
) -> None:
    path = write(tmp_path / 'bad.raw', header, data)
    with pytest.raises(EventError, match=f'bad.raw: .*{problem}'):
        EventRecording(path, width=640, height=480)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(EventError, match='absent.raw: cannot be read: No such file'):
        EventRecording(tmp_path / 'absent.raw')


@pytest.mark.parametrize(('name', 'version'), [
    ('a.raw', 'evt2'), ('a.raw', 'evt3'), ('a.dat', 'dat2')])
def test_files_written_by_faery_are_read_exactly(
    tmp_path: Path, name: str, version: str,
) -> None:
    faery = pytest.importorskip('faery', reason='`faery` writes the files of this test')
    rng = np.random.default_rng(1)
    written = np.zeros(20_000, faery.EVENTS_DTYPE)
    written['t'] = np.cumsum(rng.integers(0, 2000, len(written)))
    written['x'], written['y'] = rng.integers(0, 640, 20_000), rng.integers(0, 480, 20_000)
    written['on'] = rng.integers(0, 2, 20_000)
    faery.events_stream_from_array(written, dimensions=(640, 480)).to_file(
        tmp_path / name, version=version, zero_t0=False)
    recording = EventRecording(tmp_path / name, width=640, height=480)
    events = np.concatenate(list(recording))
    for ours, theirs in (('x', 'x'), ('y', 'y'), ('p', 'on'), ('t', 't')):
        np.testing.assert_array_equal(events[ours], written[theirs].astype(np.int64))


def packets_of(bag: Path) -> list[tuple[int, int, int, bytes]]:
    """Return (width, height, seq, events) of each EventPacket of a bag, read by hand."""
    packets = []
    with sqlite3.connect(f'file:{bag}?mode=ro&immutable=1', uri=True) as connection:
        rows = connection.execute('SELECT data FROM messages ORDER BY timestamp').fetchall()
    for (message,) in rows:
        body = message[4:]  # CDR: members are aligned to their size, from here
        (length,) = struct.unpack_from('<I', body, 8)
        at = (12 + length + 3) // 4 * 4
        height, width = struct.unpack_from('<II', body, at)
        at = (at + 8 + 7) // 8 * 8
        seq, _ = struct.unpack_from('<QQ', body, at)
        (length,) = struct.unpack_from('<I', body, at + 16)
        at = (at + 20 + length + 1 + 3) // 4 * 4
        (length,) = struct.unpack_from('<I', body, at)
        packets.append((width, height, seq, body[at + 4:at + 4 + length]))
    return packets


def checksums(decoder: EventDecoder, packets: list[bytes]) -> dict[str, int]:
    sums = dict.fromkeys(('off', 'on', 'edges 0', 'edges 1', 'time'), 0)
    for packet in packets:
        events = decoder.decode(packet)
        on, rising = int(events['p'].sum()), int(decoder.triggers['p'].sum())
        sums['on'] += on
        sums['off'] += len(events) - on
        sums['edges 1'] += rising
        sums['edges 0'] += len(decoder.triggers) - rising
        sums['time'] += int(events['t'].sum()) + int(decoder.triggers['t'].sum())
    return sums


@pytest.mark.parametrize('compiled', [pytest.param(True, marks=needs_native), False])
def test_a_real_recording_gives_the_checksums_of_event_camera_py(
    shared_data: Path, monkeypatch: pytest.MonkeyPatch, compiled: bool,
) -> None:
    if not compiled:
        monkeypatch.setattr('snn_detector_ros.events.words._events', None)
    packets = packets_of(shared_data / 'events' / 'evt3_bag' / 'test_events_1.db3')
    assert {packet[:2] for packet in packets} == {(640, 480)}
    assert np.ptp(np.diff([packet[2] for packet in packets])) == 0
    decoder = create_decoder('evt3', 640, 480)
    assert checksums(decoder, [packet[3] for packet in packets]) == {
        'off': 218_291, 'on': 125_183, 'edges 0': 2_078, 'edges 1': 2_079,
        'time': 2_885_601_049_874}
    counters = decoder.counters
    assert (counters.packets, counters.events) == (517, 343_474)
    assert counters.unknown_words == counters.out_of_range == counters.cold_start == 0
