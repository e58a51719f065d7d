# SPDX-License-Identifier: Apache-2.0
"""
Player node: a video, pictures, a camera or a bag as ROS topics, on a monotonic schedule.

It stands in for a camera driver and, where rosbag2 is missing, for `ros2 bag play`. It waits until
somebody listens, so that nothing is lost at the start, and says at the end how late its frames
were.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path

from rclpy.node import Node

from snn_detector_ros.media.bags import Bag, is_bag
from snn_detector_ros.media.schedule import Schedule
from snn_detector_ros.media.sources import SourceError, open_playlist
from snn_detector_ros.ros.player_options import PlayerOptions
from snn_detector_ros.ros.session import run_program
from snn_detector_ros.ros.sim_clock import SimClock
from snn_detector_ros.ros.stop_signal import StopSignal
from snn_detector_ros.ros.tracks import BagTrack, FrameTrack, Track

#: We see a match a little before the other side does, s; it would miss what we publish meanwhile.
MATCH_GRACE = 0.2


def open_track(node: Node, options: PlayerOptions) -> Track:
    """
    Open what the parameters name.

    :raises SnnDetectorError: if it cannot be read, or a bag stands among several inputs.
    """
    paths = [Path(text) for text in options.input]
    if not any(is_bag(path) for path in paths):
        source = open_playlist(options.input, rate=options.rate or None, hold=options.hold)
        return FrameTrack(node, source, options)
    if len(paths) > 1:
        raise SourceError(f'a bag is played alone, not with {len(paths) - 1} other inputs')
    return BagTrack(node, Bag(paths[0], topics=options.topics), options)


def wait_for_subscribers(
    node: Node, track: Track, options: PlayerOptions, stopped: Callable[[], bool]
) -> None:
    """Wait until enough subscribers are matched, or the longest wait is over."""
    deadline = time.monotonic() + options.wait
    while track.subscribers() < options.subscribers and not stopped():
        if time.monotonic() > deadline:
            node.get_logger().warning(
                f'{track.subscribers()} of {options.subscribers} subscribers after '
                f'{options.wait:g} s; playing all the same')
            return
        time.sleep(0.01)
    if options.subscribers and not stopped():
        time.sleep(MATCH_GRACE)


def play(node: Node, track: Track, options: PlayerOptions, schedule: Schedule) -> None:
    """Play a track until its end, the frame limit or the schedule's request to stop."""
    clock: SimClock | None = None
    if options.clock:
        sim_clock = clock = SimClock(node, origin=track.origin, speed=options.speed)
        schedule.tick = lambda: sim_clock.publish(schedule.elapsed)
    due, played = 0.0, 0
    while True:
        start = due
        for cue in track.cues():
            due = schedule.elapsed if track.is_live else start + cue.time / options.speed
            if not schedule.wait(due):
                return
            cue.publish(node.get_clock().now().to_msg() if clock is None else clock.publish(due))
            played += 1
            if played == options.max_frames:
                return
        if not options.loop or played == 0:
            return
        due += track.pause / options.speed
        if clock is not None:
            clock.restart(due)


def run(node: Node, stopped: Callable[[], bool]) -> None:
    """
    Read the parameters, wait, play and report.

    :raises SnnDetectorError: if the input cannot be read, or not to its end.
    """
    options = PlayerOptions.declare(node)
    track = open_track(node, options)
    node.get_logger().info(f'playing {", ".join(options.input)}')
    wait_for_subscribers(node, track, options, stopped)
    schedule = Schedule(stopped)
    try:
        play(node, track, options, schedule)
    finally:
        print(f'player: {schedule.lateness()}', flush=True)


def main(*, stop: StopSignal | None = None) -> int:
    """
    Run the player until the end of its input, or SIGINT or SIGTERM.

    :returns: exit status: 0, or 1 if the input could not be read to its end.
    """
    return run_program('player', _run, stop)


def _run(stop: StopSignal) -> None:
    # Nothing can be set while it plays, so nothing has to listen for it.
    node = Node('player', start_parameter_services=False)
    try:
        run(node, stop.came)
    finally:
        node.destroy_node()


if __name__ == '__main__':
    sys.exit(main())
