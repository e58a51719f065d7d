# SPDX-License-Identifier: Apache-2.0
"""Fixtures for tests of the node: a ROS domain of their own, small networks, a bench."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from network_builder import small_detector

from snn_detector_ros.network.model_file import save

if TYPE_CHECKING:
    from node_bench import Bench

# Processes that these tests start inherit both; 101 is the highest domain that is safe everywhere.
os.environ['ROS_DOMAIN_ID'] = str(1 + os.getpid() % 101)
os.environ['ROS_AUTOMATIC_DISCOVERY_RANGE'] = 'LOCALHOST'


@pytest.fixture(scope='session')
def small_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a random network of 32x32 pixels that finds something in every picture."""
    path = tmp_path_factory.mktemp('models') / 'small.onnx'
    save(small_detector(), path)
    return path


@pytest.fixture(scope='session')
def other_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp('models') / 'other.onnx'
    save(small_detector(seed=1), path)
    return path


@pytest.fixture
def bench() -> Iterator[Bench]:
    """Return a bench of running nodes."""
    rclpy = pytest.importorskip('rclpy', reason='needs ROS 2')
    from node_bench import Bench

    rclpy.init()
    bench = Bench()
    yield bench
    bench.close()
    rclpy.try_shutdown()


@pytest.fixture(scope='session')
def picture() -> np.ndarray:
    """Return a random picture, uint8 [48, 64, 3]."""
    return np.random.default_rng(3).integers(0, 256, (48, 64, 3), dtype=np.uint8)
