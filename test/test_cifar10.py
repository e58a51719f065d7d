# SPDX-License-Identifier: Apache-2.0
"""CIFAR-10 in both forms, and what is refused."""

from pathlib import Path

import numpy as np
import pytest

from snn_detector_ros.datasets.cifar10 import NAMES, read_cifar10
from snn_detector_ros.errors import DatasetError


def pictures(count: int) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(count)
    return random.integers(0, 256, (count, 32, 32, 3), np.uint8), np.arange(count) % 10


def write_batch(file: Path, images: np.ndarray, labels: np.ndarray) -> None:
    planes = images.transpose(0, 3, 1, 2).reshape(len(images), -1)
    np.column_stack((labels.astype(np.uint8), planes)).tofile(file)


def test_both_forms_give_the_same_pictures(tmp_path: Path) -> None:
    images, labels = pictures(25)
    (tmp_path / 'binary').mkdir()
    write_batch(tmp_path / 'binary' / 'data_batch_1.bin', images[:15], labels[:15])
    write_batch(tmp_path / 'binary' / 'data_batch_2.bin', images[15:], labels[15:])
    np.savez(tmp_path / 'train.npz', images=images, labels=labels)
    for folder in (tmp_path, tmp_path / 'binary'):
        read = read_cifar10(folder, 'train')
        np.testing.assert_array_equal(read.images, images)
        np.testing.assert_array_equal(read.labels, labels)


def test_shared_pictures_are_balanced(shared_data: Path) -> None:
    test = read_cifar10(shared_data / 'cifar10', 'test')
    assert test.images.shape == (2000, 32, 32, 3)
    assert np.bincount(test.labels).tolist() == [200] * len(NAMES)


@pytest.mark.parametrize(('content', 'message'), [
    (b'', 'holds neither'), (b'x' * 3074, 'no multiple of 3073'),
    (bytes([10]) + bytes(3072), 'not in 0..9')])
def test_damaged_files_are_named(tmp_path: Path, content: bytes, message: str) -> None:
    if content:
        (tmp_path / 'test_batch.bin').write_bytes(content)
    with pytest.raises(DatasetError, match=message):
        read_cifar10(tmp_path, 'test')


def test_damaged_archives_are_named(tmp_path: Path) -> None:
    (tmp_path / 'train.npz').write_bytes(b'PK\x03\x04 cut')
    with pytest.raises(DatasetError, match='not an archive'):
        read_cifar10(tmp_path, 'train')
    np.savez(tmp_path / 'train.npz', images=np.zeros((2, 8, 8, 3), np.uint8), labels=np.zeros(2))
    with pytest.raises(DatasetError, match='shape'):
        read_cifar10(tmp_path, 'train')
    images = np.zeros((2, 32, 32, 3), np.uint8)
    np.savez(tmp_path / 'train.npz', images=images, labels=np.zeros((2, 10)))
    with pytest.raises(DatasetError, match=r'labels of shape \(2, 10\)'):
        read_cifar10(tmp_path, 'train')
    with (tmp_path / 'train.npz').open('wb') as file:
        np.save(file, images)
    with pytest.raises(DatasetError, match='not an archive'):
        read_cifar10(tmp_path, 'train')
    with pytest.raises(DatasetError, match='no split'):
        read_cifar10(tmp_path, 'val')
