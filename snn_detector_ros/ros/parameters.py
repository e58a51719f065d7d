# SPDX-License-Identifier: Apache-2.0
"""
The parameters of the node, declared once.

:class:`Settings` is the table: a field is a parameter, with its default, its description, what it
may be and when a change takes effect. The ROS descriptors, the check of every new value, the launch
arguments, `config/detector.yaml` and the table in the documents are all made from it, so they
cannot disagree. Nothing here needs ROS.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any, TypeVar

from snn_detector_ros.errors import ConfigurationError
from snn_detector_ros.events.types import EVENT

T = TypeVar('T')


class Effect(Enum):
    """When a changed parameter takes effect."""

    AT_ONCE = 'at once'
    RELOAD = 'loads the network anew'
    START = 'fixed at start'


@dataclass(frozen=True)
class Parameter:
    """
    One row of the table.

    :param low: smallest value allowed, of a number.
    :param high: largest value allowed, of a number.
    :param choices: the only values allowed, of a string.
    """

    name: str
    default: Any
    description: str
    low: float = -math.inf
    high: float = math.inf
    choices: tuple[str, ...] = ()
    effect: Effect = Effect.AT_ONCE

    def check(self, value: Any) -> Any:
        """
        Return a new value as the settings hold it: whole numbers may stand for floats.

        :raises ConfigurationError: if the type, range or choice is wrong.
        """
        if self.name == 'input_size':
            return self._check_size(value)
        kind = type(self.default)
        if kind is float and isinstance(value, int) and not isinstance(value, bool):
            value = float(value)
        if type(value) is not kind:
            raise ConfigurationError(
                f'`{self.name}` is {value!r}: must be {_TYPE_NAMES[kind]}')
        if self.choices and value not in self.choices:
            raise ConfigurationError(
                f'`{self.name}` is {value!r}: must be one of {", ".join(self.choices)}')
        if kind in (int, float):
            self._check_range(value)
        return value

    def _check_range(self, value: float) -> None:
        if not self.low <= value <= self.high:
            raise ConfigurationError(f'`{self.name}` is {value}: must be in {self.allowed}')

    def _check_size(self, value: Any) -> tuple[int, ...]:
        sides = (value,) if type(value) is int else tuple(value) if _is_sequence(value) else (None,)
        if len(sides) > 2 or any(type(side) is not int for side in sides):
            raise ConfigurationError(
                f'`{self.name}` is {value!r}: must be one side or [height, width], in pixels')
        for side in sides:
            self._check_range(side)
        if not any(sides):
            return ()
        if not all(sides):
            raise ConfigurationError(f'`{self.name}` is {value!r}: give both sides, or 0')
        return sides * 2 if len(sides) == 1 else sides

    @property
    def ros_default(self) -> Any:
        """The default as ROS carries it: empty arrays have no type there, so a size is 0."""
        return 0 if self.default == () else self.default

    @property
    def allowed(self) -> str:
        """What the value may be, in words."""
        if self.choices:
            return ', '.join(f'`{choice}`' for choice in self.choices)
        if math.isfinite(self.high):
            return f'{self.low:.12g} to {self.high:.12g}'
        return _TYPE_NAMES[type(self.default)]


_TYPE_NAMES = {bool: 'true or false', int: 'a whole number', float: 'a number', str: 'text'}


def _is_sequence(value: Any) -> bool:
    return hasattr(value, '__len__') and not isinstance(value, (str, bytes))


def _parameter(default: T, description: str, **constraints: Any) -> T:
    metadata = {'description': description, **constraints}
    return dataclasses.field(default=default, metadata=metadata)  # type: ignore[return-value]


@dataclass(frozen=True)
class Settings:
    """The values of all parameters; see the module's text."""

    model: str = _parameter(
        '', 'Path of the spiking network (.onnx); empty takes the one shipped with the package.',
        effect=Effect.RELOAD)
    engine: str = _parameter(
        'auto', 'What runs the network; auto takes the fastest engine that works here.',
        choices=('auto', 'triton', 'cuda', 'onnxruntime', 'onnxruntime-cuda',
                 'onnxruntime-tensorrt', 'onnxruntime-openvino', 'simulator', 'concurrent'),
        effect=Effect.RELOAD)
    input_size: tuple[int, int] | tuple[()] = _parameter(
        (), "Side, or [height, width], of the network's input in px; 0 takes the model's.",
        low=0, high=4096, effect=Effect.RELOAD)
    threads: int = _parameter(
        0, 'Threads of the engine; 0 lets the engine choose.', low=0, high=256,
        effect=Effect.RELOAD)
    spinning: bool = _parameter(
        False, 'Let waiting threads of the engine spin: a little faster, but burns idle CPU.',
        effect=Effect.RELOAD)
    statistics: bool = _parameter(
        True, 'Count spikes and synaptic operations of every frame, after its detections went out.',
        effect=Effect.RELOAD)
    score_threshold: float = _parameter(
        0.25, 'Least score of a detection.', low=0.0, high=1.0)
    iou_threshold: float = _parameter(
        0.45, 'Overlap (IoU) above which the weaker of two boxes of a class is dropped.',
        low=0.0, high=1.0)
    max_detections: int = _parameter(100, 'Most detections of a frame.', low=1, high=10000)
    class_id_format: str = _parameter(
        'name', 'What `class_id` of a detection holds: the name of the class, or its index in '
        '`label_info`.', choices=('name', 'index'))
    input_type: str = _parameter(
        'image', 'What to look at: images, or the events of an event camera on `events`.',
        choices=('image', 'events'), effect=Effect.START)
    image_transport: str = _parameter(
        'auto', 'Which input to take; auto takes `image/compressed` only while nobody publishes '
        '`image`.', choices=('auto', 'raw', 'compressed'))
    use_cv_bridge: str = _parameter(
        'auto', 'Read images with cv_bridge: auto only in encodings that our own table lacks.',
        choices=('auto', 'always', 'never'))
    event_window: str = _parameter(
        'time', 'How events are cut into pictures: by time; by count; or, every bin of time, the '
        'latest `event_window_bins` of them.', choices=('time', 'count', 'bins'))
    event_window_time: float = _parameter(
        50.0, 'Time of a window, or of a bin, in ms; by count, the longest that one may take.',
        low=1.0, high=10000.0)
    event_window_count: int = _parameter(
        50000, 'Events of a window that is cut by count.', low=1, high=10_000_000)
    event_window_bins: int = _parameter(
        5, 'Bins of a window that is cut by bins.', low=1, high=100)
    event_patience: float = _parameter(
        100.0, 'How long late events are waited for before a window is closed without them, in ms.',
        low=20.0, high=10000.0)
    event_representation: str = _parameter(
        'last_event', 'How a window is drawn: the last event of each pixel, a signed histogram, or '
        'a surface that fades with time.', choices=('last_event', 'histogram', 'time_surface'))
    event_budget: int = _parameter(
        64, 'Most memory of packets that wait to be decoded, and as much again of events that wait '
        'for their window, in MiB; beyond it the oldest are dropped.', low=1, high=4096)
    max_age: float = _parameter(
        0.0, 'Drop images, or windows of events, whose stamp is older than this, in s; 0 takes '
        'all.', low=0.0, high=3600.0)
    debug_image_rate: float = _parameter(
        15.0, 'Most debug images per second; they are drawn only while subscribed.',
        low=0.1, high=1000.0)
    marker_depth: float = _parameter(
        1.0, 'Distance from the camera of the plane on which markers are drawn, in m.',
        low=0.01, high=1000.0)
    latency_budget: float = _parameter(
        100.0, 'Diagnostics warn if the 95th percentile of compute time exceeds this, in ms.',
        low=0.1, high=60000.0)
    input_timeout: float = _parameter(
        5.0, 'Diagnostics report an error after this long without an image or a packet of events '
        'while active, in s.', low=0.1, high=3600.0)
    diagnostics_period: float = _parameter(
        1.0, 'Time between two diagnostic reports, in s.', low=0.1, high=60.0, effect=Effect.START)
    autostart: bool = _parameter(
        True, 'Configure and activate at start, without waiting for a lifecycle manager.',
        effect=Effect.START)

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> Settings:
        """Return checked settings; see :meth:`changed`."""
        return cls().changed(values)

    def changed(self, values: Mapping[str, Any]) -> Settings:
        """
        Return settings in which some values are replaced.

        :param values: new value of each parameter to change, as ROS or YAML carries it.
        :raises ConfigurationError: if a value is not allowed.
        """
        settings = dataclasses.replace(
            self, **{name: PARAMETERS[name].check(value) for name, value in values.items()})
        if settings.event_window_count > settings.most_events:
            raise ConfigurationError(
                f'`event_window_count` is {settings.event_window_count}: `event_budget` of '
                f'{settings.event_budget} MiB holds {settings.most_events} events')
        return settings

    @property
    def most_events(self) -> int:
        """Events that the budget holds."""
        return (self.event_budget << 20) // EVENT.itemsize

    def needs_reload(self, other: Settings) -> bool:
        """Return whether going to other settings takes a network loaded anew."""
        return any(getattr(self, row.name) != getattr(other, row.name)
                   for row in PARAMETERS.values() if row.effect is Effect.RELOAD)


#: The rows of the table, by name.
PARAMETERS: dict[str, Parameter] = {
    field.name: Parameter(field.name, field.default, **field.metadata)
    for field in dataclasses.fields(Settings)}


def markdown_table() -> str:
    """Return the table of parameters for the documents."""
    rows = ['| Parameter | Default | Allowed | A change takes effect | Meaning |',
            '|---|---|---|---|---|']
    rows += [f'| `{row.name}` | `{_yaml(row.ros_default)}` | {row.allowed} | {row.effect.value} '
             f'| {row.description} |' for row in PARAMETERS.values()]
    return '\n'.join(rows) + '\n'


def yaml_file() -> str:
    """Return the text of `config/detector.yaml`: every parameter with its default."""
    lines = ['# Parameters of snn_detector with their defaults, made from',
             '# snn_detector_ros/ros/parameters.py; copy this file and change what you need.',
             '/**:', '  ros__parameters:']
    for row in PARAMETERS.values():
        lines += [f'    # {row.description}', f'    # Allowed: {row.allowed}; {row.effect.value}.',
                  f'    {row.name}: {_yaml(row.ros_default)}']
    return '\n'.join(lines) + '\n'


def _yaml(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return f"'{value}'" if isinstance(value, str) else str(value)
