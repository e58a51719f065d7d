# SPDX-License-Identifier: Apache-2.0
"""A small data set to train on: dark noise with one bright rectangle in each picture."""

from pathlib import Path

import cv2
import numpy as np


def make_pictures(folder: Path, count: int = 10) -> Path:
    """
    Write pictures of 64x64 px, the same for training and validation.

    :param folder: an existing folder.
    :param count: number of pictures; two classes take turns.
    :returns: the ``data.yaml``.
    """
    random = np.random.default_rng(0)
    for name in ('images', 'labels'):
        (folder / name).mkdir()
    for k in range(count):
        x, y, w, h = (int(v) for v in random.integers(8, 28, 4))
        image = random.integers(0, 60, (64, 64, 3), np.uint8)
        image[y:y + h, x:x + w] = 230
        cv2.imwrite(str(folder / 'images' / f'{k}.png'), image)
        box = np.array([x + w / 2, y + h / 2, w, h]) / 64
        (folder / 'labels' / f'{k}.txt').write_text(f'{k % 2} ' + ' '.join(map(str, box)))
    (folder / 'data.yaml').write_text('train: images\nval: images\nnames: [light, bright]\n')
    return folder / 'data.yaml'
