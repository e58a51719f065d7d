# SPDX-License-Identifier: Apache-2.0
"""
``snn-detector replay``: the detector on a video, pictures or a bag, of events too, without ROS.

The way of a frame and its stage timers are those of the node, so the difference between this table
and the node's is the cost of ROS.
"""

from __future__ import annotations

import argparse
import itertools
import math
import sys
from collections import Counter
from pathlib import Path

import numpy as np
from tqdm import tqdm

from snn_detector_ros.cli.bag_frames import BagFrames
from snn_detector_ros.cli.event_bag_frames import EventBagFrames, WindowFrame
from snn_detector_ros.cli.run_tables import firing_table, latency_table
from snn_detector_ros.detection.detector import STAGES, Detector
from snn_detector_ros.detection.recording import AnnotatedVideo
from snn_detector_ros.engines.statistics import FiringStatistics, mean_firing
from snn_detector_ros.errors import ConfigurationError
from snn_detector_ros.events.frames import REPRESENTATIONS
from snn_detector_ros.media.bags import Bag, is_bag
from snn_detector_ros.media.sources import Frame, FrameSource, TruncatedSourceError, open_source


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of this command."""
    parser.add_argument(
        'input', metavar='INPUT',
        help='video, picture, directory of pictures, bag, camera:0 or /dev/video0')
    parser.add_argument(
        '-o', '--out', type=Path, required=True, metavar='OUT',
        help='the .mp4 to write, or a directory for it')
    parser.add_argument('--model', type=Path, help='spiking network; default: the shipped one')
    parser.add_argument('--engine', default='auto', help='what runs it; default: %(default)s')
    parser.add_argument('--threads', type=int, default=0, help='0: the engine chooses')
    parser.add_argument(
        '--score', type=float, default=0.25, help='least score of a box; default: %(default)s')
    parser.add_argument('--frames', type=int, default=0, metavar='N', help='0 takes all')
    parser.add_argument(
        '--rate', type=float, metavar='HZ', help='of the video; default: that of the input')
    parser.add_argument(
        '--window', type=float, default=50.0, metavar='MS',
        help='of the events of a bag: time of a picture; default: %(default)s')
    parser.add_argument(
        '--representation', choices=list(REPRESENTATIONS), default='last_event',
        help='how it is drawn; default: %(default)s')


def run(args: argparse.Namespace) -> int:
    """
    Detect on every frame, and write the video and the table.

    :param args: options of ``add_arguments``.
    :returns: exit status.
    :raises SnnDetectorError: if the input, the model or the output cannot be used.
    """
    if args.frames < 0 or (args.rate is not None and not 0 < args.rate <= 1000):
        raise ConfigurationError('--frames must be 0 or more, --rate above 0 and at most 1000 Hz')
    if not 1 <= args.window <= 10_000:
        raise ConfigurationError(f'--window {args.window:g} must be 1 to 10000 ms')
    source = _open(args)
    detector = Detector(args.model, engine=args.engine, threads=args.threads,
                        score_threshold=args.score)
    detector.warm_up()
    path = args.out if args.out.suffix == '.mp4' else args.out / f'{_stem(args.input)}.mp4'
    video = AnnotatedVideo(path, rate=args.rate or source.rate)
    replay = Replay(detector, video)
    try:
        frames = itertools.islice(source, args.frames or None)
        total = min(args.frames or math.inf, source.frame_count or math.inf)
        for frame in tqdm(frames, total=total, unit='frame', disable=None):
            replay.add(frame)
    except TruncatedSourceError as error:
        print(f'snn-detector replay: {error}', file=sys.stderr)
    finally:
        video.close()
    print(replay)
    if isinstance(source, EventBagFrames):
        print(source.summary())
    print(f'video          {path}')
    return 0


class Replay:
    """
    Runs a detector over frames and keeps its times and spikes.

    :param detector: what detects.
    :param video: where the frames go, with their boxes.
    """

    def __init__(self, detector: Detector, video: AnnotatedVideo) -> None:
        self._detector = detector
        self._video = video
        self._times: list[list[float]] = []
        self._firing: list[FiringStatistics] = []
        self._objects: Counter[str] = Counter()

    def add(self, frame: Frame) -> None:
        """Detect on one frame."""
        if isinstance(frame, WindowFrame) and self._detector.reads_events:
            window = frame.window
            result = self._detector.detect_events(window.window, window.sensor_size)
        else:
            result = self._detector.detect(frame.image)
        self._times.append([1e3 * result.stages[stage] for stage in STAGES])
        firing = self._detector.firing()
        if firing is not None:
            self._firing.append(firing)
        self._objects.update(detection.class_name for detection in result.detections)
        self._video.write(frame.image, result.detections, frame.time)

    @property
    def frames(self) -> int:
        """Frames so far."""
        return len(self._times)

    def __str__(self) -> str:
        """Return the table of the run."""
        if not self._times:
            return 'the input holds no frame'
        times = np.array(self._times)
        rows = dict(zip(STAGES, times.T, strict=True)) | {'sum': times.sum(axis=1)}
        found = ', '.join(f'{count} {name}' for name, count in self._objects.most_common())
        height, width = self._detector.input_size
        parts = [
            f'{self._detector.model_name} ({self._detector.code}), engine '
            f'{self._detector.engine_name} ({self._detector.engine_reason}), input '
            f'{height}x{width}',
            f'frames         {self.frames}\nboxes          {found or "none"}',
            latency_table({
                name: np.percentile(values, (50, 95, 99, 100)).tolist()
                for name, values in rows.items()})]
        if self._firing:
            mean = mean_firing(self._firing)
            parts.append(firing_table(
                mean.rate_by_layer, mean=mean.rate, spikes=mean.spikes,
                operations=mean.synaptic_operations, energy=1e3 * mean.energy_joules,
                float_energy=1e3 * mean.ann_energy_joules))
        return '\n\n'.join(parts) + '\n'


def _open(args: argparse.Namespace) -> FrameSource:
    path = Path(args.input)
    if not is_bag(path):
        return open_source(args.input, rate=args.rate)
    bag = Bag(path)
    if bag.has_images or not bag.has_events:
        return BagFrames(path)
    return EventBagFrames(path, window=args.window, representation=args.representation)


def _stem(text: str) -> str:
    return Path(text).resolve().stem if Path(text).exists() else text.replace(':', '_')
