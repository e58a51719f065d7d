# SPDX-License-Identifier: Apache-2.0
"""The parameters of the player: one table, read once at start."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any, TypeVar

from rcl_interfaces.msg import ParameterDescriptor
from rclpy.node import Node

from snn_detector_ros.ros.descriptors import descriptor
from snn_detector_ros.ros.parameters import Effect, Parameter

T = TypeVar('T')


def _option(default: T, description: str, **constraints: Any) -> T:
    metadata = {'description': description, 'effect': Effect.START, **constraints}
    return dataclasses.field(default=default, metadata=metadata)  # type: ignore[return-value]


@dataclass(frozen=True)
class PlayerOptions:
    """What the player plays, and how."""

    input: tuple[str, ...] = _option(
        (), 'Video, picture, directory of pictures, bag, camera:0 or /dev/video0; a list of videos '
        'and pictures is played in turn.')
    rate: float = _option(
        0.0, 'Frames a second; 0 takes the rate of the source, 10 for pictures; bags keep theirs.',
        low=0.0, high=1000.0)
    speed: float = _option(
        1.0, 'How many times faster than its own time the input is played.', low=0.01, high=100.0)
    hold: float = _option(
        0.0, 'How long each picture is shown, in s; 0 shows it for one frame.',
        low=0.0, high=3600.0)
    max_frames: int = _option(
        0, 'Stop after so many frames, or messages of a bag; 0 plays all.', low=0, high=2**31 - 1)
    loop: bool = _option(False, 'Start again at the end.')
    transport: str = _option(
        'raw', 'Publish raw on `image`, JPEG on `image/compressed`, or both.',
        choices=('raw', 'compressed', 'both'))
    jpeg_quality: int = _option(90, 'Quality of the JPEG pictures.', low=1, high=100)
    frame_id: str = _option('camera_optical_frame', 'Coordinate frame in the headers.')
    reliability: str = _option(
        'best_effort', 'Reliability of the topics that are published.',
        choices=('best_effort', 'reliable'))
    topics: tuple[str, ...] = _option((), 'Topics of a bag to play; empty plays all.')
    restamp: bool = _option(
        True, 'Give the messages of a bag stamps of now; with `clock` they keep their own.')
    clock: bool = _option(False, 'Publish `/clock`, for nodes with `use_sim_time`.')
    subscribers: int = _option(
        1, 'Wait for so many subscribers before the first frame.', low=0, high=100)
    wait: float = _option(
        15.0, 'Longest wait for them, in s; then it plays all the same.', low=0.0, high=3600.0)

    @classmethod
    def declare(cls, node: Node) -> PlayerOptions:
        """
        Declare the parameters on a node and read them.

        :raises ConfigurationError: if a value has the wrong type, is out of range or no choice.
        """
        return cls(**{
            field.name: _read(node, Parameter(field.name, field.default, **field.metadata))
            for field in dataclasses.fields(cls)})


def _read(node: Node, option: Parameter) -> Any:
    if not isinstance(option.default, tuple):
        return option.check(
            node.declare_parameter(option.name, option.default, descriptor(option)).value)
    # One text may stand for a list of one.
    value = node.declare_parameter(option.name, '', ParameterDescriptor(
        description=option.description, read_only=True, dynamic_typing=True)).value
    texts = [value] if isinstance(value, (str, int)) else list(value)
    return tuple(str(text) for text in texts if text != '')
