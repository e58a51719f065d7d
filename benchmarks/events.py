# SPDX-License-Identifier: Apache-2.0
"""
How many events a second each decoder reads, next to public decoders, in one process and run.

Our decoders and `evt3` get the stream in packets, as a topic delivers it; `faery` and
`expelliarmus` read files only. What is not installed is left out and named:

    pip install --no-deps evt3 faery expelliarmus
    python -m benchmarks.events
"""

from __future__ import annotations

import argparse
import importlib
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.timing import Contestant, race
from snn_detector_ros.events import create_decoder
from snn_detector_ros.events.types import new_registers
from snn_detector_ros.events.words import FORMS, HAVE_NATIVE, decode_words_numpy

WIDTH, HEIGHT = 1280, 720
RAW_FORMATS = {'evt3': ('3.0', 'EVT3'), 'evt2': ('2.0', 'EVT2')}


def words_of(columns: list[NDArray[Any]], sent: list[NDArray[np.bool_]], dtype: str) -> bytes:
    """Interleave the columns [N] of words, event by event, leaving out what is not sent."""
    words = np.stack([column.astype(dtype) for column in columns], 1)
    return words[np.stack(sent, 1)].tobytes()


def make_streams(count: int, rng: np.random.Generator) -> dict[str, tuple[str, bytes]]:
    """
    Make a stream of each encoding.

    :param count: events; of vectors, there are more in the stream.
    :returns: name -> (encoding, bytes).
    """
    x, y = rng.integers(0, WIDTH - 32, count), rng.integers(0, HEIGHT, count)
    p, t = rng.integers(0, 2, count), 4096 + np.cumsum(rng.integers(0, 3, count))
    every, changes = np.ones(count, bool), np.append(True, np.diff(t) > 0)
    slow = np.append(True, np.diff(t >> 6) > 0)
    high, low = 0x8000 | t >> 12 & 0xfff, 0x6000 | t & 0xfff
    masks = [rng.integers(0, 1 << size, count) & rng.integers(0, 1 << size, count)
             for size in (12, 12, 8)]
    event = p << 28 | (t & 63) << 22 | x << 11 | y
    address = y << 16 | x
    return {
        'EVT3, single events': ('evt3', words_of(
            [high, low, y, 0x2000 | p << 11 | x], [slow, changes, every, every], '<u2')),
        'EVT3, vectors': ('evt3', words_of(
            [high, low, y, 0x3000 | p << 11 | x, 0x4000 | masks[0], 0x4000 | masks[1],
             0x5000 | masks[2]], [slow, changes, every, every, every, every, every], '<u2')),
        'EVT2': ('evt2', words_of([0x80000000 | t >> 6, event], [slow, every], '<u4')),
        'EVT2.1': ('evt21', words_of(
            [(0x80000000 | t >> 6) << 32, event.astype(np.uint64) << 32 | rng.integers(
                0, 1 << 32, count, dtype=np.uint64)], [slow, every], '<u8')),
        'libcaer_cmp': ('libcaer_cmp', words_of(
            [t >> 12 & 0xfff, 0x1000 | t & 0xfff, 0x2000 | x, 0x3000 | p << 11 | y],
            [slow, changes, every, every], '<u2')),
        'libcaer': ('libcaer', words_of([x << 17 | y << 2 | p << 1 | 1, t], [every] * 2, '<u4')),
        'mono': ('mono', words_of([t, p << 31 | address], [every] * 2, '<u4')),
        'DAT': ('dat', words_of([t, p << 28 | y << 14 | x], [every] * 2, '<u4')),
    }


def decode_packets(encoding: str, packets: list[bytes]) -> int:
    """Return the events that our decoder gives."""
    decoder = create_decoder(encoding, WIDTH, HEIGHT)
    return sum(len(decoder.decode(packet)) for packet in packets)


def decode_numpy(encoding: str, packets: list[bytes]) -> int:
    """Return the events that our decoder gives where the compiled module is missing."""
    registers = new_registers(WIDTH, HEIGHT)
    return sum(len(decode_words_numpy(FORMS[encoding.upper()], memoryview(packet), registers)[0])
               for packet in packets)


def opponents(
    encoding: str, packets: list[bytes], folder: Path,
) -> dict[str, Callable[[], int]]:
    """Return what else is installed and reads this encoding: name -> run that counts events."""
    if encoding not in RAW_FORMATS:
        return {}
    path, (version, format_) = folder / f'{encoding}.raw', RAW_FORMATS[encoding]
    header = (f'% evt {version}\n% format {format_};height={HEIGHT};width={WIDTH}\n'
              f'% geometry {WIDTH}x{HEIGHT}\n% end\n')
    path.write_bytes(header.encode() + b''.join(packets))
    runs: dict[str, Callable[[], int]] = {}
    if encoding == 'evt3' and (evt3 := _installed('evt3')):
        def feed() -> int:
            decoder = evt3.Decoder(WIDTH, HEIGHT)
            return sum(len(decoder.feed(packet).x) for packet in packets)
        runs['evt3, packets'] = feed
        runs['evt3, file'] = lambda: len(evt3.decode_file(str(path)).x)
    if faery := _installed('faery'):
        runs['faery, file'] = lambda: sum(map(len, faery.events_stream_from_file(path)))
    if expelliarmus := _installed('expelliarmus'):
        runs['expelliarmus, file'] = lambda: len(
            expelliarmus.Wizard(encoding=encoding, fpath=path).read())
    return runs


def _installed(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError:
        print(f'{name} is not installed: left out')
        return None


def main() -> None:
    """Run the benchmark from the command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition('\n\n')[0])
    parser.add_argument('--events', type=int, default=500_000, help='events of a stream')
    parser.add_argument('--packet', type=int, default=65_536, help='bytes of a packet')
    parser.add_argument('--rounds', type=int, default=7)
    arguments = parser.parse_args()
    print(f'compiled decoders: {"yes" if HAVE_NATIVE else "no"}; packets of {arguments.packet} '
          'bytes; millions of events per second of processor time, median (best)')
    streams = make_streams(arguments.events, np.random.default_rng(0))
    with tempfile.TemporaryDirectory() as folder:
        for name, (encoding, stream) in streams.items():
            packets = [stream[start:start + arguments.packet]
                       for start in range(0, len(stream), arguments.packet)]
            _run(name, encoding, packets, Path(folder), arguments.rounds)


def _run(name: str, encoding: str, packets: list[bytes], folder: Path, rounds: int) -> None:
    runs: dict[str, Callable[[], int]] = {'ours': lambda: decode_packets(encoding, packets)}
    runs |= opponents(encoding, packets, folder)
    if HAVE_NATIVE and encoding.upper() in FORMS:
        runs['ours without C'] = lambda: decode_numpy(encoding, packets)
    events = {key: run() for key, run in runs.items()}
    times = race({key: Contestant(run) for key, run in runs.items()}, rounds=rounds)
    print(f'{name}: {sum(map(len, packets)) / 1e6:.1f} MB, {events["ours"]} events')
    for key, time in times.items():
        speed, best = (1e-3 * events[key] / ms for ms in (time.cpu_median, time.cpu_min))
        note = '' if events[key] == events['ours'] else f'  ({events[key]} events!)'
        print(f'  {key:20} {speed:7.1f} ({best:.1f}){note}')


if __name__ == '__main__':
    main()
