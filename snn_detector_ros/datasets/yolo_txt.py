# SPDX-License-Identifier: Apache-2.0
"""
Read data sets in the YOLO text layout.

A ``data.yaml`` names the classes and the splits; each picture ``.../images/x.jpg`` has a label file
``.../labels/x.txt`` with one line ``class cx cy w h`` a box, relative to the picture. Everything is
checked at opening, because a wrong label that is found in epoch 40 has already done its damage.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from snn_detector_ros.datasets.image_folder import list_images
from snn_detector_ros.datasets.labels import Role
from snn_detector_ros.errors import DatasetError


@dataclass(frozen=True)
class LabelledImage:
    """
    One picture with its boxes.

    ``boxes`` is float32 [N, 4], centre x, centre y, width, height relative to the picture;
    ``classes`` is int64 [N].
    """

    path: Path
    boxes: NDArray[np.float32]
    classes: NDArray[np.int64]

    @property
    def roles(self) -> NDArray[np.uint8]:
        """Every box is an object to be found; the format knows no others. uint8 [N]."""
        return np.full(len(self.classes), Role.OBJECT, np.uint8)

    def corners(self, size: tuple[int, int]) -> NDArray[np.float32]:
        """
        Return left, top, right and bottom of each box in px, float32 [N, 4].

        :param size: (height, width) of the decoded picture in px.
        """
        scale = np.array(size[::-1], dtype=np.float32)
        centre, half = self.boxes[:, :2] * scale, self.boxes[:, 2:] * scale / 2
        return np.concatenate([centre - half, centre + half], axis=1)


class YoloTxtDataset:
    """The labelled pictures of one split, in a fixed order."""

    def __init__(self, names: Sequence[str], images: Sequence[Path]) -> None:
        """
        Read and check the label file of every picture.

        :param names: class names; the class number of a label is an index into them.
        :param images: picture files; one without a label file is a picture without objects.
        :raises DatasetError: if a label is malformed; the message names the file and the line.
        """
        self.names = tuple(names)
        self._samples = [
            LabelledImage(image, *read_boxes(label_path(image), len(self.names)))
            for image in images]

    @classmethod
    def open(cls, data: str | Path, split: str) -> 'YoloTxtDataset':
        """
        Open one split of a data set.

        :param data: the ``data.yaml``.
        :param split: a key of it (``train``, ``val``, ``test``), or a directory or list file of
            pictures, relative to the folder of ``data.yaml``.
        :raises DatasetError: if the file, the split, a picture or a label is missing or malformed.
        """
        file = Path(data)
        description = _load_yaml(file)
        root = file.parent / str(description.get('path', '.'))
        place = root / str(description.get(split, split))
        if place.is_file():
            images = _read_list(place)
        elif place.is_dir():
            images = list_images(place)
        else:
            raise DatasetError(f'{file}: split {split!r} is not a key of it, a directory or a list')
        return cls(_class_names(file, description), images)

    def __len__(self) -> int:
        return len(self._samples)

    def __getitem__(self, index: int) -> LabelledImage:
        return self._samples[index]

    def __iter__(self) -> Iterator[LabelledImage]:
        return iter(self._samples)


def label_path(image: Path) -> Path:
    """Return the label file of a picture: the last ``images`` folder becomes ``labels``."""
    parts = list(image.parts)
    for position in range(len(parts) - 2, -1, -1):
        if parts[position] == 'images':
            parts[position] = 'labels'
            break
    return Path(*parts).with_suffix('.txt')


def _load_yaml(file: Path) -> Mapping[str, Any]:
    import yaml

    try:
        description = yaml.safe_load(file.read_text(encoding='utf-8'))
    except OSError as error:
        raise DatasetError(f'{file} cannot be read: {error.strerror}') from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise DatasetError(f'{file} is not valid YAML: {error}') from error
    if not isinstance(description, Mapping):
        raise DatasetError(f'{file} must be a mapping with the keys names, train, val')
    return description


def _class_names(file: Path, description: Mapping[str, Any]) -> tuple[str, ...]:
    names = description.get('names')
    if isinstance(names, Mapping) and sorted(names) == list(range(len(names))):
        names = [names[index] for index in range(len(names))]
    if not isinstance(names, list) or not names:
        raise DatasetError(f'{file}: names must be a list of class names, or a mapping from 0 on')
    count = description.get('nc', len(names))
    if count != len(names):
        raise DatasetError(f'{file}: nc is {count}, but there are {len(names)} names')
    return tuple(str(name) for name in names)


def _read_text(file: Path) -> str:
    try:
        return file.read_text(encoding='utf-8')
    except OSError as error:
        raise DatasetError(f'{file} cannot be read: {error.strerror}') from error
    except UnicodeDecodeError as error:
        raise DatasetError(f'{file} is not a text file: {error}') from error


def _read_list(file: Path) -> list[Path]:
    lines = (line.strip() for line in _read_text(file).splitlines())
    images = [file.parent / line for line in lines if line]
    if not images:
        raise DatasetError(f'{file} lists no picture; write one path a line, relative to the list')
    for image in images:
        if not image.is_file():
            raise DatasetError(f'{file} lists {image}, which does not exist')
    return images


def read_boxes(
        file: Path, class_count: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """
    Read one label file; a missing one holds no boxes.

    :param class_count: class numbers must be below it.
    :returns: float32 [N, 4] centre x, centre y, width, height (0..1); int64 [N] classes.
    :raises DatasetError: if a line is malformed; the message names the file and the line.
    """
    text = _read_text(file) if file.is_file() else ''
    rows = [
        _parse_line(line, class_count, f'{file}, line {number}')
        for number, line in enumerate(text.splitlines(), start=1) if line.strip()]
    values = np.asarray(rows, np.float64).reshape(-1, 5)
    return values[:, 1:].astype(np.float32), values[:, 0].astype(np.int64)


def _parse_line(line: str, class_count: int, place: str) -> list[float]:
    columns = line.split()
    if len(columns) != 5:
        raise DatasetError(f'{place}: {len(columns)} columns, expected "class cx cy w h"')
    try:
        values = [float(column) for column in columns]
    except ValueError as error:
        raise DatasetError(f'{place}: {error}; write five numbers') from error
    if not (values[0].is_integer() and 0 <= values[0] < class_count):
        raise DatasetError(f'{place}: class {columns[0]} is not one of 0..{class_count - 1}')
    if not all(0.0 <= value <= 1.0 for value in values[1:]):
        raise DatasetError(f'{place}: {line.strip()!r} leaves 0..1; write parts of the picture')
    if values[3] == 0.0 or values[4] == 0.0:
        raise DatasetError(f'{place}: the box has no width or height; remove the line')
    return values
