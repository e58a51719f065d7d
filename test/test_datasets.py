# SPDX-License-Identifier: Apache-2.0
"""Picture folders and YOLO text labels: what is read, and what is refused with which words."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from snn_detector_ros.datasets.image_folder import list_images, read_bgr
from snn_detector_ros.datasets.yolo_txt import YoloTxtDataset, label_path
from snn_detector_ros.errors import DatasetError


def write_image(path: Path, colour: tuple[int, int, int] = (0, 0, 0)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), np.full((8, 12, 3), colour, np.uint8))
    return path


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A data set of two pictures, one of which has a label file."""
    write_image(tmp_path / 'images' / 'train' / 'b.png')
    write_image(tmp_path / 'images' / 'train' / 'a.png')
    write_label(tmp_path, '1 0.5 0.25 0.2 0.1\n0 0.1 0.1 0.2 0.2\n')
    (tmp_path / 'data.yaml').write_text('path: .\ntrain: images/train\nnc: 2\nnames: [cat, dog]\n')
    return tmp_path / 'data.yaml'


def write_label(root: Path, text: str) -> Path:
    file = root / 'labels' / 'train' / 'a.txt'
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)
    return file


def test_list_images_is_sorted_and_recursive(tmp_path: Path) -> None:
    paths = [tmp_path / 'b.PNG', tmp_path / 'a' / 'z.jpg', tmp_path / 'c.jpeg']
    for path in paths:
        path.parent.mkdir(exist_ok=True)
        path.touch()
    (tmp_path / 'notes.txt').touch()
    assert list_images(tmp_path) == sorted(paths)


def test_list_images_refuses_missing_and_empty_folders(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match='absent is not a directory'):
        list_images(tmp_path / 'absent')
    with pytest.raises(DatasetError, match='holds no picture'):
        list_images(tmp_path)


def test_read_bgr_keeps_opencv_channel_order(tmp_path: Path) -> None:
    image = read_bgr(write_image(tmp_path / 'x.png', (255, 10, 0)))
    assert image.shape == (8, 12, 3)
    assert image.dtype == np.uint8
    assert image[0, 0].tolist() == [255, 10, 0]


def test_read_bgr_names_the_broken_file(tmp_path: Path) -> None:
    broken = tmp_path / 'broken.jpg'
    for content in (b'', b'not a picture'):
        broken.write_bytes(content)
        with pytest.raises(DatasetError, match='broken.jpg'):
            read_bgr(broken)
    with pytest.raises(DatasetError, match=r'absent.jpg cannot be read'):
        read_bgr(tmp_path / 'absent.jpg')


def test_yolo_txt_reads_boxes_and_classes(data: Path) -> None:
    dataset = YoloTxtDataset.open(data, 'train')
    first, second = dataset
    assert dataset.names == ('cat', 'dog')
    assert first.path.name == 'a.png'
    assert first.classes.tolist() == [1, 0]
    assert first.boxes.dtype == np.float32
    np.testing.assert_array_equal(
        first.boxes, np.array([[.5, .25, .2, .1], [.1, .1, .2, .2]], np.float32))
    assert second.boxes.shape == (0, 4), 'a picture without a label file has no objects'


def test_yolo_txt_opens_a_list_file(data: Path) -> None:
    (data.parent / 'some.txt').write_text('./images/train/a.png\n')
    assert [sample.path.name for sample in YoloTxtDataset.open(data, 'some.txt')] == ['a.png']


def test_yolo_txt_takes_names_by_number(data: Path) -> None:
    data.write_text('train: images/train\nnames: {0: cat, 1: dog}\n')
    assert YoloTxtDataset.open(data, 'train').names == ('cat', 'dog')


@pytest.mark.parametrize(('line', 'words'), [
    ('0 0.5 0.5 0.1', '4 columns'),
    ('0 0.5 0.5 0.1 0.1 0.9', '6 columns'),
    ('0 0.5 nan 0.1 0.1', 'leaves 0..1'),
    ('0 0.5 x 0.1 0.1', 'write five numbers'),
    ('2 0.5 0.5 0.1 0.1', 'class 2 is not one of 0..1'),
    ('-1 0.5 0.5 0.1 0.1', 'class -1 is not one of'),
    ('0.5 0.5 0.5 0.1 0.1', 'class 0.5 is not one of'),
    ('0 1.5 0.5 0.1 0.1', 'leaves 0..1'),
    ('0 0.5 0.5 0 0.1', 'no width or height'),
])
def test_malformed_labels_name_file_and_line(data: Path, line: str, words: str) -> None:
    write_label(data.parent, f'0 0.5 0.5 0.1 0.1\n{line}\n')
    with pytest.raises(DatasetError, match=f'a.txt, line 2: .*{words}'):
        YoloTxtDataset.open(data, 'train')


@pytest.mark.parametrize(('text', 'words'), [
    ('[1, 2]', 'must be a mapping'),
    ('names: [cat', 'not valid YAML'),
    ('train: images/train', 'names must be a list'),
    ('train: images/train\nnames: [cat]\nnc: 3', 'nc is 3, but there are 1 names'),
    ('names: [cat, dog]\ntrain: images/absent', "split 'train' is not a key"),
])
def test_malformed_descriptions_are_refused(data: Path, text: str, words: str) -> None:
    data.write_text(text)
    with pytest.raises(DatasetError, match=words):
        YoloTxtDataset.open(data, 'train')


def test_files_that_are_no_text_are_refused(data: Path) -> None:
    label = write_label(data.parent, '')
    label.write_bytes(b'\xff\xd8\xff')
    with pytest.raises(DatasetError, match='a.txt is not a text file'):
        YoloTxtDataset.open(data, 'train')


def test_missing_files_are_refused(data: Path) -> None:
    with pytest.raises(DatasetError, match='none.yaml cannot be read'):
        YoloTxtDataset.open(data.with_name('none.yaml'), 'train')
    (data.parent / 'some.txt').write_text('images/absent.png\n')
    with pytest.raises(DatasetError, match='absent.png, which does not exist'):
        YoloTxtDataset.open(data, 'some.txt')


def test_label_path_changes_the_last_images_folder() -> None:
    path = Path('/images/set/images/train/a.b.jpg')
    assert label_path(path) == Path('/images/set/labels/train/a.b.txt')
