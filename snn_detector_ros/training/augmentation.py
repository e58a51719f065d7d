# SPDX-License-Identifier: Apache-2.0
"""
Make training pictures: mosaic, scale, translation, flip and colour, each in one warp.

Pictures are laid out on a plane (one picture centred on the origin, or four that meet there), and
the training picture is a square window of that plane. So each source pixel is resampled once, and
the boxes follow by the same affine map.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

PADDING_GREY = 114

Image = NDArray[np.uint8]
Boxes = NDArray[np.float32]


@dataclass(frozen=True)
class Augmentation:
    """
    How far pictures are changed; YOLOv5's ranges for small models, and a change of aspect.

    ``aspect`` is the largest natural logarithm of (horizontal / vertical zoom): publishers stretch
    pictures, and a detector should not learn the squeezed shapes.
    """

    scale: float = 0.5
    aspect: float = 0.3
    translate: float = 0.1
    hue: float = 0.015
    saturation: float = 0.7
    value: float = 0.4
    flip: float = 0.5
    smallest_side: float = 2.0
    smallest_part: float = 0.1


@dataclass(frozen=True)
class Picture:
    """A decoded picture: uint8 [H, W, 3] RGB, labels float32 [N, 5]: class, cx, cy, w, h (0..1)."""

    image: Image
    labels: Boxes


def letterbox(picture: Picture, size: int) -> Picture:
    """
    Fit a picture into a square without changing its shape, on grey.

    :param picture: the picture.
    :param size: edge of the square in px.
    :returns: the square picture, with every label.
    """
    canvas, labels = _blank(size)
    labels = [_paste(canvas, picture, _centred(picture, size), np.ones(2), np.zeros(2))]
    return Picture(canvas, _visible(labels, size, smallest_side=0.0, smallest_part=0.0))


def augment(
        pictures: Sequence[Picture], size: int, options: Augmentation,
        random: np.random.Generator) -> Picture:
    """
    Compose one training picture.

    :param pictures: one picture, or four for a mosaic.
    :param size: edge of the result in px.
    :param options: the ranges to draw from.
    :param random: source of all random numbers.
    :returns: the picture, with the labels that are still visible.
    """
    canvas, labels = _blank(size)
    stretch = random.uniform(-0.5, 0.5) * options.aspect
    zoom = random.uniform(1 - options.scale, 1 + options.scale) * np.exp((stretch, -stretch))
    centre = random.uniform(-options.translate, options.translate, 2) * size / zoom
    if len(pictures) == 1:
        corners = [_centred(pictures[0], size)]
    else:
        centre = centre + random.uniform(-0.5, 0.5, 2) * size
        corners = [_around_origin(picture, size, k) for k, picture in enumerate(pictures)]
    for picture, corner in zip(pictures, corners, strict=True):
        labels.append(_paste(canvas, picture, corner, zoom, centre))
    kept = _visible(
        labels, size, smallest_side=options.smallest_side, smallest_part=options.smallest_part)
    if random.random() < options.flip:
        canvas = np.ascontiguousarray(canvas[:, ::-1])
        kept[:, 1] = 1 - kept[:, 1]
    return Picture(_change_colour(canvas, options, random), kept)


def _blank(size: int) -> tuple[Image, list[Boxes]]:
    return np.full((size, size, 3), PADDING_GREY, np.uint8), []


def _fit(picture: Picture, size: int) -> float:
    return size / max(picture.image.shape[:2])


def _centred(picture: Picture, size: int) -> tuple[float, float]:
    height, width = picture.image.shape[:2]
    ratio = _fit(picture, size)
    return -width * ratio / 2, -height * ratio / 2


def _around_origin(picture: Picture, size: int, quadrant: int) -> tuple[float, float]:
    height, width = picture.image.shape[:2]
    ratio = _fit(picture, size)
    return (0.0 if quadrant % 2 else -width * ratio), (0.0 if quadrant >= 2 else -height * ratio)


def _paste(
        canvas: Image, picture: Picture, corner: tuple[float, float],
        zoom: NDArray[np.float64], window: NDArray[np.float64]) -> Boxes:
    """Warp one picture onto the canvas; return its labels as class and corners in canvas px."""
    size = canvas.shape[0]
    height, width = picture.image.shape[:2]
    ratio = _fit(picture, size) * zoom
    shift = (np.asarray(corner) - window) * zoom + size / 2
    # Pixel centres lie at half numbers: without this term the picture moves against its boxes.
    offset = shift + 0.5 * ratio - 0.5
    matrix = np.array([[ratio[0], 0, offset[0]], [0, ratio[1], offset[1]]])
    cv2.warpAffine(
        picture.image, matrix, (size, size), dst=canvas, flags=cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_TRANSPARENT)
    boxes = np.empty_like(picture.labels)
    boxes[:, 0] = picture.labels[:, 0]
    scale = np.array([width, height], np.float64) * ratio
    half = picture.labels[:, 3:5] / 2
    boxes[:, 1:3] = (picture.labels[:, 1:3] - half) * scale + shift
    boxes[:, 3:5] = (picture.labels[:, 1:3] + half) * scale + shift
    return boxes


def _visible(
        labels: Sequence[Boxes], size: int, *, smallest_side: float,
        smallest_part: float) -> Boxes:
    """Clip corners to the canvas, drop what is hardly left, return class, cx, cy, w, h (0..1)."""
    boxes = np.concatenate(labels) if labels else np.zeros((0, 5), np.float32)
    clipped = boxes[:, 1:].clip(0, size)
    sides = clipped[:, 2:] - clipped[:, :2]
    area = (boxes[:, 3:] - boxes[:, 1:3]).prod(1)
    keep = (sides.min(1) > smallest_side) & (sides.prod(1) > smallest_part * area)
    centres = (clipped[:, :2] + clipped[:, 2:]) / 2
    result = np.concatenate((boxes[:, :1], centres / size, sides / size), 1)[keep]
    return result.astype(np.float32)


def _change_colour(image: Image, options: Augmentation, random: np.random.Generator) -> Image:
    gains = 1 + random.uniform(-1, 1, 3) * (options.hue, options.saturation, options.value)
    levels = np.arange(256)
    tables = np.stack((
        (levels * gains[0]) % 180, (levels * gains[1]).clip(0, 255),
        (levels * gains[2]).clip(0, 255)), 1).astype(np.uint8)
    hsv = cv2.cvtColor(image, cv2.COLOR_RGB2HSV)
    hsv = cv2.LUT(hsv, tables.reshape(1, 256, 3))
    return cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB, dst=image).astype(np.uint8, copy=False)
