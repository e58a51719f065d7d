# SPDX-License-Identifier: Apache-2.0
"""What every program with a node needs around it: signals, memory, rclpy, errors in a sentence."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import rclpy
from rclpy.exceptions import ParameterException
from rclpy.signals import SignalHandlerOptions

from snn_detector_ros.errors import ConfigurationError, SnnDetectorError
from snn_detector_ros.ros.malloc import keep_large_blocks
from snn_detector_ros.ros.stop_signal import StopSignal


def run_program(
    name: str, body: Callable[[StopSignal], None], stop: StopSignal | None = None
) -> int:
    """
    Run a program, and print what its user can mend as one sentence.

    :param body: makes its node, and works until it is done or asked to stop.
    :param stop: what to ask; made here if None.
    :returns: exit status: 0, or 1 if there was something to mend.
    """
    stop = stop or StopSignal()
    keep_large_blocks()
    try:
        with _ros():
            body(stop)
    except (SnnDetectorError, ParameterException) as error:
        print(f'{name}: {explain(error)}', file=sys.stderr)
        return 1
    finally:
        stop.ignore_further()
    return 0


def explain(error: Exception) -> str:
    """Return an error in one line; with its type, unless its text was written to do without."""
    text = str(error) if isinstance(error, SnnDetectorError) else f'{type(error).__name__}: {error}'
    return ' '.join(text.split())


@contextmanager
def _ros() -> Iterator[None]:
    try:
        try:
            rclpy.init(signal_handler_options=SignalHandlerOptions.NO)
        except RuntimeError as error:  # rclpy's RCLError and UnknownROSArgsError
            raise ConfigurationError(
                f'ROS 2 does not start: {error}; check what follows --ros-args, and that HOME or '
                'ROS_LOG_DIR names a directory that can be written') from error
        yield
    finally:
        rclpy.try_shutdown()
