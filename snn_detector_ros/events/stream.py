# SPDX-License-Identifier: Apache-2.0
"""
From the packets of one topic to windows with stamps: all that is remembered between the two.

Lost packets, clocks that jump, another camera on the topic, bytes that mean nothing: everything is
survived and counted, see :meth:`EventStream.take_counts`.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from snn_detector_ros.errors import SnnDetectorError
from snn_detector_ros.events.decoder import EventDecoder
from snn_detector_ros.events.errors import BadPacketError
from snn_detector_ros.events.factory import DECODERS, create_decoder
from snn_detector_ros.events.packets import EventPacket
from snn_detector_ros.events.sensor_clock import SensorClock
from snn_detector_ros.events.types import DecoderCounters, Events
from snn_detector_ros.events.windows import EventWindows, Window, WindowCounters

PACKETS = 'packets'
EVENTS = 'events'
WINDOWS = 'windows'
LOST_PACKETS = 'lost packets'
DROPPED_EVENTS = 'dropped: events beyond the byte budget'
LATE_EVENTS = 'dropped: events older than their window'
OUT_OF_RANGE = 'skipped: events beyond the sensor'
COLD_START = 'skipped: events before their time or row was known'
UNKNOWN_WORDS = 'skipped: unknown words'
LOST_BYTES = 'skipped: bytes of cut words'
SKIPPED_WINDOWS = 'skipped: empty windows after a leap in time'

#: Opens the name of each cause for which decoder, windows and clock began anew.
RESTARTS = 'restarts: '
NUMBERS_FELL = RESTARTS + 'packet numbers fell'
TIME_JUMPED = RESTARTS + 'sensor time or stamps jumped'
OTHER_SENSOR = RESTARTS + 'sensor size or encoding changed'

_DECODER_COUNTS = {
    'unknown_words': UNKNOWN_WORDS, 'out_of_range': OUT_OF_RANGE, 'cold_start': COLD_START,
    'lost_bytes': LOST_BYTES}
_WINDOW_COUNTS = {
    'dropped_events': DROPPED_EVENTS, 'late_events': LATE_EVENTS,
    'skipped_windows': SKIPPED_WINDOWS}

#: Ticks in a row without an event, after which time is taken from the host's clock.
QUIET_TICKS = 2
#: Events may reach us later than others by this much, us: cameras send every 4 to 10 ms, but a busy
#: host has been seen to hold packets back for 46 ms.
PATIENCE = 100_000


@dataclass(frozen=True)
class StampedWindow:
    """
    A window with all that is needed to draw and publish it.

    :param stamp: its end on the clock of the packets' stamps, ns.
    :param width: of the sensor in px; ``height`` alike.
    """

    window: Window
    stamp: int
    frame_id: str
    width: int
    height: int

    @property
    def sensor_size(self) -> tuple[int, int]:
        """(height, width) of the sensor in px."""
        return self.height, self.width


class EventStream:
    """
    Decodes packets and cuts them into windows.

    :param windows: what cuts; may be replaced by :meth:`cut_by`.
    """

    def __init__(self, windows: EventWindows) -> None:
        #: How long events are waited for before a window is closed without them, us.
        self.patience = PATIENCE
        self._windows = windows
        self._clock = SensorClock()
        self._decoder: EventDecoder | None = None
        self._packet: EventPacket | None = None
        self._number = 0
        self._skipped = 0
        self._heard = 0
        self._reached = 0
        self._quiet = 0
        self._counts: Counter[str] = Counter()
        self._decoder_counts = DecoderCounters()
        self._window_counts = WindowCounters()

    def add(self, packet: EventPacket, *, now: int) -> list[StampedWindow]:
        """
        Take the next packet, and return the windows that its events close, oldest first.

        :param now: when it came, on any clock that :meth:`tick` is given too, ns.
        :raises BadPacketError: if it cannot be decoded; the stream goes on with the next one.
        """
        try:
            decoder = self._decoder_of(packet)
        except BadPacketError:
            # It was not lost on its way.
            self._skipped += 1
            raise
        self._follow_numbers(packet.number, decoder)
        self._packet = packet
        self._counts[PACKETS] += 1
        events = decoder.decode(packet.data, packet.time_base)
        if self._has_jumped(packet, events):
            self.restart(TIME_JUMPED)
            self._packet, self._number = packet, packet.number
            events = decoder.decode(packet.data, packet.time_base)
        self._counts[EVENTS] += len(events)
        if not len(events):
            return self._close_by_clock(now)
        first, self._reached = int(events['t'][0]), int(events['t'].max())
        self._clock.observe(packet.stamp, first, self._reached)
        self._heard, self._quiet = now, 0
        return self._stamped(self._windows.add(events))

    def tick(self, now: int) -> list[StampedWindow]:
        """
        Return the windows that close because no events came; to be called every 20 ms or so.

        The first tick without an event in between does nothing: packets may wait to be received.
        While packets come without events, these do the same.
        """
        self._quiet += 1
        return self._close_by_clock(now) if self._quiet >= QUIET_TICKS else []

    def cut_by(self, windows: EventWindows) -> None:
        """Cut by other windows from now on; events of the open one are forgotten."""
        self._note_counts()
        self._windows, self._window_counts = windows, WindowCounters()

    def skip(self, packets: int) -> None:
        """Note that packets were left out before the next one, on purpose."""
        self._skipped += packets

    def restart(self, cause: str) -> None:
        """
        Forget everything but the counts.

        :param cause: an event to count, one of those that open with :data:`RESTARTS`.
        """
        self._counts[cause] += 1
        if self._decoder is not None:
            self._decoder.reset()
        self._windows.reset()
        self._clock.forget()
        self._packet = None
        self._number = self._skipped = self._quiet = 0

    def take_counts(self) -> Counter[str]:
        """Return how often each event happened since the last call."""
        self._note_counts()
        counts, self._counts = self._counts, Counter()
        return counts

    def _decoder_of(self, packet: EventPacket) -> EventDecoder:
        if packet.is_bigendian:
            raise BadPacketError('big-endian', 'its words are big-endian, no driver is known that '
                                 'sends such; set the driver to little-endian')
        if packet.encoding not in DECODERS:
            raise BadPacketError(
                'unknown encoding', f'`{packet.encoding}`; there are {", ".join(DECODERS)}')
        decoder = self._decoder
        key = packet.encoding, packet.width, packet.height
        if decoder is None or key != (decoder.encoding, decoder.width, decoder.height):
            try:
                new = create_decoder(*key)
            except SnnDetectorError as error:
                raise BadPacketError('bad sensor size', str(error)) from error
            if decoder is not None:
                self._note_counts()
                self.restart(OTHER_SENSOR)
            self._decoder, self._decoder_counts = new, DecoderCounters()
        assert self._decoder is not None
        return self._decoder

    def _follow_numbers(self, number: int, decoder: EventDecoder) -> None:
        if self._packet is not None and number < self._number:
            self.restart(NUMBERS_FELL)
        elif self._packet is not None and number > self._number:
            lost = max(0, number - self._number - 1 - self._skipped)
            self._counts[LOST_PACKETS] += lost
            if lost or self._skipped:
                decoder.note_gap(lost + self._skipped)
        self._number, self._skipped = number, 0

    def _close_by_clock(self, now: int) -> list[StampedWindow]:
        if not self._clock.is_known:
            return []
        reached = self._reached + (now - self._heard) // 1000 - self.patience
        return self._stamped(self._windows.advance(reached)) if reached > self._reached else []

    def _has_jumped(self, packet: EventPacket, events: Events) -> bool:
        return len(events) > 0 and self._clock.has_jumped(
            packet.stamp, int(events['t'][0]), int(events['t'].max()))

    def _stamped(self, windows: list[Window]) -> list[StampedWindow]:
        assert self._packet is not None
        self._counts[WINDOWS] += len(windows)
        packet = self._packet
        return [StampedWindow(window, self._clock.stamp_at(window.end), packet.frame_id,
                              packet.width, packet.height) for window in windows]

    def _note_counts(self) -> None:
        """Bring the counts of decoder and windows over to ours."""
        if self._decoder is not None:
            counters = self._decoder.counters
            self._note(_DECODER_COUNTS, self._decoder_counts, counters)
            self._decoder_counts = counters
        losses = self._windows.counters
        self._note(_WINDOW_COUNTS, self._window_counts, losses)
        self._window_counts = losses

    def _note(self, names: dict[str, str], before: object, after: object) -> None:
        for field, event in names.items():
            self._counts[event] += getattr(after, field) - getattr(before, field)
