# SPDX-License-Identifier: Apache-2.0
"""The loop: sampling, schedule, resuming, and files that survive a kill."""

import json
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

torch = pytest.importorskip('torch', reason='torch is not installed (extra: train)')

from coco_anchors import COCO_ANCHORS  # noqa: E402

from snn_detector_ros.datasets.image_folder import read_bgr  # noqa: E402
from snn_detector_ros.datasets.labels import PictureList, PixelLabels, Role  # noqa: E402
from snn_detector_ros.datasets.yolo_txt import YoloTxtDataset  # noqa: E402
from snn_detector_ros.errors import ConfigurationError  # noqa: E402
from snn_detector_ros.training import data_loader  # noqa: E402
from snn_detector_ros.training.checkpoint import (  # noqa: E402
    load_checkpoint,
    replace_file,
    save_checkpoint,
)
from snn_detector_ros.training.data_loader import (  # noqa: E402
    LARGEST_WEIGHT,
    PictureCache,
    batches,
    training_requests,
)
from snn_detector_ros.training.loop import Trainer, TrainingOptions  # noqa: E402
from snn_detector_ros.training.models import create_model  # noqa: E402
from snn_detector_ros.training.schedule import Schedule  # noqa: E402

# The network is tiny here: a second thread costs more than it gives.
torch.set_num_threads(1)


@pytest.fixture(scope='module')
def pictures(tmp_path_factory: pytest.TempPathFactory) -> PictureCache:
    """Eight pictures with one rectangle each; only the last one is of class 1."""
    root = tmp_path_factory.mktemp('data')
    (root / 'images').mkdir()
    (root / 'labels').mkdir()
    for k in range(8):
        image = np.full((48, 64, 3), 20 * k, np.uint8)
        image[10:30, 8 + 4 * k:28 + 4 * k] = (0, 255 - 20 * k, 255)
        cv2.imwrite(str(root / 'images' / f'{k}.png'), image)
        label = f'{int(k == 7)} {(18 + 4 * k) / 64} {20 / 48} {20 / 64} {20 / 48}\n'
        (root / 'labels' / f'{k}.txt').write_text(label)
    (root / 'data.yaml').write_text('train: images\nnames: [many, few]\n')
    return PictureCache(YoloTxtDataset.open(root / 'data.yaml', 'train'), largest_side=64)


def trainer(pictures: PictureCache, folder: Path, **options: object) -> Trainer:
    torch.manual_seed(0)
    model = create_model('yolov5n-relu', 2, COCO_ANCHORS)
    schedule = Schedule(epochs=2, size=64, small_size=32, small_part=0.5)
    return Trainer(
        model, pictures, pictures, folder,
        TrainingOptions(schedule, batch=4, workers=0, warm_up_steps=2), **options)


def test_resuming_equals_never_stopping(pictures: PictureCache, tmp_path: Path) -> None:
    whole = trainer(pictures, tmp_path / 'whole')
    whole.run()

    first = trainer(pictures, tmp_path / 'parts')
    first._one_epoch()
    with first.log.open('a') as log:
        log.write('{"epoch": 1, "of": "a run that was killed before its checkpoint"}\n')
    second = trainer(pictures, tmp_path / 'parts')
    second.resume()
    second.run()

    assert whole.epoch == second.epoch == 2
    for name, value in whole.average.model.state_dict().items():
        assert torch.equal(value, second.average.model.state_dict()[name]), name
    logs = [[json.loads(line) for line in t.log.read_text().splitlines()] for t in (whole, second)]
    for one, other in zip(*logs, strict=True):
        assert {**one, 'seconds': 0} == {**other, 'seconds': 0}


def test_the_best_scored_epoch_is_kept(pictures: PictureCache, tmp_path: Path) -> None:
    scores = iter([0.5, 0.25])
    seen = []
    run = trainer(
        pictures, tmp_path, evaluate=lambda model: {'map50': next(scores)},
        on_best=lambda model, record: seen.append(record['epoch']))
    object.__setattr__(run.options, 'evaluate_every', 1)
    run.run()
    assert seen == [0]
    assert load_checkpoint(run.best_weights)['record']['map50'] == 0.5


