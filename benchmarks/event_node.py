# SPDX-License-Identifier: Apache-2.0
"""
What the node costs on a recording of an event camera, played through DDS at its own pace.

    python -m benchmarks.event_node BAG --topic /event_camera/events

The player loops over the bag; each loop begins the stream anew, which the node counts. Processor
time is that of the node's process, all of its threads, while the player plays.
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import rclpy
from diagnostic_msgs.msg import DiagnosticArray

NODE, PLAYER = 'snn_detector_ros.ros.node', 'snn_detector_ros.ros.player'
#: Values of the diagnostics that are printed, by status.
SHOWN = {
    'events': ('events (1/s)', 'packets (Hz)', 'windows (Hz)', 'decode time p50 (ms)',
               'decode time p95 (ms)', 'decode time max (ms)', 'events', 'lost packets',
               'packets dropped before decoding', 'dropped: events older than their window'),
    'input': ('received', 'processed', 'dropped: replaced by a newer image'),
    'latency': tuple(f'{stage} {quantile} (ms)' for stage in (
        'transport', 'window', 'wait', 'convert', 'preprocess', 'inference', 'postprocess',
        'publish', 'compute', 'age') for quantile in ('p50', 'p95')),
}


class Statuses:
    """The values of the last diagnostics, by status."""

    def __init__(self) -> None:
        self._node = rclpy.create_node('event_benchmark')
        self._values: dict[str, dict[str, str]] = {}
        self._node.create_subscription(DiagnosticArray, '/diagnostics', self._take, 10)

    def _take(self, message: DiagnosticArray) -> None:
        for status in message.status:
            self._values[status.name.rpartition(': ')[2]] = {
                value.key: value.value for value in status.values}

    def of(self, name: str) -> dict[str, str]:
        """Return the values of a status; none before it came."""
        return self._values.get(name, {})

    def spin_until(self, deadline: float, status: str = '', key: str = '', value: str = '') -> None:
        """Listen until a monotonic time, or until a status has a value."""
        while time.monotonic() < deadline and not (key and self.of(status).get(key) == value):
            rclpy.spin_once(self._node, timeout_sec=0.1)


def start(module: str, parameters: Sequence[str], *remappings: str) -> subprocess.Popen[bytes]:
    """Start a program of the package with parameters and remappings, each ``name:=value``."""
    return subprocess.Popen([
        sys.executable, '-m', module, '--ros-args',
        *(word for parameter in parameters for word in ('-p', parameter)),
        *(word for remapping in remappings for word in ('-r', remapping))])


def cpu_seconds(pid: int) -> float:
    """Return the processor time that a process has used."""
    fields = Path(f'/proc/{pid}/stat').read_text().rpartition(')')[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf('SC_CLK_TCK')


def main() -> None:
    """Run the benchmark from the command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition('\n\n')[0])
    parser.add_argument('bag', type=Path)
    parser.add_argument('--topic', default='/event_camera/events')
    parser.add_argument('--seconds', type=float, default=20.0)
    parser.add_argument('--parameter', action='append', default=[], metavar='NAME:=VALUE',
                        help='of the node')
    arguments = parser.parse_args()
    rclpy.init()
    statuses = Statuses()
    processes = [start(NODE, ['input_type:=events', *arguments.parameter],
                       f'events:={arguments.topic}')]
    try:
        statuses.spin_until(time.monotonic() + 30, 'model', 'state', 'active')
        processes.append(start(PLAYER, [f'input:={arguments.bag}', 'loop:=true']))
        deadline = time.monotonic() + 30
        while not float(statuses.of('events').get('packets (Hz)', 0)):
            statuses.spin_until(min(deadline, time.monotonic() + 0.5))
        began, used = time.monotonic(), cpu_seconds(processes[0].pid)
        statuses.spin_until(began + arguments.seconds)
        used, took = cpu_seconds(processes[0].pid) - used, time.monotonic() - began
    finally:
        for process in processes:
            process.send_signal(signal.SIGINT)
            process.wait(20)
        rclpy.shutdown()
    print(f'processor time of the node: {100 * used / took:.1f} % of a core over {took:.0f} s')
    for status, keys in SHOWN.items():
        for key in keys:
            print(f'{status}: {key} = {statuses.of(status).get(key, "none")}')


if __name__ == '__main__':
    main()
