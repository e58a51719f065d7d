# SPDX-License-Identifier: Apache-2.0
"""
The programs of the package, as `ros2 run` and `ros2 launch` start them.

They take the signals over before the long imports of rclpy, OpenCV and onnxruntime begin: a Ctrl-C
meanwhile ends them as cleanly as one later.
"""

from __future__ import annotations

import sys
from importlib import import_module
from importlib.util import find_spec

from snn_detector_ros.errors import ConfigurationError, SnnDetectorError
from snn_detector_ros.ros.stop_signal import StopSignal


def detector_node() -> int:
    """Run the detector; see :func:`snn_detector_ros.ros.node.main`."""
    return _run('node')


def player_node() -> int:
    """Run the player; see :func:`snn_detector_ros.ros.player.main`."""
    return _run('player')


def _run(module: str) -> int:
    stop = StopSignal()
    try:
        if find_spec('rclpy') is None:
            raise ConfigurationError(
                'ROS 2 (rclpy) is not found: source /opt/ros/$ROS_DISTRO/setup.bash first, or use '
                'the environment that `make setup` builds')
        program = import_module(f'snn_detector_ros.ros.{module}')
    except SnnDetectorError as error:
        print(f'{module}: {error}', file=sys.stderr)
        return 1
    return int(program.main(stop=stop))
