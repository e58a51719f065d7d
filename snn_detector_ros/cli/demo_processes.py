# SPDX-License-Identifier: Apache-2.0
"""
The processes of the demo: started together, ended together, however the demo ends.

Each child leads a process group of its own, so that Ctrl-C reaches the demo alone and the demo ends
them in order; the kernel ends them if the demo is killed.
"""

from __future__ import annotations

import ctypes
import os
import random
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from types import TracebackType

import snn_detector_ros
from snn_detector_ros.errors import SnnDetectorError
from snn_detector_ros.resources import resource

_LIBC = ctypes.CDLL(None)
_PR_SET_PDEATHSIG = 1
#: How long a child may take to end by itself, s.
PATIENCE = 8.0
#: Lines of a child's log that are shown if it fails.
TAIL = 15


class ProcessError(SnnDetectorError):
    """A process of the demo failed."""


class Child:
    """
    One process that runs a module of this package.

    :param name: what to call it; its log is ``<name>.log``.
    :param module: the module to run.
    :param arguments: its command line.
    :param log: file for its output.
    :param environment: its whole environment.
    :param shows_output: leave its standard output on the terminal; only errors go to the log.
    """

    def __init__(
        self,
        name: str,
        module: str,
        arguments: Sequence[str],
        *,
        log: Path,
        environment: Mapping[str, str],
        shows_output: bool = False,
    ) -> None:
        self.name = name
        self.log = log
        with log.open('wb') as file:
            self._process = subprocess.Popen(
                [sys.executable, '-m', module, *arguments], env=dict(environment),
                stdin=subprocess.DEVNULL, stdout=None if shows_output else file, stderr=file,
                start_new_session=True, preexec_fn=partial(_end_with, os.getpid()))

    def ended(self) -> bool:
        """Whether it ended well; call it again while it does not."""
        status = self._process.poll()
        if status not in (None, 0):
            raise self.failure(f'ended with status {status}')
        return status == 0

    def interrupt(self) -> None:
        """Ask it to end, as Ctrl-C does."""
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGINT)

    def stop(self) -> int | None:
        """
        Ask it to end; kill it and all that it started if it does not.

        :returns: its exit status; None if it had to be killed.
        """
        self.interrupt()
        try:
            return self._process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
            return None

    def failure(self, problem: str) -> ProcessError:
        """Return an error that shows the end of the log."""
        lines = self.log.read_text(encoding='utf-8', errors='replace').splitlines()[-TAIL:]
        shown = '\n'.join(f'  | {line}' for line in lines) or '  | (it printed nothing)'
        return ProcessError(f'the {self.name} {problem}; the end of {self.log}:\n{shown}')


class Children:
    """
    All processes of the demo, as a context that none of them outlives.

    :param directory: where their logs go; made if it does not exist.
    """

    def __init__(self, directory: Path) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self._directory = directory
        self._environment = ros_environment(directory)
        self._children: list[Child] = []

    def __enter__(self) -> Children:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for child in self._children:
            child.interrupt()
        for child in self._children:
            child.stop()

    def start(
        self, name: str, module: str, arguments: Sequence[str], *, shows_output: bool = False
    ) -> Child:
        """Start a module; see :class:`Child`."""
        child = Child(
            name, module, arguments, log=self._directory / f'{name}.log',
            environment=self._environment, shows_output=shows_output)
        self._children.append(child)
        return child


def ros_environment(log_directory: Path) -> dict[str, str]:
    """
    Return an environment in which images of any size get through, and nobody else is disturbed.

    It names the Fast DDS profile with the large shared-memory segment, keeps freed memory for the
    next image, stays on this machine and takes a domain of its own.
    """
    profile = str(resource('config/fastdds_large_images.xml'))
    package_root = str(Path(snn_detector_ros.__file__).resolve().parents[1])
    paths = [package_root, *filter(None, os.environ.get('PYTHONPATH', '').split(os.pathsep))]
    return {
        **os.environ,
        'PYTHONPATH': os.pathsep.join(paths),
        'PYTHONUNBUFFERED': '1',
        'ROS_DOMAIN_ID': str(free_domain()),
        'ROS_AUTOMATIC_DISCOVERY_RANGE': 'LOCALHOST',
        'ROS_LOG_DIR': str(log_directory),
        # Jazzy reads the first name, Kilted and later the second.
        'FASTRTPS_DEFAULT_PROFILES_FILE': profile,
        'FASTDDS_DEFAULT_PROFILES_FILE': profile,
        'MALLOC_MMAP_THRESHOLD_': str(32 << 20),
        'MALLOC_TRIM_THRESHOLD_': str(128 << 20),
    }


def free_domain() -> int:
    """
    Return a ROS domain that nobody uses on this machine.

    The first participant of a domain listens on a port that follows from its number (DDSI-RTPS 2.2,
    9.6.1.1). Above 101 those ports are in the range of other programs.
    """
    for domain in random.sample(range(1, 102), 101):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            try:
                probe.bind(('', 7410 + 250 * domain))
            except OSError:
                continue
            return domain
    raise ProcessError('all ROS domains from 1 to 101 are in use on this machine')


def _end_with(parent: int) -> None:
    if sys.platform == 'linux':
        _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != parent:  # it ended before the kernel was told
            os._exit(1)
