# SPDX-License-Identifier: Apache-2.0
"""The package as a robot gets it: built by colcon, sourced, started, interrupted."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip('rclpy', reason='needs ROS 2; `make setup` installs it')

import rclpy  # noqa: E402
from diagnostic_msgs.msg import DiagnosticArray  # noqa: E402
from rclpy.executors import SingleThreadedExecutor  # noqa: E402

ROOT = Path(__file__).resolve().parents[1]
SOURCES = ('setup.py', 'setup.cfg', 'package.xml', 'LICENSE', 'resource', 'launch', 'config',
           'rviz', 'models', 'snn_detector_ros')
DOMAIN = os.getpid() % 100 + 1
# Discovery takes up to 4 s, loading the network about 1 s; a loaded machine needs more.
PATIENCE = 45


def environment() -> dict[str, str]:
    """Return this environment, set up for ROS 2 as tools/ros-env.sh does."""
    return {
        **os.environ,
        'PATH': f'{sys.prefix}/bin:{os.environ["PATH"]}',
        'AMENT_PREFIX_PATH': sys.prefix,
        'CMAKE_PREFIX_PATH': sys.prefix,
        'ROS_DISTRO': 'jazzy',
        'ROS_VERSION': '2',
        'ROS_PYTHON_VERSION': '3',
        'ROS_DOMAIN_ID': str(DOMAIN),
        'ROS_AUTOMATIC_DISCOVERY_RANGE': 'LOCALHOST',
    }


@pytest.fixture(scope='module')
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A colcon workspace in which the package has been built."""
    if not shutil.which('colcon', path=f'{sys.prefix}/bin:{os.environ["PATH"]}'):
        pytest.skip('needs colcon; `make test` installs it')
    workspace = tmp_path_factory.mktemp('workspace')
    package = workspace / 'src' / 'snn_detector_ros'
    package.mkdir(parents=True)
    for name in SOURCES:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, package / name,
                            ignore=shutil.ignore_patterns('__pycache__', '*.so'))
        else:
            shutil.copy(ROOT / name, package)
    built = subprocess.run(['colcon', 'build'], cwd=workspace, env=environment(),
                           capture_output=True, text=True, timeout=180)
    assert built.returncode == 0, built.stdout + built.stderr
    return workspace


def in_workspace(workspace: Path, command: str, **options: Any) -> subprocess.Popen[str]:
    """Start a shell command with the built workspace sourced, out of reach of the sources."""
    return subprocess.Popen(
        ['bash', '-c', f'source install/setup.bash && exec {command}'], cwd=workspace,
        env=environment(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, **options)


def output(workspace: Path, command: str) -> str:
    """Return what a command prints in the sourced workspace."""
    process = in_workspace(workspace, command)
    printed, _ = process.communicate(timeout=60)
    assert process.returncode == 0, printed
    return printed.strip()


def test_share_folder_holds_what_the_node_needs(workspace: Path) -> None:
    share = Path(output(
        workspace, 'python -c "from ament_index_python import get_package_share_directory as get; '
                   'print(get(\'snn_detector_ros\'))"'))

    assert share == workspace / 'install/snn_detector_ros/share/snn_detector_ros'
    for folder in ('launch', 'config', 'rviz', 'models'):
        wanted = {file.name for file in (ROOT / folder).iterdir() if file.is_file()}
        assert {file.name for file in (share / folder).iterdir()} == wanted


def test_installed_package_is_the_one_imported(workspace: Path) -> None:
    found = output(workspace, 'python -c "import snn_detector_ros as s; print(s.__file__)"')

    assert found.startswith(str(workspace / 'install'))


def test_extension_is_compiled_and_installed(workspace: Path) -> None:
    found = output(workspace, 'python -c "import snn_detector_ros._native as n; print(n.__file__)"')

    assert found.startswith(str(workspace / 'install'))


@pytest.fixture
def detector(workspace: Path) -> Iterator[subprocess.Popen[str]]:
    """The installed executable, running in a process of its own."""
    process = in_workspace(
        workspace, 'install/snn_detector_ros/lib/snn_detector_ros/detector_node '
                   '--ros-args -r __ns:=/robot')
    yield process
    if process.poll() is None:
        process.kill()
    process.communicate()


def reported_state(process: subprocess.Popen[str], node: str) -> str:
    """Wait until a node reports on `/diagnostics` that it is active; return its last state."""
    context = rclpy.Context()
    rclpy.init(context=context, domain_id=DOMAIN)
    listener = rclpy.create_node('listener', context=context)
    executor = SingleThreadedExecutor(context=context)
    executor.add_node(listener)
    states = ['silent']

    def listen(message: DiagnosticArray) -> None:
        for status in message.status:
            if status.name.startswith(node):
                states.extend(item.value for item in status.values if item.key == 'state')

    listener.create_subscription(DiagnosticArray, '/diagnostics', listen, 10)
    deadline = time.monotonic() + PATIENCE
    while states[-1] != 'active' and process.poll() is None and time.monotonic() < deadline:
        executor.spin_once(timeout_sec=0.1)
    executor.shutdown()
    listener.destroy_node()
    rclpy.shutdown(context=context)
    return states[-1]


@pytest.mark.parametrize('ending', [signal.SIGINT, signal.SIGTERM])
def test_installed_executable_runs_and_ends_cleanly(
    detector: subprocess.Popen[str], ending: signal.Signals,
) -> None:
    state = reported_state(detector, '/robot/snn_detector')

    detector.send_signal(ending)
    printed, _ = detector.communicate(timeout=20)

    assert state == 'active', printed
    assert detector.returncode == 0, printed
    assert 'Traceback' not in printed
