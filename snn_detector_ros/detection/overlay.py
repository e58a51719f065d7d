# SPDX-License-Identifier: Apache-2.0
"""Draw detections on a picture, for people to look at."""

from __future__ import annotations

import colorsys
from functools import cache

import cv2
import numpy as np
from numpy.typing import NDArray

from snn_detector_ros.detection.types import Detection, Detections

_FONT = cv2.FONT_HERSHEY_SIMPLEX
#: Below this scale the strokes of the font run together.
_SMALLEST_FONT = 0.3


def draw(image: NDArray[np.uint8], detections: Detections) -> NDArray[np.uint8]:
    """
    Return a copy of a picture with boxes and labels.

    Lines and letters grow with the picture. A label stands above its box, or inside of it at the
    top of the picture, and is moved or made smaller to stay inside the picture. The best detection
    is drawn last, so nothing covers it.

    :param image: uint8 [H, W, 3], blue-green-red.
    :returns: uint8 [H, W, 3].
    """
    canvas = np.array(image, dtype=np.uint8, order='C')
    line = max(1, round(sum(canvas.shape[:2]) / 600))
    for detection in reversed(list(detections)):
        _draw_box(canvas, detection, line)
        _draw_label(canvas, detection, line)
    return canvas


@cache
def class_colour(class_id: int) -> tuple[int, int, int]:
    """Return blue, green and red of a class; neighbouring classes differ strongly in hue."""
    hue = class_id * 0.618033988749895 % 1  # steps of the golden angle never come close again
    red, green, blue = colorsys.hsv_to_rgb(hue, 0.85, 1.0)
    return round(255 * blue), round(255 * green), round(255 * red)


def _draw_box(canvas: NDArray[np.uint8], detection: Detection, line: int) -> None:
    left, top, right, bottom = (round(edge) for edge in detection.box)
    # One ring of one pixel after the other: OpenCV's thick lines are centred on the edge, rounded
    # at the corners and, for even widths, a pixel too wide.
    for inset in range(line):
        cv2.rectangle(
            canvas, (left + inset, top + inset), (right - 1 - inset, bottom - 1 - inset),
            class_colour(detection.class_id))


def _draw_label(canvas: NDArray[np.uint8], detection: Detection, line: int) -> None:
    height, width = canvas.shape[:2]
    text = f'{detection.class_name} {detection.score:.2f}'
    scale, margin = max(0.4, 0.3 * line), 2 + line
    weight = max(1, round(1.5 * scale))
    (text_width, _), _ = cv2.getTextSize(text, _FONT, scale, weight)
    if text_width + 2 * margin > width:
        scale = max(_SMALLEST_FONT, scale * (width - 2 * margin) / text_width)
        weight = 1
    (text_width, text_height), below = cv2.getTextSize(text, _FONT, scale, weight)
    label_width, label_height = text_width + 2 * margin, text_height + below + margin
    if label_width > width or label_height > height:
        return  # the picture is smaller than the smallest readable label

    left = max(0, min(round(detection.box[0]), width - label_width))
    top = round(detection.box[1]) - label_height
    if top < 0:
        top = max(0, min(round(detection.box[1]), height - label_height))
    colour = class_colour(detection.class_id)
    canvas[top:top + label_height, left:left + label_width] = colour
    bright = 0.114 * colour[0] + 0.587 * colour[1] + 0.299 * colour[2] > 140
    cv2.putText(
        canvas, text, (left + margin, top + margin // 2 + text_height), _FONT, scale,
        (0, 0, 0) if bright else (255, 255, 255), weight, cv2.LINE_AA)
