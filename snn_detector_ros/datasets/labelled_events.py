# SPDX-License-Identifier: Apache-2.0
"""
Read windows of real events with boxes, as PEDRo (Boretti et al. 2023) stores them.

``events/NAME.npy`` holds int rows (t in us, x, y, polarity) in time order, ``labels/NAME.txt`` rows
``class cx cy w h`` relative to the sensor.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from snn_detector_ros.datasets.yolo_txt import read_boxes
from snn_detector_ros.errors import DatasetError
from snn_detector_ros.events.types import EVENT
from snn_detector_ros.events.windows import Window


@dataclass(frozen=True, eq=False)
class LabelledWindow:
    """
    A window of events and the objects at its end.

    :param boxes: float32 [N, 4]; left, top, right, bottom relative to the sensor, 0..1.
    :param classes: int64 [N].
    """

    name: str
    window: Window
    boxes: NDArray[np.float32]
    classes: NDArray[np.int64]


def read_labelled_events(
        folder: str | Path, sensor: tuple[int, int], class_count: int) -> list[LabelledWindow]:
    """
    Read all windows of a folder; times start at 0 in each.

    :param folder: holds ``events`` and ``labels``.
    :param sensor: height and width of the sensor in px.
    :param class_count: labels must be below it.
    :raises DatasetError: if there is no window, or a file is malformed.
    """
    files = sorted((Path(folder) / 'events').glob('*.npy'))
    if not files:
        raise DatasetError(f'{folder} holds no events/*.npy; give a folder of labelled windows')
    windows = []
    for file in files:
        window = _read_window(file, sensor)
        boxes, classes = read_boxes(
            Path(folder) / 'labels' / f'{file.stem}.txt', class_count)
        half = boxes[:, 2:] / 2
        corners = np.concatenate((boxes[:, :2] - half, boxes[:, :2] + half), 1).astype(np.float32)
        windows.append(LabelledWindow(file.stem, window, corners, classes))
    return windows


def _read_window(file: Path, sensor: tuple[int, int]) -> Window:
    try:
        rows = np.load(file, allow_pickle=False)
    except (OSError, EOFError, ValueError) as error:
        raise DatasetError(f'{file} is no array that numpy can load: {error}') from error
    if not isinstance(rows, np.ndarray) or rows.dtype.kind not in 'iu':
        raise DatasetError(f'{file} is no array of integers: expected rows (t, x, y, polarity)')
    if rows.ndim != 2 or rows.shape[1] != 4 or not len(rows):
        raise DatasetError(f'{file} has shape {rows.shape}; expected rows (t, x, y, polarity)')
    if rows[:, 1:3].min() < 0 or (rows[:, 1:3].max(0) >= sensor[::-1]).any():
        raise DatasetError(f'{file} has events beyond a sensor of {sensor[1]}x{sensor[0]} px')
    events = np.empty(len(rows), EVENT)
    events['t'] = rows[:, 0] - rows[0, 0]
    events['x'], events['y'], events['p'] = rows[:, 1], rows[:, 2], rows[:, 3] > 0
    return Window(0, int(events['t'].max()) + 1, events)
