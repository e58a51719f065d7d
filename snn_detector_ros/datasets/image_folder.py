# SPDX-License-Identifier: Apache-2.0
"""List and read picture files, with errors that name the file and what to do about it."""

from collections.abc import Sequence
from pathlib import Path
from typing import TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray

from snn_detector_ros.errors import ConfigurationError, DatasetError

T = TypeVar('T')

IMAGE_SUFFIXES = frozenset({'.bmp', '.jpeg', '.jpg', '.png', '.tif', '.tiff', '.webp'})


def list_images(folder: str | Path) -> list[Path]:
    """
    List the pictures of a directory and of everything below it, sorted by path.

    :param folder: directory to search.
    :returns: paths of the files whose suffix is one of ``IMAGE_SUFFIXES``.
    :raises DatasetError: if the directory does not exist or holds no picture.
    """
    root = Path(folder)
    if not root.is_dir():
        raise DatasetError(f'{root} is not a directory; give a directory with pictures')
    images = sorted(
        path for path in root.rglob('*')
        if path.suffix.lower() in IMAGE_SUFFIXES and path.is_file())
    if not images:
        suffixes = ' '.join(sorted(IMAGE_SUFFIXES))
        raise DatasetError(f'{root} holds no picture; files of these kinds are read: {suffixes}')
    return images


def read_bgr(path: str | Path) -> NDArray[np.uint8]:
    """
    Read one picture as 8-bit colour.

    :param path: picture file; grey pictures are repeated over the channels, alpha is dropped.
    :returns: uint8 [H, W, 3] in blue, green, red order.
    :raises DatasetError: if the file is missing or cannot be decoded.
    """
    file = Path(path)
    try:
        data = np.fromfile(file, np.uint8)
    except OSError as error:
        raise DatasetError(f'{file} cannot be read: {error.strerror}') from error
    image = cv2.imdecode(data, cv2.IMREAD_COLOR) if data.size else None
    if image is None:
        raise DatasetError(f'{file} is not a picture that OpenCV can decode; replace or remove it')
    return image.astype(np.uint8, copy=False)


def evenly_spread(items: Sequence[T], limit: int) -> list[T]:
    """
    Choose at most ``limit`` items, evenly spread, so that a sorted list is not cut to its start.

    :raises ConfigurationError: if the limit is below 1.
    """
    if limit < 1:
        raise ConfigurationError(f'a limit of {limit} pictures leaves none: use at least 1')
    count = min(limit, len(items))
    return [items[index * len(items) // count] for index in range(count)]
