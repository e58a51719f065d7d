# SPDX-License-Identifier: Apache-2.0
"""
Read data sets in the layout of COCO: one ``instances`` file in JSON, pictures in a folder.

Only boxes are read. ``iscrowd`` marks regions of many objects, ``ignore`` single objects that do
not count; see :class:`~snn_detector_ros.datasets.labels.Role`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from snn_detector_ros.datasets.labels import FARTHEST_EDGE, PictureList, PixelLabels, Role
from snn_detector_ros.errors import DatasetError


def open_coco(file: Path, images: Path | None = None) -> PictureList:
    """
    Open a COCO data set.

    Classes are the categories in the order of their ids, which may have gaps.

    :param file: the ``instances`` file.
    :param images: folder that ``file_name`` is relative to; the folder of ``file`` if None.
    :raises DatasetError: if the file is malformed or a picture is missing; the message names the
        element, e.g. ``annotations[17]``.
    """
    description = _load(file)
    categories = {_integer(entry, 'id', place): str(_field(entry, 'name', place))
                  for entry, place in _entries(file, description, 'categories')}
    index_of = {number: index for index, number in enumerate(sorted(categories))}
    folder = images or file.parent
    paths = {_integer(entry, 'id', place): _picture(entry, place, folder)
             for entry, place in _entries(file, description, 'images')}
    rows: dict[int, list[tuple[list[float], int, Role]]] = {number: [] for number in paths}
    for entry, place in _entries(file, description, 'annotations'):
        picture = _integer(entry, 'image_id', place)
        category = _integer(entry, 'category_id', place)
        if picture not in rows:
            raise DatasetError(f'{place}: image_id {picture} is not among the images')
        if category not in index_of:
            raise DatasetError(f'{place}: category_id {category} is not among the categories')
        rows[picture].append((_corners(entry, place), index_of[category], _role(entry)))
    if not rows:
        raise DatasetError(f'{file}: it lists no images')
    names = tuple(categories[number] for number in sorted(categories))
    return PictureList(names, [_labels(paths[number], rows[number]) for number in paths])


def _load(file: Path) -> Mapping[str, Any]:
    try:
        description = json.loads(file.read_bytes())
    except OSError as error:
        raise DatasetError(f'{file} cannot be read: {error.strerror}') from error
    except (ValueError, RecursionError) as error:
        raise DatasetError(f'{file} is not valid JSON: {error}') from error
    if not isinstance(description, Mapping):
        raise DatasetError(
            f'{file} must be an object with the keys images, annotations and categories')
    return description


def _entries(
    file: Path, description: Mapping[str, Any], key: str,
) -> list[tuple[Mapping[str, Any], str]]:
    """Return the objects of one list, each with how a message names it."""
    entries = description.get(key)
    if not isinstance(entries, list):
        raise DatasetError(f'{file}: `{key}` is missing or no list; give an instances file of COCO')
    result = []
    for index, entry in enumerate(entries):
        place = f'{file}, {key}[{index}]'
        if not isinstance(entry, Mapping):
            raise DatasetError(f'{place}: {str(entry)[:40]!r} is not an object')
        result.append((entry, place))
    return result


def _field(entry: Mapping[str, Any], key: str, place: str) -> Any:
    if key not in entry:
        raise DatasetError(f'{place}: `{key}` is missing')
    return entry[key]


def _integer(entry: Mapping[str, Any], key: str, place: str) -> int:
    value = _field(entry, key, place)
    if isinstance(value, bool) or not isinstance(value, int):
        raise DatasetError(f'{place}: {key} is {value!r}, which is not a whole number')
    return value


def _picture(entry: Mapping[str, Any], place: str, folder: Path) -> Path:
    name = _field(entry, 'file_name', place)
    path = folder / str(name)
    if not path.is_file():
        raise DatasetError(
            f'{place}: {path} does not exist; name the folder of the pictures with --images')
    return path


def _corners(entry: Mapping[str, Any], place: str) -> list[float]:
    """Return left, top, right, bottom of a box that is written as left, top, width, height."""
    box = _field(entry, 'bbox', place)
    if not (isinstance(box, list) and len(box) == 4 and all(
            isinstance(value, (int, float)) and abs(value) <= FARTHEST_EDGE for value in box)):
        raise DatasetError(f'{place}: bbox is {str(box)[:80]}, expected [left, top, width, height] '
                           'in px')
    left, top, width, height = box
    if width < 0 or height < 0:
        raise DatasetError(f'{place}: bbox is {width} x {height}; width and height are below 0')
    return [left, top, left + width, top + height]


def _role(entry: Mapping[str, Any]) -> Role:
    if entry.get('iscrowd'):
        return Role.CROWD
    return Role.IGNORED if entry.get('ignore') else Role.OBJECT


def _labels(path: Path, rows: list[tuple[list[float], int, Role]]) -> PixelLabels:
    return PixelLabels(
        path, np.array([box for box, _, _ in rows], np.float32).reshape(-1, 4),
        np.array([number for _, number, _ in rows], np.int64),
        np.array([role for _, _, role in rows], np.uint8))
