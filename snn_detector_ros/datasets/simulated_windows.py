# SPDX-License-Identifier: Apache-2.0
"""
Windows of simulated events with boxes, made from labelled pictures.

A picture (or four) is laid out so that it covers what the camera sees, a drawn motion moves the
camera over it, and the boxes are those of the window's end.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from snn_detector_ros.datasets.image_folder import read_bgr
from snn_detector_ros.datasets.labels import LabelledPicture, relative_boxes
from snn_detector_ros.events.representations import NO_EVENT
from snn_detector_ros.events.simulation import (
    EventSensor,
    Motion,
    log_brightness,
    simulate_frames,
)

#: Seeds the windows that are the same whenever they are made: those that networks are scored on.
FIXED_KEY = 20_180

Boxes = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class GreyPicture:
    """A decoded picture: uint8 [H, W], labels float32 [N, 5]: class, cx, cy, w, h (0..1)."""

    image: NDArray[np.uint8]
    labels: Boxes


@dataclass(frozen=True)
class EventWindowOptions:
    """
    What windows look like, and how much they differ.

    :param bins: last-event frames of a window; ``bin_length`` in us.
    :param most_zoom: pictures are enlarged by up to this beyond covering the view.
    :param threshold: smallest and largest threshold of a sensor, log brightness.
    :param shot_rate: largest rate of random events, Hz.
    :param margin: what surrounds the view, as part of it; motion brings it in.
    :param flip: share of mirrored pictures.
    :param smallest_side: px; thinner boxes are dropped.
    :param smallest_part: of a box that must be in view.
    :param least_activity: share of a box's pixels with an event; below, nobody could find it.
    """

    bins: int = 4
    bin_length: int = 10_000
    most_zoom: float = 1.7
    threshold: tuple[float, float] = (0.2, 0.5)
    shot_rate: float = 1.5
    margin: float = 0.1
    flip: float = 0.5
    smallest_side: float = 4.0
    smallest_part: float = 0.3
    least_activity: float = 0.08


def largest_side(width: int) -> int:
    """Return how long a picture's side is at most for frames of a width: what zoom needs, px."""
    return round(1.5 * width)


def read_grey(sample: LabelledPicture, largest: int) -> GreyPicture:
    """
    Decode one picture, and keep the boxes of objects that are to be found.

    :param largest: pictures with a longer side in px are reduced to it.
    :raises DatasetError: if the picture cannot be read.
    """
    image = read_bgr(sample.path)
    height, width = image.shape[:2]
    labels = relative_boxes(sample, (height, width))
    ratio = largest / max(height, width)
    reduced = image if ratio >= 1 else cv2.resize(
        image, None, fx=ratio, fy=ratio, interpolation=cv2.INTER_AREA)
    return GreyPicture(np.asarray(cv2.cvtColor(reduced, cv2.COLOR_BGR2GRAY), np.uint8), labels)


def fixed_window(
        picture: GreyPicture, index: int, size: tuple[int, int],
        options: EventWindowOptions) -> tuple[NDArray[np.uint8], Boxes]:
    """
    Simulate the window of a picture that is the same in every call.

    :param index: of the picture in its split.
    :returns: see :func:`make_window`.
    """
    random = np.random.default_rng((FIXED_KEY, index))
    # Where windows differ, this number decides whether four pictures meet.
    random.random()
    return make_window([picture], size, options, random, most_zoom=1.0)


def make_window(
        pictures: Sequence[GreyPicture], size: tuple[int, int], options: EventWindowOptions,
        random: np.random.Generator, *, most_zoom: float) -> tuple[NDArray[np.uint8], Boxes]:
    """
    Simulate one window.

    :param pictures: one picture, or four that meet at a random point.
    :param size: height and width of the frames in px.
    :param options: what windows look like.
    :param random: source of all random numbers.
    :param most_zoom: 1 shows as much of a picture as covers the view.
    :returns: uint8 [T, H, W] frames; float32 [M, 5] class, cx, cy, w, h (0..1).
    """
    margin = round(options.margin * size[1])
    plane, boxes = _lay_out(pictures, (size[0] + 2 * margin, size[1] + 2 * margin), random,
                            most_zoom=most_zoom)
    boxes[:, 1:] -= margin
    if most_zoom > 1 and random.random() < options.flip:
        plane = np.ascontiguousarray(plane[:, ::-1])
        boxes[:, [1, 3]] = size[1] - boxes[:, [3, 1]]
    sensor = EventSensor(
        *size, threshold=float(np.exp(random.uniform(*np.log(options.threshold)))),
        shot_rate=random.uniform(0, options.shot_rate))
    frames = simulate_frames(
        log_brightness(plane), sensor, Motion.draw(random, size[1]), bins=options.bins,
        bin_length=options.bin_length, random=random)
    return frames, _labels(boxes, frames, options)