def test_a_kill_while_the_best_is_kept_repeats_the_epoch(
    pictures: PictureCache, tmp_path: Path,
) -> None:
    def killed(model: object, record: object) -> None:
        raise KeyboardInterrupt

    run = trainer(pictures, tmp_path, on_best=killed)
    with pytest.raises(KeyboardInterrupt):
        run.run()
    assert not run.checkpoint.exists()
    assert load_checkpoint(run.best_weights)['record']['epoch'] == 0


def test_a_checkpoint_of_another_network_is_refused(
    pictures: PictureCache, tmp_path: Path,
) -> None:
    run = trainer(pictures, tmp_path)
    run._one_epoch()
    shutil.copy(run.best_weights, run.checkpoint)
    with pytest.raises(ConfigurationError, match='another network'):
        run.resume()


def test_epochs_share_progress_equally() -> None:
    schedule = Schedule(epochs=4, size=320, small_size=224, small_part=0.5)
    ends, progress = [], 0.0
    for epoch in range(4):
        progress = schedule.epoch_end(progress, epoch, 1e6, 1.0)
        ends.append(progress)
    np.testing.assert_allclose(ends, [0.25, 0.5, 0.75, 1.0])
    assert [schedule.picture_size(p) for p in (0.0, 0.49, 0.5)] == [224, 224, 320]


def test_sizes_differ_from_batch_to_batch_until_the_plain_part() -> None:
    schedule = Schedule(epochs=1, size=320, small_size=320, multi_scale=0.25)
    sizes = schedule.batch_sizes(0.0, 500, np.random.default_rng(0))
    assert set(sizes) == set(range(256, 385, 32)), 'from 240 and 400 px, rounded to 32'
    assert schedule.batch_sizes(0.0, 500, np.random.default_rng(0)) == sizes
    assert set(schedule.batch_sizes(0.9, 500, np.random.default_rng(0))) == {320}


def test_a_batch_has_one_size(pictures: PictureCache) -> None:
    requests = training_requests(
        pictures, seed=1, epoch=2, sizes=[32, 96], batch=3, mosaic=0.5)
    shapes = [images.shape for images, _ in batches(pictures, requests, batch=3, workers=0)]
    assert shapes == [(3, 32, 32, 3), (3, 96, 96, 3), (2, 32, 32, 3)]


def test_pictures_that_are_not_kept_are_the_same(
        pictures: PictureCache, monkeypatch: pytest.MonkeyPatch) -> None:
    decoded: list[Path] = []

    def count(path: Path) -> NDArray[np.uint8]:
        decoded.append(path)
        return read_bgr(path)

    monkeypatch.setattr(data_loader, 'read_bgr', count)
    fresh = PictureCache(pictures.dataset, largest_side=64, keep=False)
    assert not decoded
    for index in range(len(pictures)):
        one, other = fresh.picture(index), pictures.picture(index)
        np.testing.assert_array_equal(one.image, other.image)
        np.testing.assert_array_equal(one.labels, other.labels)
    assert len(decoded) == len(pictures)


def test_only_boxes_of_objects_are_learnt(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / 'x.png'), np.zeros((50, 100, 3), np.uint8))
    boxes = np.array([[10, 10, 30, 20], [0, 0, 100, 50], [50, 5, 100, 45]], np.float32)
    roles = np.array([Role.OBJECT, Role.CROWD, Role.IGNORED], np.uint8)
    labels = PixelLabels(tmp_path / 'x.png', boxes, np.array([1, 0, 0]), roles)
    cache = PictureCache(PictureList(('a', 'b'), [labels]), largest_side=64)
    np.testing.assert_allclose(cache.picture(0).labels, [[1, 0.2, 0.3, 0.2, 0.2]], rtol=1e-6)


