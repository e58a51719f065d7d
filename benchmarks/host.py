# SPDX-License-Identifier: Apache-2.0
"""Facts about the machine and its software, without which a time means nothing."""

from __future__ import annotations

import os
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from snn_detector_ros.native import HAVE_NATIVE

PACKAGES = ('numpy', 'onnx', 'onnxruntime', 'onnxruntime-gpu', 'opencv-python-headless',
            'openvino', 'torch', 'triton', 'cuda-bindings', 'spikingjelly')

#: CPU features that decide how fast, and how exact, int8 arithmetic is.
FEATURES = ('avx2', 'avx512f', 'avx512vbmi', 'avx512_vnni', 'avx_vnni', 'amx_int8')


def describe() -> dict[str, Any]:
    """Return the machine, its load and the versions of what is compared."""
    versions = {}
    for package in PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            continue
    facts = _cpu_facts()
    flags = facts.get('flags', '').split()
    return {
        'cpu': facts.get('model name', platform.processor() or platform.machine()),
        'cpu_features': [feature for feature in FEATURES if feature in flags],
        'cores': os.cpu_count(),
        'system': platform.platform(),
        'python': platform.python_version(),
        'versions': versions,
        'compiled_loops': HAVE_NATIVE,
        'load': load(),
    }


def load() -> float:
    """Return the number of busy processes, averaged over the last minute."""
    return round(os.getloadavg()[0], 2)


def _cpu_facts() -> dict[str, str]:
    """Return what Linux says about the first core; nothing on other systems."""
    path = Path('/proc/cpuinfo')
    text = path.read_text().split('\n\n')[0] if path.is_file() else ''
    pairs = (line.partition(':') for line in text.splitlines())
    return {key.strip(): value.strip() for key, _, value in pairs}
