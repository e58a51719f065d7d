# SPDX-License-Identifier: Apache-2.0
"""COCO json and Pascal VOC: what is read, what is refused, and how a format is recognised."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from snn_detector_ros.datasets.coco_json import open_coco
from snn_detector_ros.datasets.formats import open_dataset
from snn_detector_ros.datasets.image_folder import evenly_spread
from snn_detector_ros.datasets.labels import Role, limited
from snn_detector_ros.datasets.voc_xml import open_voc
from snn_detector_ros.detection.types import Detections
from snn_detector_ros.errors import ConfigurationError, DatasetError
from snn_detector_ros.evaluation.runner import evaluate

SIZE = (60, 80)  # height, width in px


def write_image(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), np.zeros((*SIZE, 3), np.uint8))


def coco_description() -> dict[str, Any]:
    """Two pictures; ids with gaps, in no order; an object, a crowd and an ignored object."""
    return {
        'categories': [{'id': 18, 'name': 'dog'}, {'id': 3, 'name': 'car'}],
        'images': [{'id': 900, 'file_name': 'a.jpg'}, {'id': 4, 'file_name': 'b.jpg'}],
        'annotations': [
            {'image_id': 900, 'category_id': 18, 'bbox': [10, 20, 30, 15.5], 'iscrowd': 0},
            {'image_id': 900, 'category_id': 3, 'bbox': [0, 0, 80, 60], 'iscrowd': 1},
            {'image_id': 900, 'category_id': 3, 'bbox': [1, 2, 3, 4], 'ignore': 1}]}


@pytest.fixture
def coco(tmp_path: Path) -> Path:
    for name in 'ab':
        write_image(tmp_path / 'pictures' / f'{name}.jpg')
    file = tmp_path / 'instances.json'
    file.write_text(json.dumps(coco_description()))
    return file


@pytest.fixture
def voc(tmp_path: Path) -> Path:
    write_voc(tmp_path, 'one', [
        ('dog', (11, 21, 40, 35), '<difficult>0</difficult>'),
        ('aeroplane', (1, 1, 80, 60), '<difficult>1</difficult>')])
    write_voc(tmp_path, 'two', [('cat', (5, 5, 5, 5), '')])
    splits = tmp_path / 'ImageSets' / 'Main'
    splits.mkdir(parents=True)
    (splits / 'val.txt').write_text('one\n')
    (splits / 'dog_val.txt').write_text('one  1\ntwo -1\n')
    return tmp_path


def write_voc(
    folder: Path, stem: str, objects: list[tuple[str, tuple[int, ...], str]],
) -> Path:
    write_image(folder / 'JPEGImages' / f'{stem}.jpg')
    text = ''.join(
        f'<object><name>{name}</name>{extra}<bndbox><xmin>{box[0]}</xmin><ymin>{box[1]}</ymin>'
        f'<xmax>{box[2]}</xmax><ymax>{box[3]}</ymax></bndbox></object>'
        for name, box, extra in objects)
    file = folder / 'Annotations' / f'{stem}.xml'
    file.parent.mkdir(exist_ok=True)
    file.write_text(f'<annotation><filename>{stem}.jpg</filename>{text}</annotation>')
    return file


def test_coco_boxes_classes_and_roles(coco: Path) -> None:
    dataset = open_coco(coco, coco.parent / 'pictures')
    assert dataset.names == ('car', 'dog'), 'in the order of the ids'
    first, second = dataset
    assert first.path.name == 'a.jpg'
    assert first.classes.tolist() == [1, 0, 0]
    assert first.roles.tolist() == [Role.OBJECT, Role.CROWD, Role.IGNORED]
    assert first.corners(SIZE).tolist() == [[10, 20, 40, 35.5], [0, 0, 80, 60], [1, 2, 4, 6]]
    assert second.corners(SIZE).shape == (0, 4), 'a picture without annotations has no objects'


def test_coco_pictures_lie_beside_the_file_by_default(coco: Path) -> None:
    beside = coco.parent / 'pictures' / 'instances.json'
    coco.rename(beside)
    assert len(open_coco(beside)) == 2


@pytest.mark.parametrize(('change', 'words'), [
    (lambda d: d.pop('annotations'), '`annotations` is missing'),
    (lambda d: d.update(images=[]), r'annotations\[0\]: image_id 900 is not among the images'),
    (lambda d: d['categories'].pop(), r'annotations\[1\]: category_id 3 is not among'),
    (lambda d: d['annotations'].append(5), r"annotations\[3\]: '5' is not an object"),
    (lambda d: d['annotations'][1].pop('bbox'), r'annotations\[1\]: `bbox` is missing'),
    (lambda d: d['annotations'][1].update(bbox=[1, 2, 3]), r'annotations\[1\]: bbox is \[1, 2'),
    (lambda d: d['annotations'][1].update(bbox=[1, 2, 3, float('nan')]), 'bbox is'),
    (lambda d: d['annotations'][1].update(bbox=[1, 2, -3, 1]), 'below 0'),
    (lambda d: d['annotations'][1].update(bbox=[1, 2, 10**400, 1]), 'bbox is'),
    (lambda d: d['images'][1].update(file_name='absent.jpg'), r'images\[1\]: .*absent.jpg does'),
    (lambda d: d['images'][1].pop('file_name'), r'images\[1\]: `file_name` is missing'),
    (lambda d: d['images'][1].update(id='x'), r"images\[1\]: id is 'x'"),
    (lambda d: d['categories'][1].pop('name'), r'categories\[1\]: `name` is missing'),
])
def test_malformed_coco_files_name_the_element(coco: Path, change: Any, words: str) -> None:
    description = coco_description()
    change(description)
    coco.write_text(json.dumps(description))
    with pytest.raises(DatasetError, match=f'instances.json.*{words}'):
        open_coco(coco, coco.parent / 'pictures')


@pytest.mark.parametrize(('text', 'words'), [
    ('{"images": [', 'not valid JSON: .*line 1'),
    ('[1]', 'must be an object'),
    ('{"images": [], "annotations": [], "categories": []}', 'lists no images'),
    ('[' * 100_000, 'not valid JSON'),
])
def test_files_that_are_no_coco_are_refused(coco: Path, text: str, words: str) -> None:
    coco.write_text(text)
    with pytest.raises(DatasetError, match=words):
        open_coco(coco)


def test_voc_boxes_classes_and_roles(voc: Path) -> None:
    dataset = open_voc(voc)
    assert dataset.names == ('aeroplane', 'cat', 'dog')
    first, second = dataset
    assert first.classes.tolist() == [2, 0]
    assert first.roles.tolist() == [Role.OBJECT, Role.IGNORED]
    # Pixels count from 1, and the last one belongs to the box.
    assert first.corners(SIZE).tolist() == [[10, 20, 40, 35], [0, 0, 80, 60]]
    assert second.corners(SIZE).tolist() == [[4, 4, 5, 5]]


@pytest.mark.parametrize(('split', 'stems'), [
    ('val', ['one']), ('dog_val', ['one', 'two']), (None, ['one', 'two'])])
def test_voc_splits(voc: Path, split: str | None, stems: list[str]) -> None:
    assert [sample.path.stem for sample in open_voc(voc, split)] == stems


def test_unknown_voc_split_names_those_that_exist(voc: Path) -> None:
    with pytest.raises(DatasetError, match='train.txt cannot be read.*dog_val, val'):
        open_voc(voc, 'train')


@pytest.mark.parametrize(('text', 'words'), [
    ('<annotation><object>', 'not valid XML: .*line 1'),
    ('<html/>', 'root is <html>'),
    ('<annotation><object/></annotation>', 'object 1: <name> is missing'),
    ('<annotation><object><name>cat</name></object></annotation>', 'object 1 .cat.: <bndbox>'),
])
def test_malformed_voc_files_name_the_object(voc: Path, text: str, words: str) -> None:
    (voc / 'Annotations' / 'one.xml').write_text(text)
    with pytest.raises(DatasetError, match=f'one.xml.*{words}'):
        open_voc(voc)


@pytest.mark.parametrize(('box', 'extra', 'words'), [
    ((1, 2, 'x', 4), '', "<xmax> is 'x'"),
    ((1, 2, 'nan', 4), '', "<xmax> is 'nan'"),
    ((9, 2, 3, 4), '', 'ends before it starts'),
    ((9, 2, '1e300', 4), '', "<xmax> is '1e300'"),
    ((1, 2, 3, 4), '<difficult>maybe</difficult>', "<difficult> is 'maybe'"),
])
def test_malformed_voc_objects_are_counted_from_1(
    voc: Path, box: Any, extra: str, words: str,
) -> None:
    write_voc(voc, 'two', [('cat', (1, 1, 2, 2), ''), ('cat', box, extra)])
    with pytest.raises(DatasetError, match=f'two.xml, object 2 .cat.: .*{words}'):
        open_voc(voc)


def test_missing_files_of_voc_are_named(voc: Path) -> None:
    (voc / 'JPEGImages' / 'two.jpg').unlink()
    with pytest.raises(DatasetError, match='two.jpg does not exist'):
        open_voc(voc)
    (voc / 'ImageSets' / 'Main' / 'val.txt').write_text('three\n')
    with pytest.raises(DatasetError, match='three.xml cannot be read'):
        open_voc(voc, 'val')


def test_the_format_shows_in_the_path(coco: Path, voc: Path) -> None:
    assert open_dataset(coco, images=coco.parent / 'pictures').names == ('car', 'dog')
    assert open_dataset(voc, split='val').names == ('aeroplane', 'dog')
    folder = coco.parent / 'yolo'
    write_image(folder / 'images' / 'x.png')
    (folder / 'data.yaml').write_text('names: [bird]\ntest: images\n')
    (folder / 'list.txt').write_text('images/x.png\n')
    for path in (folder, folder / 'data.yaml', folder / 'list.txt'):
        assert open_dataset(path).names == ('bird',)


def test_paths_that_are_no_data_set_are_refused(tmp_path: Path) -> None:
    (tmp_path / 'notes.md').touch()
    for path in (tmp_path, tmp_path / 'notes.md'):
        with pytest.raises(DatasetError, match='no data set that is known'):
            open_dataset(path)
    with pytest.raises(DatasetError, match='absent does not exist'):
        open_dataset(tmp_path / 'absent')


def test_options_that_do_not_fit_the_format_are_refused(coco: Path) -> None:
    with pytest.raises(ConfigurationError, match='--split val does not fit COCO'):
        open_dataset(coco, split='val')
    (coco.parent / 'data.yaml').write_text('names: [bird]\n')
    with pytest.raises(ConfigurationError, match='--images x does not fit the YOLO layout'):
        open_dataset(coco.parent / 'data.yaml', images='x')


def test_a_limit_spreads_over_the_data_set(voc: Path) -> None:
    assert evenly_spread(list(range(10)), 4) == [0, 2, 5, 7]
    assert evenly_spread([1, 2], 5) == [1, 2]
    dataset = open_voc(voc)
    assert limited(dataset, None) is dataset
    assert [sample.path.stem for sample in limited(dataset, 1)] == ['one']
    with pytest.raises(ConfigurationError, match='limit of 0'):
        limited(dataset, 0)


def test_one_data_set_in_three_formats_reads_the_same(tmp_path: Path) -> None:
    write_voc(tmp_path, 'one', [('dog', (11, 21, 40, 35), '')])
    image = {'id': 1, 'file_name': 'one.jpg'}
    (tmp_path / 'coco.json').write_text(json.dumps({
        'images': [image], 'categories': [{'id': 1, 'name': 'dog'}],
        'annotations': [{'image_id': 1, 'category_id': 1, 'bbox': [10, 20, 30, 15]}]}))
    write_image(tmp_path / 'images' / 'one.jpg')
    (tmp_path / 'labels').mkdir()
    (tmp_path / 'labels' / 'one.txt').write_text(
        f'0 {25 / 80} {27.5 / 60} {30 / 80} {15 / 60}\n')
    (tmp_path / 'data.yaml').write_text('names: [dog]\ntest: images\n')
    for dataset in (open_voc(tmp_path), open_coco(tmp_path / 'coco.json', tmp_path / 'images'),
                    open_dataset(tmp_path / 'data.yaml')):
        assert dataset.names == ('dog',)
        assert dataset[0].roles.tolist() == [Role.OBJECT]
        # Parts of the picture are stored as float32: a part in 2^24 of 80 px.
        np.testing.assert_allclose(dataset[0].corners(SIZE), [[10, 20, 40, 35]], atol=1e-5)
        found = Detections(np.array([[10, 20, 40, 35]], np.float32), np.array([0.5], np.float32),
                           np.array([1]), ('cat', 'dog'))
        result = evaluate(lambda image, found=found: found, dataset)
        assert (result.images, result.map) == (1, pytest.approx(1))
