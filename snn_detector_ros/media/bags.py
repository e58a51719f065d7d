# SPDX-License-Identifier: Apache-2.0
"""
rosbag2 recordings (sqlite3 and mcap), read without ROS through the pure Python `rosbags`.

Messages stay the CDR bytes that were recorded: a player publishes them as they are.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from snn_detector_ros.errors import MissingDependencyError
from snn_detector_ros.events.packets import EVENT_ARRAY_TYPE, EVENT_PACKET_TYPE
from snn_detector_ros.media.sources import SourceError

IMAGE_TYPE = 'sensor_msgs/msg/Image'
COMPRESSED_IMAGE_TYPE = 'sensor_msgs/msg/CompressedImage'
STORAGE_SUFFIXES = frozenset({'.db3', '.mcap'})


@dataclass(frozen=True)
class BagMessage:
    """
    One recorded message.

    :param message_type: for example ``sensor_msgs/msg/Image``.
    :param time: when it was recorded, ns.
    :param data: CDR bytes with their 4 bytes of encapsulation header.
    """

    topic: str
    message_type: str
    time: int
    data: bytes


def is_bag(path: Path) -> bool:
    """Whether a path looks like a bag: what rosbag2 writes, or one of its storage files."""
    return (path / 'metadata.yaml').is_file() or path.suffix in STORAGE_SUFFIXES


class Bag:
    """
    A rosbag2 recording.

    :param path: directory with ``metadata.yaml``, or a ``.db3`` or ``.mcap`` file.
    :param topics: read these only; none named means all.
    :raises SourceError: if it cannot be read, or lacks one of the topics.
    """

    def __init__(self, path: Path, *, topics: Sequence[str] = ()) -> None:
        self._path = path
        with self._reader() as reader:
            recorded = {link.topic: str(link.msgtype) for link in reader.connections}
            #: Messages of each topic.
            self.counts = {link.topic: int(link.msgcount) for link in reader.connections}
            self.start = int(reader.start_time)
            self.duration = reader.duration / 1e9
        missing = [topic for topic in topics if topic not in recorded]
        if missing:
            raise SourceError(
                f'{path} holds no topic {", ".join(missing)}; it holds {", ".join(recorded)}')
        self.topics = {topic: kind for topic, kind in recorded.items()
                       if not topics or topic in topics}

    @property
    def has_images(self) -> bool:
        """Whether one of the topics holds images."""
        return not {IMAGE_TYPE, COMPRESSED_IMAGE_TYPE}.isdisjoint(self.topics.values())

    @property
    def has_events(self) -> bool:
        """Whether one of the topics is that of an event camera."""
        return not {EVENT_PACKET_TYPE, EVENT_ARRAY_TYPE}.isdisjoint(self.topics.values())

    def image_topic(self) -> tuple[str, str]:
        """
        Return name and type of the first image topic.

        :raises SourceError: if the bag holds no images.
        """
        return self._first_topic('images', (IMAGE_TYPE, COMPRESSED_IMAGE_TYPE))

    def event_topic(self) -> tuple[str, str]:
        """
        Return name and type of the first topic of an event camera.

        :raises SourceError: if the bag holds neither packets nor arrays of events.
        """
        return self._first_topic('events', (EVENT_PACKET_TYPE, EVENT_ARRAY_TYPE))

    def _first_topic(self, what: str, kinds: Sequence[str]) -> tuple[str, str]:
        for kind in kinds:
            for topic, recorded in self.topics.items():
                if recorded == kind:
                    return topic, kind
        raise SourceError(f'{self._path} holds no {what}, only {", ".join(self.topics.values())}')

    def messages(self) -> Iterator[BagMessage]:
        """
        Deliver the messages in the order of recording.

        :raises SourceError: where the file is damaged; what came before was delivered.
        """
        with self._reader() as reader:
            links = [link for link in reader.connections if link.topic in self.topics]
            stream = reader.messages(connections=links)
            while True:
                try:
                    link, time, data = next(stream)
                except StopIteration:
                    return
                except Exception as error:  # each storage plugin raises its own
                    raise _damaged(self._path, error) from error
                yield BagMessage(link.topic, str(link.msgtype), time, bytes(data))

    @contextmanager
    def _reader(self) -> Iterator[Any]:
        try:
            from rosbags.rosbag2 import Reader
        except ImportError as error:
            raise MissingDependencyError('rosbags', 'replay') from error
        try:
            reader = Reader(self._path)
            reader.open()
        except Exception as error:  # ReaderError, sqlite3 and yaml errors, KeyError
            raise _damaged(self._path, error) from error
        try:
            yield reader
        finally:
            reader.close()


def _damaged(path: Path, error: Exception) -> SourceError:
    return SourceError(
        f'{path} cannot be read as a bag ({error}); run `ros2 bag reindex` on it or record it anew')
