# SPDX-License-Identifier: Apache-2.0
"""The paper model of a GPU: the larger of two times, summed over launches."""

from __future__ import annotations

import re

import pytest

from benchmarks.roofline import GPUS, Gpu, main, table
from snn_detector_ros.engines.gpu.plan import KernelSpec, Launch, Plan


def launch(products: int, traffic: int) -> Launch:
    return Launch(
        KernelSpec('convolution', ()), (f'conv{products}',), (3, 2), {}, products, traffic)


def test_the_longer_of_operations_and_bytes_counts() -> None:
    plan = Plan((8, 8, 3), launches=[launch(500_000, 10), launch(50, 4_000)])
    gpu = Gpu('toy', tops=1, bandwidth=1)
    rows = table(plan, [gpu]).splitlines()
    assert rows[2] == '| conv500000 | 6 | 0.5 | 0 | 1.00 |'
    assert rows[3] == '| conv50 | 6 | 0.0 | 4 | 4.00 B |'
    assert rows[-1] == '| **2 launches** | | 1 | 4 | 5 |'


def test_the_shipped_network_has_a_row_a_launch(capsys: pytest.CaptureFixture[str]) -> None:
    main(['--gpu', *GPUS])
    rows = capsys.readouterr().out.splitlines()
    (total,) = re.findall(r'\*\*(\d+) launches', rows[-1])
    assert len(rows) == int(total) + 3
    times = [float(cell) for cell in rows[-1].split('|')[-1 - len(GPUS):-1]]
    orin, nano, h100 = times
    assert h100 < orin < nano
