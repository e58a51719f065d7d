# SPDX-License-Identifier: Apache-2.0
"""The diagnostic status `events`: what comes from the event camera, what is lost of it and why."""

from __future__ import annotations

from snn_detector_ros.events import stream
from snn_detector_ros.ros import monitor
from snn_detector_ros.ros.monitor import Report
from snn_detector_ros.ros.parameters import Settings
from snn_detector_ros.ros.status import Level, Status

#: Counted since activation, also while they are 0.
_COUNTS = (
    stream.PACKETS, stream.EVENTS, stream.WINDOWS, stream.LOST_PACKETS, monitor.DROPPED_PACKETS,
    stream.DROPPED_EVENTS, stream.LATE_EVENTS, stream.OUT_OF_RANGE, stream.COLD_START,
    stream.UNKNOWN_WORDS, stream.LOST_BYTES, stream.SKIPPED_WINDOWS)
#: Share of a period's events or words that may be skipped without a warning.
SKIPPED_WARNING = 0.01
_REMEDIES = {
    stream.LOST_PACKETS: 'lower the event rate (biases, event rate control of the camera) or the '
                         'load of the machine',
    monitor.DROPPED_PACKETS: 'they come faster than they can be decoded; lower the event rate',
    stream.DROPPED_EVENTS: 'raise event_budget, or take shorter windows',
    stream.LATE_EVENTS: 'raise event_patience; a recording that is played slowly needs '
                        'use_sim_time',
}


def event_status(settings: Settings, report: Report) -> Status:
    """Return the status."""
    recent = report.recent
    status = Status('events', f'{recent[stream.EVENTS] / report.seconds:.0f} events/s')
    for event, remedy in _REMEDIES.items():
        if recent[event]:
            status.complain(Level.WARN, f'{recent[event]} {event}: {remedy}')
    for event, times in sorted(recent.items()):
        if times and event.startswith((stream.RESTARTS, monitor.BAD_PACKET)):
            is_bug = event.startswith(monitor.BAD_PACKET + monitor.UNEXPECTED)
            status.complain(Level.ERROR if is_bug else Level.WARN, f'{times}x {event}')
    for event, remedy in ((stream.OUT_OF_RANGE, 'is the size in the packets that of the sensor?'),
                          (stream.UNKNOWN_WORDS, 'is the encoding in the packets the right one?')):
        if recent[event] > SKIPPED_WARNING * recent[stream.EVENTS]:
            status.complain(Level.WARN, f'{recent[event]} {event}: {remedy}')
    status.values = {
        'events (1/s)': f'{report.rate(stream.EVENTS):.0f}',
        'packets (Hz)': f'{report.rate(stream.PACKETS):.2f}',
        'windows (Hz)': f'{report.rate(stream.WINDOWS):.2f}',
        'window': _window(settings),
        'representation': settings.event_representation,
        **{f'{name} {quantile} (ms)': f'{getattr(report.latency[stage], quantile):.3f}'
           for stage, name in (('decode', 'decode time'), ('window', 'window age'))
           if stage in report.latency for quantile in ('p50', 'p95', 'max')},
        **{event: str(report.total(event)) for event in _COUNTS},
        **{event: str(times) for event, times in sorted(report.totals.items())
           if event.startswith((stream.RESTARTS, monitor.BAD_PACKET))}}
    return status


def _window(settings: Settings) -> str:
    time = f'{settings.event_window_time:g} ms'
    return {
        'time': time,
        'count': f'{settings.event_window_count} events, or {time}',
        'bins': f'the latest {settings.event_window_bins} bins of {time}',
    }[settings.event_window]
