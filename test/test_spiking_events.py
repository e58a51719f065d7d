# SPDX-License-Identifier: Apache-2.0
"""Windows of simulated events, real ones, and training on them."""

import argparse
import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

torch = pytest.importorskip('torch', reason='torch is not installed (extra: train)')

from snn_detector_ros.cli import train_events  # noqa: E402
from snn_detector_ros.datasets.labelled_events import read_labelled_events  # noqa: E402
from snn_detector_ros.datasets.simulated_windows import (  # noqa: E402
    EventWindowOptions,
    GreyPicture,
    make_window,
    read_grey,
)
from snn_detector_ros.datasets.yolo_txt import YoloTxtDataset  # noqa: E402
from snn_detector_ros.errors import ConfigurationError, DatasetError  # noqa: E402
from snn_detector_ros.evaluation.runner import DETECTOR_OPTIONS  # noqa: E402
from snn_detector_ros.events.binned_frames import binned_frames  # noqa: E402
from snn_detector_ros.training.data_loader import (  # noqa: E402
    PictureCache,
    Request,
    batches,
    to_input,
)
from snn_detector_ros.training.spiking.ems_yolo import SIZES, EmsYolo  # noqa: E402
from snn_detector_ros.training.spiking.event_pictures import (  # noqa: E402
    EventPictures,
    frame_size,
)
from snn_detector_ros.training.spiking.prediction import find_objects  # noqa: E402

QUIET = EventWindowOptions(shot_rate=0.0, flip=0.0, threshold=(0.3, 0.3))


def rectangle(size: tuple[int, int] = (192, 256)) -> GreyPicture:
    """Return grey with one bright rectangle, and its label."""
    image = np.full(size, 40, np.uint8)
    image[60:140, 100:160] = 220
    box = [130 / size[1], 100 / size[0], 60 / size[1], 80 / size[0]]
    return GreyPicture(image, np.float32([[1, *box]]))


@pytest.mark.parametrize('seed', range(6))
@pytest.mark.parametrize('zoom', [1.0, 1.7])
def test_boxes_lie_on_the_events_of_the_window_s_end(seed: int, zoom: float) -> None:
    random = np.random.default_rng(seed)
    frames, labels = make_window([rectangle()], (192, 256), QUIET, random, most_zoom=zoom)
    assert frames.shape == (4, 192, 256) and frames.dtype == np.uint8
    rows, columns = np.nonzero(frames[-1] != 127)
    if not len(labels):
        # The only edges are those of the rectangle.
        assert len(rows) < 0.08 * 192 * 256
        return
    size = np.float32([256, 192])
    low = (labels[0, 1:3] - labels[0, 3:5] / 2) * size
    high = (labels[0, 1:3] + labels[0, 3:5] / 2) * size
    # Events of the last bin trail the edges by the way of 10 ms, less than 8 px with the shake.
    inside = (
        (columns > low[0] - 8) & (columns < high[0] + 8) & (rows > low[1] - 8)
        & (rows < high[1] + 8))
    # Pixels leak everywhere: 25 events expected in 10 ms, 55 are six standard deviations more.
    assert np.count_nonzero(~inside) < 55 and inside.sum() > 20
    assert labels[0, 0] == 1


def test_mosaics_hold_the_boxes_of_four_pictures() -> None:
    random = np.random.default_rng(0)
    _, labels = make_window([rectangle()] * 4, (192, 256), QUIET, random, most_zoom=1.0)
    assert 2 <= len(labels) <= 4
    assert ((labels[:, 1:] >= 0) & (labels[:, 1:] <= 1)).all()


def test_mirrored_windows_mirror_the_boxes() -> None:
    both = []
    for flip in (0.0, 1.0):
        options = EventWindowOptions(shot_rate=0.0, flip=flip, least_activity=0.0)
        both.append(make_window(
            [rectangle()], (192, 256), options, np.random.default_rng(5), most_zoom=1.0001)[1])
    np.testing.assert_allclose(both[0][:, 1], 1 - both[1][:, 1], atol=1e-3)
    np.testing.assert_allclose(both[0][:, 2:], both[1][:, 2:], atol=1e-3)


