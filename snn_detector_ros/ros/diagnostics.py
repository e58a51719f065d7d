# SPDX-License-Identifier: Apache-2.0
"""
What the node says about itself on `/diagnostics`: statuses, each with its own level.

`model` (what runs), `input` (what comes in, what is lost and why), `latency` (by stage and in sum)
and `spikes` (firing rates and estimated energy); with an event camera also `events`. Names, units
and levels: see docs/node.md.
"""

from __future__ import annotations

from dataclasses import dataclass

from builtin_interfaces.msg import Time
from diagnostic_msgs.msg import DiagnosticArray

from snn_detector_ros.detection.detector import Detector
from snn_detector_ros.engines.statistics import ENERGY_PER_AC, ENERGY_PER_MAC
from snn_detector_ros.ros import monitor
from snn_detector_ros.ros.event_diagnostics import event_status
from snn_detector_ros.ros.monitor import Report
from snn_detector_ros.ros.parameters import Settings
from snn_detector_ros.ros.status import Level, Status

#: Share of images lost in transport that is worth a warning: one or two of a second's may come too
#: close together for a busy machine.
LOSS_WARNING = 0.1
#: Share above which the transport itself fails: Fast DDS loses a third and more of images that do
#: not fit its shared memory, but a busy machine only some.
LOSS_OF_TRANSPORT = 0.2
#: Fast DDS's shared-memory segment, unless a profile enlarges it.
DEFAULT_SEGMENT_BYTES = 512 << 10
#: What arrives, by `input_type`.
_NAMES = {'image': 'image', 'events': 'event packet'}
_TRANSPORT_REMEDY = (
    'images over 0.5 MB need a larger shared-memory segment: start the publisher (camera driver, '
    'player) with FASTRTPS_DEFAULT_PROFILES_FILE and FASTDDS_DEFAULT_PROFILES_FILE set to '
    'config/fastdds_large_images.xml of this package, or publish image/compressed')
_LOAD_REMEDY = (
    'they arrived faster than this process got to run; lower the rate or the load of the machine')


@dataclass(frozen=True)
class Condition:
    """
    The node at the time of a report.

    :param state: lifecycle state.
    :param detector: None while no network is loaded.
    :param model_problem: why no network is loaded; empty if one is, or none was asked for.
    :param refusal: why the last refused parameter was refused.
    :param sources: topic of each subscription, and its number of publishers.
    :param image_bytes: size of the last image.
    :param input_problem: why what is published cannot be received; empty if it can.
    :param mismatches: see :func:`.endpoints.mismatches`.
    :param silence: seconds without an image or packet.
    :param sim_time: whether the clock of the node follows `/clock`.
    """

    state: str
    settings: Settings
    detector: Detector | None
    version: int
    model_problem: str
    refusal: str
    sources: dict[str, int]
    image_bytes: int
    input_problem: str
    mismatches: list[str]
    silence: float
    sim_time: bool
    cv_bridge: str
    marker_problem: str


def diagnostics(node: str, stamp: Time, condition: Condition, report: Report) -> DiagnosticArray:
    """Return the message: every status of the node."""
    message = DiagnosticArray()
    message.header.stamp = stamp
    hardware = condition.detector.model_name if condition.detector else ''
    statuses = [_model(condition, report), _input(condition, report), _latency(condition, report),
                _spikes(condition, report)]
    if condition.settings.input_type == 'events':
        statuses.append(event_status(condition.settings, report))
    message.status = [status.message_for(node, hardware) for status in statuses]
    return message


def _model(condition: Condition, report: Report) -> Status:
    status = Status('model', condition.state)
    status.values = {
        'state': condition.state,
        monitor.REFUSED_PARAMETERS: str(report.total(monitor.REFUSED_PARAMETERS))}
    detector = condition.detector
    if condition.model_problem:
        status.complain(Level.ERROR, f'no network: {condition.model_problem}')
    if report.recent[monitor.REFUSED_PARAMETERS]:
        status.complain(Level.WARN, f'parameters refused: {condition.refusal}')
    if detector is not None:
        height, width = detector.input_size
        status.values |= {
            'model': detector.model_name,
            'model sha256': detector.model_hash,
            'network number': str(condition.version),
            'engine': detector.engine_name,
            'engine asked for': condition.settings.engine,
            'engine reason': detector.engine_reason,
            'threads': str(condition.settings.threads or 'chosen by the engine'),
            'input size (height x width)': f'{height}x{width}',
            'spike code': str(detector.code),
            'classes': ', '.join(detector.class_names)}
    return status


