# SPDX-License-Identifier: Apache-2.0
"""Augmented pictures: the boxes must stay on their objects."""

import numpy as np
import pytest

from snn_detector_ros.training.augmentation import (
    PADDING_GREY,
    Augmentation,
    Picture,
    augment,
    letterbox,
)

NO_COLOUR = Augmentation(hue=0, saturation=0, value=0)
RED, GREEN, BLUE, WHITE = (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255)


def rectangle(colour: tuple[int, int, int], kind: int, *, height: int = 120) -> Picture:
    """A black picture with one filled rectangle and its exact label."""
    image = np.zeros((height, 200, 3), np.uint8)
    image[30:90, 50:130] = colour
    label = [kind, 90 / 200, 60 / height, 80 / 200, 60 / height]
    return Picture(image, np.array([label], np.float32))


def measured_box(image: np.ndarray, colour: tuple[int, int, int]) -> np.ndarray:
    """Corners of the pixels nearer to ``colour`` than to black, px."""
    near = np.abs(image.astype(int) - colour).max(2) < 128
    rows, columns = np.nonzero(near)
    return np.array([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1])


def label_corners(label: np.ndarray, size: int) -> np.ndarray:
    centre, half = label[1:3] * size, label[3:5] * size / 2
    return np.concatenate((centre - half, centre + half))


def test_letterbox_keeps_shape_and_centres() -> None:
    made = letterbox(rectangle(RED, 2), 160)
    assert made.image.shape == (160, 160, 3)
    assert made.image[0, 80].tolist() == [PADDING_GREY] * 3
    assert made.labels[0, 0] == 2
    # Edges fall between pixels at this scale, so they are known to one pixel.
    np.testing.assert_allclose(
        measured_box(made.image, RED), label_corners(made.labels[0], 160), atol=1)


@pytest.mark.parametrize('seed', range(12))
def test_single_picture_boxes_stay_on_the_object(seed: int) -> None:
    made = augment([rectangle(RED, 1)], 256, NO_COLOUR, np.random.default_rng(seed))
    assert len(made.labels) == 1
    np.testing.assert_allclose(
        measured_box(made.image, RED), label_corners(made.labels[0], 256), atol=1)


@pytest.mark.parametrize('seed', range(12))
def test_mosaic_boxes_stay_on_their_objects(seed: int) -> None:
    colours = (RED, GREEN, BLUE, WHITE)
    pictures = [
        rectangle(colour, kind, height=120 + 20 * kind) for kind, colour in enumerate(colours)]
    made = augment(pictures, 256, NO_COLOUR, np.random.default_rng(seed))
    assert len(made.labels) > 0
    for label in made.labels:
        np.testing.assert_allclose(
            measured_box(made.image, colours[int(label[0])]), label_corners(label, 256), atol=1)


def test_colour_changes_but_boxes_do_not() -> None:
    still = Augmentation(scale=0, aspect=0, translate=0, flip=0)
    made = augment([rectangle(RED, 0)], 200, still, np.random.default_rng(3))
    plain = letterbox(rectangle(RED, 0), 200)
    np.testing.assert_allclose(made.labels, plain.labels, atol=1e-6)
    assert np.abs(made.image.astype(int) - plain.image)[100, 90].max() > 5


def test_objects_outside_the_window_lose_their_labels() -> None:
    far = Augmentation(scale=0, aspect=0, translate=3, flip=0)
    counts = [
        len(augment([rectangle(RED, 0)], 128, far, np.random.default_rng(seed)).labels)
        for seed in range(30)]
    assert 0 in counts
    assert 1 in counts


def test_pictures_without_objects_are_fine() -> None:
    empty = Picture(np.zeros((20, 30, 3), np.uint8), np.zeros((0, 5), np.float32))
    made = augment([empty] * 4, 64, Augmentation(), np.random.default_rng(0))
    assert made.labels.shape == (0, 5)