def test_rate_falls_to_its_end_and_mosaics_stop() -> None:
    schedule = Schedule(epochs=1, size=320, small_size=320, learning_rate=0.02, last_rate=0.01)
    rates = [schedule.rate(p) for p in np.linspace(0, 1, 11)]
    assert rates == sorted(rates, reverse=True)
    np.testing.assert_allclose([rates[0], rates[-1]], [0.02, 0.0002])
    assert schedule.mosaic_share(0.79) == 0.5
    assert schedule.mosaic_share(0.81) == 0.0


@pytest.mark.parametrize('slow', [1.0, 3.0])
def test_a_time_limit_is_met_whatever_an_epoch_costs(slow: float) -> None:
    schedule = Schedule(
        epochs=1000, size=320, small_size=224, small_part=0.3, time_limit=6000.0)
    progress, elapsed, per_pixel, epoch = 0.0, 0.0, 0.0, 0
    random = np.random.default_rng(0)
    while progress < 1:
        size = schedule.picture_size(progress)
        progress = schedule.epoch_end(progress, epoch, elapsed, per_pixel)
        # The machine is busier at some times than at others, and slower from the middle on.
        seconds = size ** 2 * 6e-4 * random.uniform(0.8, 1.2) * (slow if elapsed > 3000 else 1)
        elapsed, per_pixel, epoch = elapsed + seconds, seconds / size ** 2, epoch + 1
    last = 320 ** 2 * 6e-4 * 1.2 * slow
    assert abs(elapsed - 6000) < last


def test_rare_classes_are_drawn_more_often(pictures: PictureCache) -> None:
    np.testing.assert_allclose(pictures.weights[:7], (7 / 8) ** -0.5)
    np.testing.assert_allclose(pictures.weights[7], 8 ** 0.5)
    assert pictures.weights.max() < LARGEST_WEIGHT
    drawn = np.bincount(pictures.draw(4000, np.random.default_rng(0)), minlength=8) / 4000
    # Standard error of each share is below 0.008.
    np.testing.assert_allclose(drawn, pictures.weights / pictures.weights.sum(), atol=0.03)


def test_samples_do_not_depend_on_the_worker(pictures: PictureCache) -> None:
    requests = training_requests(pictures, seed=1, epoch=2, sizes=[64], batch=3, mosaic=0.5)
    here = list(batches(pictures, requests, batch=3, workers=0))
    there = list(batches(pictures, requests, batch=3, workers=2))
    assert len(here) == len(there) == 3
    for (images, targets), (other_images, other_targets) in zip(here, there, strict=True):
        assert torch.equal(images, other_images)
        assert torch.equal(targets, other_targets)


def test_epochs_differ(pictures: PictureCache) -> None:
    first, second = (
        training_requests(pictures, seed=1, epoch=epoch, sizes=[64], batch=4, mosaic=0)
        for epoch in (0, 1))
    assert [r.index for r in first] != [r.index for r in second]


def test_a_failed_write_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / 'checkpoint.pt'
    save_checkpoint(path, {'value': torch.ones(2)})

    def fail(file: Path) -> None:
        file.write_bytes(b'half')
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        replace_file(path, fail)
    assert torch.equal(load_checkpoint(path)['value'], torch.ones(2))
    assert list(tmp_path.iterdir()) == [path]


def test_checkpoints_that_cannot_be_used_are_refused(tmp_path: Path) -> None:
    path = tmp_path / 'checkpoint.pt'
    with pytest.raises(ConfigurationError, match='start without --resume'):
        load_checkpoint(path)
    path.write_bytes(b'not a checkpoint')
    with pytest.raises(ConfigurationError, match='not a readable checkpoint'):
        load_checkpoint(path)
    torch.save({'format': 99}, path)
    with pytest.raises(ConfigurationError, match='format 1'):
        load_checkpoint(path)
    torch.save({'format': 1, 'evil': Path('x')}, path)
    with pytest.raises(ConfigurationError, match='not a readable checkpoint'):
        load_checkpoint(path)