def _input(condition: Condition, report: Report) -> Status:
    name = _NAMES[condition.settings.input_type]
    status = Status('input', f'{name}s arrive' if report.recent[monitor.RECEIVED] else 'idle')
    if condition.state == 'active':
        _complain_about_silence(status, condition)
    if condition.input_problem:
        status.complain(Level.WARN, condition.input_problem)
    for mismatch in condition.mismatches:
        status.complain(Level.WARN, f'incompatible QoS: {mismatch}')
    _complain_about_images(status, condition, report)
    if condition.marker_problem:
        status.complain(Level.WARN, f'no markers: {condition.marker_problem}')
    status.values = {
        'received (Hz)': f'{report.rate(monitor.RECEIVED):.2f}',
        'processed (Hz)': f'{report.rate(monitor.PROCESSED):.2f}',
        'dropped (Hz)': f'{report.rate(monitor.DROPPED):.2f}',
        f'seconds without an {name}': f'{condition.silence:.1f}',
        'clock': 'simulated, by /clock' if condition.sim_time else 'system',
        'cv_bridge': condition.cv_bridge,
        **{f'publishers of {topic}': str(count) for topic, count in condition.sources.items()},
        **{event: str(report.total(event)) for event in (
            monitor.RECEIVED, monitor.PROCESSED, monitor.REPLACED, monitor.TOO_OLD,
            monitor.LOST_IN_TRANSPORT, monitor.ZERO_STAMPS, monitor.TIME_JUMPS)},
        **{event: str(times) for event, times in sorted(report.totals.items())
           if event.startswith((monitor.BAD_IMAGE, monitor.FAILED, monitor.CRASHED,
                                monitor.AFTERWARDS))}}
    return status


def _complain_about_silence(status: Status, condition: Condition) -> None:
    if condition.silence <= condition.settings.input_timeout:
        return
    publishers = ', '.join(
        f'{topic} has {count or "no"} publisher{"s" * (count != 1)}'
        for topic, count in condition.sources.items())
    status.complain(
        Level.ERROR, f'no {_NAMES[condition.settings.input_type]} for {condition.silence:.0f} s; '
        f'{publishers}')


def _complain_about_images(status: Status, condition: Condition, report: Report) -> None:
    recent = report.recent
    for event, times in sorted(recent.items()):
        if event.startswith((monitor.CRASHED, monitor.AFTERWARDS)):
            status.complain(Level.ERROR, f'{times}x {event}')
        elif event.startswith((monitor.BAD_IMAGE, monitor.FAILED)):
            status.complain(Level.WARN, f'{times}x {event}')
    name = _NAMES[condition.settings.input_type]
    if recent[monitor.TOO_OLD] and not recent[monitor.PROCESSED]:
        status.complain(Level.WARN, f'all {name}s were older than max_age')
    if recent[monitor.ZERO_STAMPS]:
        status.complain(
            Level.WARN, f'{name}s without a stamp: stamped at reception, so age is unknown')
    lost = recent[monitor.LOST_IN_TRANSPORT]
    sent = lost + recent[monitor.RECEIVED]
    if lost > LOSS_WARNING * sent:
        is_large = condition.image_bytes > DEFAULT_SEGMENT_BYTES
        remedy = _TRANSPORT_REMEDY if is_large and lost > LOSS_OF_TRANSPORT * sent else _LOAD_REMEDY
        status.complain(Level.WARN, f'{lost} of {sent} images were lost in transport: {remedy}')


def _latency(condition: Condition, report: Report) -> Status:
    status = Status('latency', 'no image was processed yet')
    budget = condition.settings.latency_budget
    compute = report.latency.get('compute')
    if compute is not None:
        status.message = f'compute {compute.p50:.1f} ms (p50), {compute.p95:.1f} ms (p95)'
        if compute.p95 > budget:
            status.complain(
                Level.WARN, f'compute p95 {compute.p95:.1f} ms exceeds the budget of '
                f'{budget:.1f} ms')
    status.values['latency_budget (ms)'] = f'{budget:.1f}'
    for stage, times in report.latency.items():
        for name in ('p50', 'p95', 'p99', 'max'):
            status.values[f'{stage} {name} (ms)'] = f'{getattr(times, name):.3f}'
    return status


def _spikes(condition: Condition, report: Report) -> Status:
    firing = report.firing
    if firing is None:
        counted = condition.settings.statistics
        return Status('spikes', 'no frame in this period' if counted else 'not counted')
    status = Status(
        'spikes', f'{firing.rate:.4f} spikes per neuron and step, {firing.spikes:.0f} a frame')
    status.values = {
        'frames': str(report.counted),
        'firing rate (spikes/neuron/step)': f'{firing.rate:.5f}',
        'spikes per frame': f'{firing.spikes:.0f}',
        'synaptic operations per frame': f'{firing.synaptic_operations:.0f}',
        'estimated energy (mJ/frame)': f'{1e3 * firing.energy_joules:.4f}',
        'estimated energy of the float network (mJ/frame)':
            f'{1e3 * firing.ann_energy_joules:.4f}',
        'energy estimate':
            f'{1e12 * ENERGY_PER_AC:g} pJ an accumulate, {1e12 * ENERGY_PER_MAC:g} pJ a '
            'multiply-accumulate (45 nm CMOS, Horowitz 2014)',
        **{f'firing rate of {layer}': f'{rate:.5f}'
           for layer, rate in firing.rate_by_layer.items()}}
    return status
