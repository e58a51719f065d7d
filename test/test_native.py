# SPDX-License-Identifier: Apache-2.0
"""The compiled loops equal their numpy twins."""

from __future__ import annotations

import numpy as np
import pytest

from snn_detector_ros import native
from snn_detector_ros.network import SpikeCode


def full_table(code: SpikeCode) -> np.ndarray:
    """Return the digits of all values of a byte; those above Q stand for Q."""
    return np.ascontiguousarray(code.digits(np.minimum(np.arange(256), code.max_level)))


@pytest.mark.parametrize('code', [
    SpikeCode.constant(1), SpikeCode.constant(1, 127), SpikeCode.constant(2, 60),
    SpikeCode.linear(3, 20), SpikeCode.linear(4, 12), SpikeCode.linear(4, 25),
    SpikeCode.linear(5, 8), SpikeCode.linear(6), SpikeCode.binary(7)], ids=str)
def test_counting_agrees_with_numpy_and_with_the_raster(code: SpikeCode) -> None:
    rng = np.random.default_rng(0)
    tensors = [rng.integers(0, 256, size).astype(np.uint8)
               for size in (0, 1, 63, 64, 65, 1000, 64 * 1024 + 17)]
    counts = native.count_spikes(tensors, full_table(code))
    np.testing.assert_array_equal(counts, native.count_spikes_numpy(tensors, full_table(code)))
    np.testing.assert_array_equal(
        counts, [
            code.digits(np.minimum(levels, code.max_level)).sum(axis=1, dtype=np.int64)
            for levels in tensors])


@pytest.mark.parametrize('steps', [1, 2, 3, 4, 5, 6, 7, 300])
@pytest.mark.parametrize('largest', [1, 12, 255])
def test_counting_agrees_with_numpy_on_any_table(steps: int, largest: int) -> None:
    """Signed levels lie around the middle of the bytes: every entry counts, the first as well."""
    rng = np.random.default_rng(steps)
    table = rng.integers(0, largest + 1, (steps, 256), dtype=np.uint8)
    tensors = [rng.integers(0, 256, size).astype(np.uint8) for size in (0, 1, 63, 64, 65, 70_000)]
    np.testing.assert_array_equal(native.count_spikes(tensors, table),
                                  native.count_spikes_numpy(tensors, table))


@pytest.mark.parametrize('shape', [(2, 2, 3), (4, 6, 3), (32, 48, 3), (6, 4, 1)])
def test_space_to_depth_agrees_with_numpy(shape: tuple[int, int, int]) -> None:
    image = np.random.default_rng(1).integers(0, 256, shape, dtype=np.uint8)
    results = [np.empty(image.size, dtype=np.uint8) for _ in range(2)]
    native.space_to_depth(image, results[0])
    native.space_to_depth_numpy(image, results[1])
    np.testing.assert_array_equal(results[0], results[1])
    cell = results[0].reshape(shape[0] // 2, shape[1] // 2, 2, 2, shape[2])[0, 0]
    np.testing.assert_array_equal(cell, image[:2, :2])


@pytest.mark.skipif(not native.HAVE_NATIVE, reason='the C module was not built')
def test_the_c_module_refuses_wrong_sizes() -> None:
    assert native._native is not None
    with pytest.raises(ValueError, match='even H and W'):
        native._native.space_to_depth(
            np.zeros((3, 4, 3), np.uint8), 3, 4, 3, np.zeros(36, np.uint8))
    with pytest.raises(ValueError, match='tables'):
        native._native.count_spikes([], np.zeros(100, np.uint8), np.zeros(1))
    with pytest.raises(ValueError, match='contiguous'):
        native._native.count_spikes(
            [np.zeros((4, 4), np.uint8)[:, ::2]], np.zeros(256, np.uint8), np.zeros(1, np.int64))
