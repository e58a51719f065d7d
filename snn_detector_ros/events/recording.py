# SPDX-License-Identifier: Apache-2.0
"""Recordings of Prophesee cameras: RAW and DAT files, read piece by piece in bounded memory."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from snn_detector_ros.events.decoder import EventDecoder
from snn_detector_ros.events.errors import EventError
from snn_detector_ros.events.factory import create_decoder
from snn_detector_ros.events.types import Events

#: A header that is longer than this is none.
MOST_HEADER_BYTES = 1 << 16
RAW_ENCODINGS = {'EVT2': 'evt2', 'EVT21': 'evt21', 'EVT3': 'evt3',
                 '2.0': 'evt2', '2.1': 'evt21', '3.0': 'evt3'}
#: Event types of DAT files that hold changes of brightness.
DAT_EVENT_TYPES = (0x00, 0x0C)


@dataclass(frozen=True)
class RecordingHeader:
    """
    What the header of a recording says.

    :param encoding: as for :func:`create_decoder`.
    :param width: of the sensor in px, 0 if the header does not say; ``height`` alike.
    :param offset: of the first word in the file, bytes.
    """

    encoding: str
    width: int
    height: int
    offset: int


class EventRecording:
    """
    The events of a RAW or DAT file; iterate to get them in arrays.

    :param path: of the file.
    :param width: of the sensor in px, for files whose header does not say; ``height`` alike.
    :param piece: bytes to read at a time.
    :raises EventError: if the file cannot be read, is no recording, or the sensor size is unknown.
    :raises ConfigurationError: if the sensor size is impossible.
    """

    def __init__(
        self, path: Path | str, *, width: int = 0, height: int = 0, piece: int = 1 << 20,
    ) -> None:
        self.path, self.piece = Path(path), piece
        with _open(self.path) as file:
            self.header = read_header(file, self.path)
        self.width = self.header.width or width
        self.height = self.header.height or height
        if not (self.width and self.height):
            raise EventError(
                f'{self.path}: the header does not say the sensor size; give width and height')
        self.decoder = self._new_decoder()

    def __iter__(self) -> Iterator[Events]:
        """Yield EVENT [N] from the start; ``decoder`` then is a new one and counts along."""
        self.decoder = self._new_decoder()
        with _open(self.path) as file:
            file.seek(self.header.offset)
            while data := file.read(self.piece):
                yield self.decoder.decode(data)

    def _new_decoder(self) -> EventDecoder:
        return create_decoder(self.header.encoding, self.width, self.height)


def read_header(file: BinaryIO, path: Path) -> RecordingHeader:
    """
    Read the header of a RAW or DAT file.

    :param file: at its start.
    :param path: for messages.
    :raises EventError: if there is none, or its encoding is unknown.
    """
    start = file.read(MOST_HEADER_BYTES)
    fields, offset = _fields(start)
    if not fields:
        raise EventError(f'{path}: neither a RAW nor a DAT file: it has no header of lines with %')
    width, height = _sensor_size(fields, path)
    if 'format' in fields or 'evt' in fields:
        return RecordingHeader(_raw_encoding(fields, path), width, height, offset)
    kind = start[offset:offset + 2]
    if len(kind) < 2 or kind[0] not in DAT_EVENT_TYPES or kind[1] != 8:
        raise EventError(
            f'{path}: a DAT file of event type and size {list(kind)}; only brightness changes of '
            '8 bytes (types 0 and 12) can be read')
    if fields.get('version', '2') != '2':
        raise EventError(f'{path}: DAT version {fields["version"]}; only version 2 can be read')
    return RecordingHeader('dat', width, height, offset + 2)


def _fields(start: bytes) -> tuple[dict[str, str], int]:
    """Return the header's lines, and where the words begin."""
    fields: dict[str, str] = {}
    offset = 0
    while start[offset:offset + 1] == b'%' and (end := start.find(b'\n', offset)) >= 0:
        line = start[offset + 1:end].decode('ascii', 'replace').strip()
        offset = end + 1
        key, _, value = line.partition(' ')
        fields[key.lower()] = value.strip()
        if key == 'end':
            break
    return fields, offset


def _raw_encoding(fields: dict[str, str], path: Path) -> str:
    name, *options = fields.get('format', fields.get('evt', '')).split(';')
    if name not in RAW_ENCODINGS:
        raise EventError(
            f'{path}: RAW encoding `{name}` is unknown; there are EVT2, EVT21 and EVT3')
    legacy = name == 'EVT21' and 'endianness=legacy' in options
    return 'evt21_legacy' if legacy else RAW_ENCODINGS[name]


def _sensor_size(fields: dict[str, str], path: Path) -> tuple[int, int]:
    """Return width and height, 0 where the header does not say."""
    options = dict(option.partition('=')[::2] for option in fields.get('format', '').split(';'))
    geometry = fields.get('geometry', '').partition('x')[::2]
    width = options.get('width') or geometry[0] or fields.get('width') or '0'
    height = options.get('height') or geometry[1] or fields.get('height') or '0'
    if not (width.isascii() and width.isdigit() and height.isascii() and height.isdigit()):
        raise EventError(f'{path}: the header says the sensor is {width} by {height} px')
    return int(width[:9]), int(height[:9])


def _open(path: Path) -> BinaryIO:
    try:
        return path.open('rb')
    except OSError as error:
        raise EventError(f'{path}: cannot be read: {error.strerror}') from error
