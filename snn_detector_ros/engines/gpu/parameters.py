# SPDX-License-Identifier: Apache-2.0
"""The types of what kernels are given, in Triton's notation; all kernels share their names."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

#: What is no int32.
_TYPES = {
    'source': '*u8', 'x': '*i8', 'weight': '*i8', 'residual': '*i8', 'out': '*i8', 'other': '*i8',
    'third': '*i8', 'bias': '*i32', 'threshold': '*i32', 'sums': '*i32', 'counts': '*i32',
    'tau': '*i32', 'row_taps': '*i32', 'column_taps': '*i32', 'reciprocal': '*fp32',
    'slope': 'fp32', 'tail_weight': '*i8', 'tail_bias': '*i32', 'tail_threshold': '*i32',
    'tail_reciprocal': '*fp32', 'tail_slope': 'fp32'}
#: Of numpy, by the names of Triton's.
DTYPES: Mapping[str, type[np.generic]] = {
    'u8': np.uint8, 'i8': np.int8, 'i32': np.int32, 'fp32': np.float32}
#: Multiples of 16 bytes, by the way that tensors are placed. Levels that are read need not be: they
#: may be a slice of others.
_ALIGNED = frozenset({
    'x_pitch', 'weight', 'residual_pitch', 'out', 'out_pitch', 'other', 'other_pitch', 'third',
    'third_pitch', 'tail_weight'})


def is_aligned(kernel: str, parameter: str) -> bool:
    """Whether a parameter of a kernel is always a multiple of 16 bytes."""
    # A convolution reads from the whole slot before the first channel; weights there are zero.
    return parameter in _ALIGNED or (kernel, parameter) == ('convolution', 'x')


def type_of(parameter: str) -> str:
    """Return the type of a parameter, e.g. ``*i8`` or ``i32``."""
    return _TYPES.get(parameter, 'i32')