def test_frames_are_three_quarters_high_in_steps_of_32() -> None:
    assert [frame_size(width) for width in (64, 256, 320)] == [(64, 64), (192, 256), (256, 320)]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Eight pictures with one rectangle each."""
    random = np.random.default_rng(0)
    for folder in ('images', 'labels'):
        (tmp_path / folder).mkdir()
    for k in range(8):
        x, y = (int(v) for v in random.integers(10, 40, 2))
        image = np.full((96, 128, 3), 40, np.uint8)
        image[y:y + 40, x:x + 60] = np.kron(
            random.integers(90, 256, (10, 15, 1), np.uint8), np.ones((4, 4, 3), np.uint8))
        cv2.imwrite(str(tmp_path / 'images' / f'{k}.png'), image)
        box = [(x + 30) / 128, (y + 20) / 96, 60 / 128, 40 / 96]
        (tmp_path / 'labels' / f'{k}.txt').write_text(f'{k % 2} ' + ' '.join(map(str, box)))
    (tmp_path / 'data.yaml').write_text('train: images\nval: images\nnames: [light, bright]\n')
    return tmp_path / 'data.yaml'


def test_grey_pictures_are_those_of_colour(data: Path) -> None:
    dataset = YoloTxtDataset.open(data, 'train')
    # One is reduced, one is not.
    for largest in (100, 128):
        colour = PictureCache(dataset, largest_side=largest).picture(3)
        grey = read_grey(dataset[3], largest)
        assert max(grey.image.shape) == largest and grey.image.std() > 10
        assert np.array_equal(grey.image, cv2.cvtColor(colour.image, cv2.COLOR_RGB2GRAY))
        assert np.array_equal(grey.labels, colour.labels)


def test_samples_depend_on_their_key_only(data: Path) -> None:
    pictures = EventPictures(
        YoloTxtDataset.open(data, 'train'), largest_side=128, options=EventWindowOptions())
    for key in (None, (0, 1, 2)):
        request = Request(3, 64, key, 0.5)
        (a, x), (b, y) = pictures[request], pictures[request]
        assert torch.equal(a, b) and torch.equal(x, y)
    assert not torch.equal(a, pictures[Request(3, 64, (0, 1, 3), 0.5)][0])


def test_batches_feed_the_network(data: Path) -> None:
    pictures = EventPictures(
        YoloTxtDataset.open(data, 'train'), largest_side=128, options=EventWindowOptions(bins=3))
    requests = [Request(k, 64) for k in range(4)]
    images, targets = next(iter(batches(pictures, requests, batch=4, workers=0)))
    assert images.shape == (4, 64, 64, 3) and targets.shape[1] == 6
    model = EmsYolo(SIZES['ems-res10-narrow'], 2, [[(10.0, 14.0)] * 3] * 3, channels=1)
    assert [y.shape[2] for y in model(to_input(images))] == [8, 4, 2]


def parse(*options: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    train_events.add_arguments(parser)
    return parser.parse_args(options)


def test_train_then_resume(
        data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip('faster_coco_eval', reason='no scorer (extra: train)')
    out = data.parent / 'run'
    options = (
        '--data', str(data), '--out', str(out), '--size', '64', '--batch', '4', '--workers', '0',
        '--threads', '1', '--bins', '2', '--width', '0.25')
    assert train_events.run(parse(*options, '--epochs', '2')) == 0
    records = [json.loads(line) for line in (out / 'log.jsonl').read_text().splitlines()]
    assert [record['epoch'] for record in records] == [0, 1]
    assert 0 <= records[-1]['map50'] <= 1
    with pytest.raises(ConfigurationError, match='holds a run; add --resume'):
        train_events.run(parse(*options))
    with pytest.raises(ConfigurationError, match='width is 0.25, not 0.5'):
        train_events.run(parse(*options[:-2], '--resume'))
    (out.parent / 'real' / 'events').mkdir(parents=True)
    np.save(out.parent / 'real' / 'events' / 'a.npy', np.array([[7, 3, 4, 1], [9, 5, 4, 0]]))
    assert train_events.run(parse(
        *options, '--epochs', '2', '--resume', '--test', str(out.parent / 'real'))) == 0
    assert json.loads(capsys.readouterr().out.splitlines()[-1]) == {
        'test': {'map50': 0.0, 'map': 0.0}}


@pytest.mark.parametrize(('rows', 'message'), [
    ([], 'expected rows'), ([[0, 346, 0, 1]], 'beyond a sensor'), ([[0, 0]], 'expected rows')])
def test_malformed_windows_are_named(tmp_path: Path, rows: list, message: str) -> None:
    with pytest.raises(DatasetError, match='holds no events'):
        read_labelled_events(tmp_path, (260, 346), 1)
    (tmp_path / 'events').mkdir()
    np.save(tmp_path / 'events' / 'a.npy', np.array(rows, np.int64))
    with pytest.raises(DatasetError, match=message):
        read_labelled_events(tmp_path, (260, 346), 1)


@pytest.mark.parametrize(('content', 'message'), [
    (b'', 'no array that numpy can load'), (np.zeros((2, 4)), 'no array of integers'),
    (np.array([['a'] * 4]), 'no array of integers')])
def test_files_that_hold_no_integers_are_refused(
        tmp_path: Path, content: Any, message: str) -> None:
    (tmp_path / 'events').mkdir()
    file = tmp_path / 'events' / 'a.npy'
    if isinstance(content, bytes):
        file.write_bytes(content)
    else:
        np.save(file, content)
    with pytest.raises(DatasetError, match=message):
        read_labelled_events(tmp_path, (260, 346), 1)


def test_real_windows_go_the_same_way(shared_data: Path) -> None:
    labelled = read_labelled_events(shared_data / 'events' / 'pedro', (260, 346), 5)
    assert sum(len(one.boxes) for one in labelled) == 6
    windows = [binned_frames(one.window, 4, (260, 346), frame_size(256)) for one in labelled]
    # Real hand-carried windows are about as full as the simulated ones: 1 % to 50 % a bin.
    active = np.array([(frames != 127).mean((1, 2)) for frames in windows])
    assert len(windows) == 5 and (active > 0.01).all() and (active < 0.5).all()
    torch.manual_seed(0)
    model = EmsYolo(SIZES['ems-res10-narrow'], 2, [[(20.0, 40.0)] * 3] * 3, channels=1)
    found = list(find_objects(
        model, windows, ('person', 'car'), sensor=(260, 346), **DETECTOR_OPTIONS))
    assert len(found) == 5
    for one in found:
        assert (one.boxes >= 0).all() and (one.boxes <= [346, 260, 346, 260]).all()
        assert (np.diff(one.scores) <= 0).all()
