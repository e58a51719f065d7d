# SPDX-License-Identifier: Apache-2.0
"""Open a labelled data set of any format; which one it is shows in the path."""

from __future__ import annotations

from pathlib import Path

from snn_detector_ros.datasets.coco_json import open_coco
from snn_detector_ros.datasets.labels import LabelledDataset
from snn_detector_ros.datasets.voc_xml import ANNOTATIONS, open_voc
from snn_detector_ros.datasets.yolo_txt import YoloTxtDataset
from snn_detector_ros.errors import ConfigurationError, DatasetError

#: The description of a data set in the YOLO layout.
YOLO_FILE = 'data.yaml'
#: Split of the YOLO layout that is taken where none is named.
YOLO_SPLIT = 'test'


def open_dataset(
    path: str | Path, *, split: str | None = None, images: str | Path | None = None,
) -> LabelledDataset:
    """
    Open a labelled data set.

    ========================================  ====================  =============================
    path                                      format                ``split``
    ========================================  ====================  =============================
    ``*.json``                                COCO                  none
    folder with ``Annotations``               Pascal VOC            list in ``ImageSets/Main``
    ``*.yaml``, or folder with ``data.yaml``  YOLO txt              key of it, list or folder
    ``*.txt`` beside a ``data.yaml``          YOLO txt              none: the file is the list
    ========================================  ====================  =============================

    :param split: part of the data set; None takes all of VOC, and ``test`` of YOLO txt.
    :param images: folder of the pictures of COCO and VOC, if they are not where those put them.
    :raises DatasetError: if the path is none of these, or what it holds is malformed.
    :raises ConfigurationError: if an option does not fit the format.
    """
    place = Path(path)
    folder = None if images is None else Path(images)
    if not place.exists():
        raise DatasetError(f'{place} does not exist; name a data set')
    if place.is_dir() and (place / ANNOTATIONS).is_dir():
        return open_voc(place, split, folder)
    if place.suffix == '.json':
        _refuse('--split', split, 'COCO', 'each file is one split')
        return open_coco(place, folder)
    _refuse('--images', images, 'the YOLO layout', 'data.yaml names the pictures')
    if place.is_dir() and (place / YOLO_FILE).is_file():
        place /= YOLO_FILE
    if place.suffix in ('.yaml', '.yml'):
        return YoloTxtDataset.open(place, split or YOLO_SPLIT)
    if place.suffix == '.txt':
        _refuse('--split', split, 'a list of pictures', 'it is one split')
        return YoloTxtDataset.open(place.parent / YOLO_FILE, str(place.resolve()))
    raise DatasetError(
        f'{place} is no data set that is known: give the instances file (.json) of COCO, the '
        f'folder with {ANNOTATIONS} of Pascal VOC, or the {YOLO_FILE} of the YOLO layout')


def _refuse(option: str, value: object, form: str, reason: str) -> None:
    if value is not None:
        raise ConfigurationError(f'{option} {value} does not fit {form}: {reason}')
