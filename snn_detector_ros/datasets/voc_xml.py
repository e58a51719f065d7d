# SPDX-License-Identifier: Apache-2.0
"""
Read data sets in the layout of Pascal VOC.

``Annotations/x.xml`` has the boxes of ``JPEGImages/x.jpg``; ``ImageSets/Main/<split>.txt`` lists
the pictures of a split. A box counts pixels from 1 and includes its last row and column. Objects
marked ``difficult`` are ignored, as in VOC's own evaluation.
"""

from __future__ import annotations

import math
from pathlib import Path
from xml.etree import ElementTree

import numpy as np

from snn_detector_ros.datasets.image_folder import IMAGE_SUFFIXES
from snn_detector_ros.datasets.labels import FARTHEST_EDGE, PictureList, PixelLabels, Role
from snn_detector_ros.errors import DatasetError

ANNOTATIONS, PICTURES, SPLITS = 'Annotations', 'JPEGImages', 'ImageSets/Main'

#: Name, left, top, right and bottom in px, and role of one object.
_Object = tuple[str, list[float], Role]


def open_voc(folder: Path, split: str | None = None, images: Path | None = None) -> PictureList:
    """
    Open a data set of Pascal VOC.

    Classes are the names found in the split, in alphabetical order.

    :param folder: the folder that holds ``Annotations``.
    :param split: name of a list in ``ImageSets/Main``; None takes all annotations.
    :param images: folder of the pictures; ``JPEGImages`` if None.
    :raises DatasetError: if a file is missing or malformed; the message names the file and line, or
        the number of the object in it.
    """
    pictures = images or folder / PICTURES
    stems = _stems(folder, split)
    found = [_read(folder / ANNOTATIONS / f'{stem}.xml') for stem in stems]
    names = tuple(sorted({name for objects in found for name, _, _ in objects}))
    return PictureList(names, [
        _labels(_picture(pictures, stem), objects, names)
        for stem, objects in zip(stems, found, strict=True)])


def _stems(folder: Path, split: str | None) -> list[str]:
    """Return the names of the pictures of a split, without suffix."""
    if split is None:
        stems = sorted(path.stem for path in (folder / ANNOTATIONS).glob('*.xml'))
        if not stems:
            raise DatasetError(f'{folder / ANNOTATIONS} holds no annotation (*.xml)')
        return stems
    file = folder / SPLITS / f'{split}.txt'
    try:
        lines = file.read_text(encoding='utf-8').splitlines()
    except OSError as error:
        known = sorted(path.stem for path in (folder / SPLITS).glob('*.txt'))
        raise DatasetError(f'{file} cannot be read: {error.strerror}; splits there: '
                           f'{", ".join(known) or "none"}') from error
    except UnicodeDecodeError as error:
        raise DatasetError(f'{file} is not a text file: {error}') from error
    stems = [line.split()[0] for line in lines if line.strip()]  # lists of a class add a column
    if not stems:
        raise DatasetError(f'{file} lists no picture; write one name a line, without suffix')
    return stems


def _picture(folder: Path, stem: str) -> Path:
    for suffix in ('.jpg', *sorted(IMAGE_SUFFIXES)):
        path = folder / f'{stem}{suffix}'
        if path.is_file():
            return path
    raise DatasetError(f'{folder / stem}.jpg does not exist; name the folder of the pictures with '
                       '--images')


def _read(file: Path) -> list[_Object]:
    try:
        root = ElementTree.fromstring(file.read_bytes())
    except OSError as error:
        raise DatasetError(f'{file} cannot be read: {error.strerror}') from error
    except (ElementTree.ParseError, ValueError, LookupError) as error:
        raise DatasetError(f'{file} is not valid XML: {error}') from error
    if root.tag != 'annotation':
        raise DatasetError(f'{file}: the root is <{root.tag}>, expected <annotation>')
    return [_object(element, f'{file}, object {number}')
            for number, element in enumerate(root.iter('object'), start=1)]


def _object(element: ElementTree.Element, place: str) -> _Object:
    name = (element.findtext('name') or '').strip()
    if not name:
        raise DatasetError(f'{place}: <name> is missing or empty')
    box = element.find('bndbox')
    if box is None:
        raise DatasetError(f'{place} ({name}): <bndbox> is missing')
    left, top, right, bottom = (
        _number(box, key, f'{place} ({name})') for key in ('xmin', 'ymin', 'xmax', 'ymax'))
    if right < left or bottom < top:
        raise DatasetError(f'{place} ({name}): the box from ({left:g}, {top:g}) to ({right:g}, '
                           f'{bottom:g}) ends before it starts')
    difficult = (element.findtext('difficult') or '0').strip()
    if difficult not in ('0', '1'):
        raise DatasetError(f'{place} ({name}): <difficult> is {difficult!r}; write 0 or 1')
    return (name, [max(0.0, left - 1), max(0.0, top - 1), right, bottom],
            Role.IGNORED if difficult == '1' else Role.OBJECT)


def _number(box: ElementTree.Element, key: str, place: str) -> float:
    text = box.findtext(key)
    if text is None:
        raise DatasetError(f'{place}: <{key}> is missing')
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not abs(value) <= FARTHEST_EDGE:
        raise DatasetError(f'{place}: <{key}> is {text[:40]!r}, which is no place in a picture')
    return value


def _labels(path: Path, objects: list[_Object], names: tuple[str, ...]) -> PixelLabels:
    return PixelLabels(
        path, np.array([box for _, box, _ in objects], np.float32).reshape(-1, 4),
        np.array([names.index(name) for name, _, _ in objects], np.int64),
        np.array([role for _, _, role in objects], np.uint8))