def _lay_out(
        pictures: Sequence[GreyPicture], size: tuple[int, int], random: np.random.Generator, *,
        most_zoom: float) -> tuple[NDArray[np.uint8], Boxes]:
    """Fill a plane; return it with class and corners of the boxes in px of the plane."""
    if len(pictures) == 1:
        return _cover(pictures[0], size, random, most_zoom)
    plane = np.empty(size, np.uint8)
    y, x = (int(side * random.uniform(0.35, 0.65)) for side in size)
    boxes = []
    for number, picture in enumerate(pictures):
        rows = slice(0, y) if number < 2 else slice(y, size[0])
        columns = slice(0, x) if number % 2 == 0 else slice(x, size[1])
        part = plane[rows, columns]
        part[:], own = _cover(picture, (part.shape[0], part.shape[1]), random, most_zoom)
        boxes.append(own + np.array(
            (0, columns.start, rows.start, columns.start, rows.start), np.float32))
    return plane, np.concatenate(boxes)


def _cover(
        picture: GreyPicture, size: tuple[int, int], random: np.random.Generator,
        most_zoom: float) -> tuple[NDArray[np.uint8], Boxes]:
    """Enlarge or reduce a picture until it covers an area, and cut a random part of that size."""
    source = np.array(picture.image.shape[:2])
    zoom = np.exp(random.uniform(0, np.log(most_zoom)))
    ratio = max(np.array(size) / source) * zoom
    spare = source * ratio - size
    top, left = spare * random.random(2)
    # Pixel centres lie at half numbers.
    matrix = np.array([[ratio, 0, 0.5 * ratio - 0.5 - left], [0, ratio, 0.5 * ratio - 0.5 - top]])
    image = cv2.warpAffine(
        picture.image, matrix, size[::-1], flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT)
    scale = source[::-1] * ratio
    middle, half = picture.labels[:, 1:3] * scale - (left, top), picture.labels[:, 3:5] * scale / 2
    boxes = np.concatenate((picture.labels[:, :1], middle - half, middle + half), 1)
    # What the cut removes must not reach into a neighbour.
    inside = boxes[:, 1:].clip(0, np.tile(size[::-1], 2))
    part = _areas(inside) / np.maximum(_areas(boxes[:, 1:]), 1e-9)
    boxes[:, 1:] = inside
    return np.asarray(image, np.uint8), boxes[part > 0.2].astype(np.float32)


def _areas(corners: NDArray[Any]) -> NDArray[Any]:
    sides: NDArray[Any] = (corners[:, 2:] - corners[:, :2]).clip(0)
    return sides.prod(1)


def _labels(boxes: Boxes, frames: NDArray[np.uint8], options: EventWindowOptions) -> Boxes:
    """Keep what is in view and moves; return class, cx, cy, w, h (0..1)."""
    height, width = frames.shape[1:]
    inside = boxes[:, 1:].clip(0, (width, height, width, height))
    sides = inside[:, 2:] - inside[:, :2]
    keep = (sides.min(1, initial=np.inf) >= options.smallest_side) & (
        _areas(inside) >= options.smallest_part * _areas(boxes[:, 1:]))
    active = (frames != NO_EVENT).any(0)
    for row in np.flatnonzero(keep):
        left, top, right, bottom = np.round(inside[row]).astype(int)
        keep[row] = active[top:bottom, left:right].mean() >= options.least_activity
    centres = (inside[:, :2] + inside[:, 2:]) / 2
    size = (width, height)
    return np.concatenate(
        (boxes[:, :1], centres / size, sides / size), 1)[keep].astype(np.float32)
