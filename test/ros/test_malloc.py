# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import platform
import subprocess
import sys

import pytest

from snn_detector_ros.ros.malloc import keep_large_blocks


@pytest.mark.skipif(platform.libc_ver()[0] != 'glibc', reason='the C library is not glibc')
def test_large_blocks_are_kept_once_asked_for():
    # In a process of its own, as there is no way back. A kept block does not fault again.
    program = """
import resource
from snn_detector_ros.ros.malloc import keep_large_blocks

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(50):
        bytearray(b'x' * 4_000_000)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

before = faults()
assert keep_large_blocks()
faults()
assert faults() < before / 10
"""
    subprocess.run([sys.executable, '-c', program], check=True, timeout=60)


def test_another_c_library_is_left_alone(monkeypatch):
    monkeypatch.setattr(platform, 'libc_ver', lambda: ('', ''))
    assert keep_large_blocks() is False
