# SPDX-License-Identifier: Apache-2.0
"""Makes small videos, pictures and bags for tests."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray


def numbered_picture(number: int, height: int = 48, width: int = 64) -> NDArray[np.uint8]:
    """Return a flat picture whose grey level tells its number, also after lossy coding."""
    return np.full((height, width, 3), 8 * number % 256, np.uint8)


def write_video(path: Path, frames: int = 12, rate: float = 25.0, code: str = 'MJPG') -> Path:
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*code), rate, (64, 48))
    assert writer.isOpened()
    for number in range(frames):
        writer.write(numbered_picture(number))
    writer.release()
    return path


def write_pictures(folder: Path, count: int = 3) -> Path:
    """Write pictures of different sizes."""
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        picture = numbered_picture(number, 48 + 16 * number, 64 + 16 * number)
        assert cv2.imwrite(str(folder / f'{number}.png'), picture)
    return folder


def write_bag(
    path: Path, pictures: int = 5, topic: str = '/camera/image_raw', plugin: str = 'sqlite3'
) -> Path:
    """Write a bag of images taken every 20 ms, the first at 100 s."""
    from rosbags.rosbag2 import StoragePlugin, Writer
    from rosbags.typesys import Stores, get_typestore

    types = get_typestore(Stores.ROS2_JAZZY)
    kind = 'sensor_msgs/msg/Image'
    header, time, image = (
        types.types[name] for name in ('std_msgs/msg/Header', 'builtin_interfaces/msg/Time', kind))
    with Writer(path, version=9, storage_plugin=StoragePlugin[plugin.upper()]) as writer:
        link = writer.add_connection(topic, kind, typestore=types)
        for number in range(pictures):
            pixels = numbered_picture(number)
            stamp = time(sec=100, nanosec=number * 20_000_000)
            message = image(
                header=header(stamp=stamp, frame_id='recorded'), height=48, width=64,
                encoding='bgr8', is_bigendian=0, step=192, data=pixels.reshape(-1))
            writer.write(
                link, 100_000_000_000 + number * 20_000_000, types.serialize_cdr(message, kind))
    return path
