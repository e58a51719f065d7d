# SPDX-License-Identifier: Apache-2.0
"""Fixtures that many tests share."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

# The threads of OpenMP and OpenBLAS spin while they wait for each other: on a busy machine, small
# networks would take minutes instead of seconds.
for name in ('OMP_NUM_THREADS', 'OPENBLAS_NUM_THREADS'):
    os.environ.setdefault(name, '1')

# Triton reads this where a kernel is defined: in this process all kernels are interpreted. That
# they compile is tested in processes of its own.
os.environ.setdefault('TRITON_INTERPRET', '1')

SHARED_DATA = Path(__file__).resolve().parents[2] / 'shared' / 'data'


@pytest.fixture(scope='session')
def shared_data() -> Path:
    """Return the folder of labelled pictures and recordings; skip where it is absent."""
    if not SHARED_DATA.is_dir():
        pytest.skip(f'needs the data folder {SHARED_DATA.parent.name}/{SHARED_DATA.name} '
                    'beside the checkout')
    return SHARED_DATA
