# SPDX-License-Identifier: Apache-2.0
"""The thread that decodes packets of events and cuts them into windows."""

from __future__ import annotations

import dataclasses
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from rclpy.clock import Clock

from snn_detector_ros.events import CountWindows, EventWindows, TimeWindows
from snn_detector_ros.events.errors import BadPacketError
from snn_detector_ros.events.packets import EventPacket
from snn_detector_ros.events.stream import RESTARTS, EventStream, StampedWindow
from snn_detector_ros.ros import monitor
from snn_detector_ros.ros.frames import EventFrame, Frame
from snn_detector_ros.ros.monitor import Monitor
from snn_detector_ros.ros.packet_queue import PacketQueue
from snn_detector_ros.ros.parameters import Settings
from snn_detector_ros.ros.worker import Logger

#: Time without a packet after which windows are closed by the clock of the node, s. The worker
#: waits for it itself: a timer would wake the executor, which costs more than decoding a packet.
TICK = 0.02
CLOCK_JUMPED = RESTARTS + 'the clock of the node jumped'


@dataclass(frozen=True)
class Arrival:
    """
    A packet that arrived.

    :param data: the serialised message.
    :param read: makes a packet of it.
    :param now: clock of the node, ns.
    :param transport: time from its publisher to here, ms; None if unknown.
    """

    data: bytes
    read: Callable[[bytes], EventPacket]
    now: int
    transport: float | None


class EventWorker:
    """
    Works on packets, in their order, until it is stopped.

    :param submit: takes each window that closes.
    :param settings: gives the settings for the next packet.
    :param clock: the clock of the node, which stamps are compared with.
    :param on_crash: called with an error that nobody expected; the worker goes on.
    """

    def __init__(
        self,
        submit: Callable[[Frame], None],
        monitor: Monitor,
        *,
        settings: Callable[[], Settings],
        clock: Clock,
        logger: Logger,
        on_crash: Callable[[Exception], None],
    ) -> None:
        self._submit = submit
        self._monitor = monitor
        self._settings = settings
        self._clock = clock
        self._logger = logger
        self._on_crash = on_crash
        self._cut_as = settings()
        self._stream = EventStream(windows_of(self._cut_as))
        self._queue: PacketQueue[Arrival] = PacketQueue()
        self._must_restart = threading.Event()
        self._thread = threading.Thread(target=self._run, name='events', daemon=True)
        self._thread.start()

    def receive(self, packet: Arrival) -> None:
        """Hand over a packet; the oldest that wait are dropped if they are more than allowed."""
        self._queue.put(packet, len(packet.data), budget=self._settings().event_budget << 20)

    def restart(self) -> None:
        """Forget what was received so far, before the next packet is decoded."""
        self._must_restart.set()

    def stop(self) -> None:
        """Finish the packet at hand, and end the thread."""
        self._queue.close()
        self._thread.join()

    def _run(self) -> None:
        while self._queue.is_open:
            taken = self._queue.take(TICK)
            if taken is not None and taken.dropped:
                self._stream.skip(taken.dropped)
                self._monitor.count(monitor.DROPPED_PACKETS, taken.dropped)
            try:
                self._follow_settings()
                self._work(taken.item if taken else None)
            except BadPacketError as error:
                self._monitor.count(monitor.BAD_PACKET + error.cause)
                self._logger.error(f'packet dropped: {error}', throttle_duration_sec=5.0)
            except Exception as error:
                kind = monitor.UNEXPECTED + type(error).__name__
                self._monitor.count(monitor.BAD_PACKET + kind)
                self._on_crash(error)

    def _follow_settings(self) -> None:
        settings = self._settings()
        if not _cut_alike(settings, self._cut_as):
            self._stream.cut_by(windows_of(settings))
            self._cut_as = settings
        self._stream.patience = round(1e3 * settings.event_patience)
        if self._must_restart.is_set():
            self._must_restart.clear()
            self._stream.restart(CLOCK_JUMPED)

    def _work(self, arrival: Arrival | None) -> None:
        """Hand on the windows that a packet, or time without one, closes."""
        windows = []
        try:
            if arrival is not None:
                windows = self._decode(arrival)
            # Of a camera that is gone nothing is known, not even that nothing moves.
            elif self._monitor.silence <= self._settings().input_timeout:
                windows = self._stream.tick(self._clock.now().nanoseconds)
        finally:
            self._monitor.count_all(self._stream.take_counts())
        for window in windows:
            self._hand_on(window)

    def _decode(self, arrival: Arrival) -> list[StampedWindow]:
        start = time.perf_counter()
        packet = arrival.read(arrival.data)
        if not packet.stamp:
            self._monitor.count(monitor.ZERO_STAMPS)
            packet = dataclasses.replace(packet, stamp=arrival.now)
        windows = self._stream.add(packet, now=arrival.now)
        times = {'decode': 1e3 * (time.perf_counter() - start)}
        if arrival.transport is not None:
            times['transport'] = arrival.transport
        self._monitor.timed(times)
        return windows

    def _hand_on(self, window: StampedWindow) -> None:
        self._monitor.timed({'window': (self._clock.now().nanoseconds - window.stamp) / 1e6})
        self._monitor.count(monitor.RECEIVED)
        self._submit(EventFrame(window, time.time_ns()))


def windows_of(settings: Settings) -> EventWindows:
    """Return what cuts events as the parameters say."""
    length, budget = round(1e3 * settings.event_window_time), settings.event_budget << 20
    if settings.event_window == 'count':
        return CountWindows(settings.event_window_count, timeout=length, budget=budget)
    bins = settings.event_window_bins if settings.event_window == 'bins' else 1
    return TimeWindows(bins * length, stride=length, budget=budget)


def _cut_alike(first: Settings, second: Settings) -> bool:
    return all(getattr(first, name) == getattr(second, name) for name in (
        'event_window', 'event_window_time', 'event_window_count', 'event_window_bins',
        'event_budget'))
