# SPDX-License-Identifier: Apache-2.0
"""The pictures that a conversion takes its scales from."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from snn_detector_ros.datasets.image_folder import read_bgr
from snn_detector_ros.detection.letterbox import Letterbox


class CalibrationPictures:
    """
    Picture files as the input of a network, read one at a time and counted on the terminal.

    :param paths: the files.
    :param input_size: (height, width) in px that they are letterboxed to.
    """

    def __init__(self, paths: Sequence[Path], input_size: tuple[int, int]) -> None:
        self._paths = paths
        self._letterbox = Letterbox(input_size)

    def __len__(self) -> int:
        return len(self._paths)

    def __iter__(self) -> Iterator[NDArray[np.uint8]]:
        for path in tqdm(self._paths, desc='calibrating', unit='picture', disable=None):
            yield self._letterbox(read_bgr(path))
