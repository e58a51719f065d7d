# SPDX-License-Identifier: Apache-2.0
"""
Read CIFAR-10 (Krizhevsky 2009): small pictures of ten classes, to train classifiers with.

Two forms are read: the official binary version (``data_batch_1.bin`` to ``_5.bin`` and
``test_batch.bin``), and ``train.npz`` and ``test.npz`` with arrays ``images`` and ``labels``. The
official Python version is a pickle, which may run any code, and is not read.
"""

import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from snn_detector_ros.errors import DatasetError

NAMES = ('airplane', 'automobile', 'bird', 'cat', 'deer', 'dog', 'frog', 'horse', 'ship', 'truck')
SIDE = 32
#: A record of the binary version: the label, then 1024 red, green and blue values each.
RECORD = 1 + 3 * SIDE * SIDE
BINARY_FILES = {'train': 'data_batch_*.bin', 'test': 'test_batch.bin'}


@dataclass(frozen=True, eq=False)
class LabelledPictures:
    """
    Pictures of one split.

    :param images: uint8 [N, 32, 32, 3], red, green, blue.
    :param labels: int64 [N], indices into ``NAMES``.
    """

    images: NDArray[np.uint8]
    labels: NDArray[np.int64]


def read_cifar10(folder: str | Path, split: str) -> LabelledPictures:
    """
    Read one split into memory.

    :param folder: holds the files of one of the two forms.
    :param split: ``train`` or ``test``.
    :raises DatasetError: if there are no such files, or one is damaged.
    """
    if split not in BINARY_FILES:
        raise DatasetError(f'CIFAR-10 has no split {split!r}; take one of train, test')
    root = Path(folder)
    archive, batches = root / f'{split}.npz', sorted(root.glob(BINARY_FILES[split]))
    if archive.is_file():
        images, labels = _read_archive(archive)
    elif batches:
        parts = [_read_batch(file) for file in batches]
        images, labels = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
    else:
        raise DatasetError(
            f'{root} holds neither {archive.name} nor {BINARY_FILES[split]}; unpack the binary '
            'version of CIFAR-10 there')
    if labels.ndim != 1 or images.shape != (len(labels), SIDE, SIDE, 3) or not len(labels):
        raise DatasetError(
            f'{root}: split {split} has pictures of shape {images.shape} and labels '
            f'of shape {labels.shape}; expected [N, {SIDE}, {SIDE}, 3] and [N]')
    if labels.min() < 0 or labels.max() >= len(NAMES):
        raise DatasetError(f'{root}: a label of {split} is not in 0..{len(NAMES) - 1}')
    return LabelledPictures(images, labels)


def _read_archive(file: Path) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    try:
        with np.load(file, allow_pickle=False) as arrays:
            return arrays['images'].astype(np.uint8), arrays['labels'].astype(np.int64)
    except (OSError, EOFError, ValueError, KeyError, TypeError, AttributeError,
            zipfile.BadZipFile, zlib.error) as error:
        raise DatasetError(f'{file} is not an archive of images and labels: {error}') from error


def _read_batch(file: Path) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    data = np.fromfile(file, np.uint8)
    if data.size % RECORD:
        raise DatasetError(
            f'{file} has {data.size} bytes, which is no multiple of {RECORD}; load it again')
    records = data.reshape(-1, RECORD)
    images = records[:, 1:].reshape(-1, 3, SIDE, SIDE).transpose(0, 2, 3, 1)
    return images, records[:, 0].astype(np.int64)
