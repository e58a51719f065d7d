# SPDX-License-Identifier: Apache-2.0
"""A detection head as an entry of a model file: written as JSON, and read with suspicion."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any

from snn_detector_ros.errors import NetworkError
from snn_detector_ros.network.head import (
    FastestDetHead,
    Head,
    HeadLevel,
    PriorLevel,
    RawHead,
    SsdHead,
    YoloV3Head,
    YoloV5Head,
)


def to_entry(head: Head | None) -> dict[str, Any] | None:
    """Return what :func:`from_entry` reads."""
    if head is None:
        return None
    if isinstance(head, RawHead):
        return {'kind': head.kind, 'tail': base64.b64encode(head.tail).decode(),
                'inputs': dict(head.inputs), 'batch': head.batch}
    return {'kind': head.kind, **asdict(head)}


def from_entry(entry: Mapping[str, Any] | None) -> Head | None:
    """
    Read a head.

    :raises NetworkError: if its kind is unknown.
    :raises KeyError, TypeError, ValueError: if the entry is malformed.
    """
    if entry is None:
        return None
    kind = entry['kind']
    if kind not in _READERS:
        raise NetworkError('head', f'kind `{kind}` is unknown; known: {", ".join(_READERS)}')
    return _READERS[kind](entry)


def _anchor_levels(entry: Mapping[str, Any]) -> tuple[HeadLevel, ...]:
    return tuple(HeadLevel(str(level['readout']), integer(level['stride']),
                           _boxes(level['anchors'])) for level in entry['levels'])


def _yolov3(entry: Mapping[str, Any]) -> YoloV3Head:
    return YoloV3Head(_anchor_levels(entry), float(entry['scale_xy']), entry['softmax'] is True)


def _fastestdet(entry: Mapping[str, Any]) -> FastestDetHead:
    return FastestDetHead(str(entry['objectness']), str(entry['box']), str(entry['classes']),
                          integer(entry['stride']))


def _ssd(entry: Mapping[str, Any]) -> SsdHead:
    levels = tuple(PriorLevel(
        str(level['scores']), str(level['boxes']), integer(level['stride']),
        _boxes(level['priors'])) for level in entry['levels'])
    return SsdHead(levels, float(entry['centre_variance']), float(entry['size_variance']))


def _raw(entry: Mapping[str, Any]) -> RawHead:
    try:
        tail = base64.b64decode(entry['tail'], validate=True)
    except binascii.Error as error:
        raise ValueError(f'the tail of the network is damaged: {error}') from error
    inputs = {str(name): str(tensor) for name, tensor in entry['inputs'].items()}
    return RawHead(tail, inputs, integer(entry['batch']))


def _boxes(values: Any) -> tuple[tuple[float, float], ...]:
    return tuple((float(width), float(height)) for width, height in values)


def integer(value: object) -> int:
    """
    Return an entry of metadata that must be a whole number.

    :raises TypeError: if it is none; floats do not pass.
    """
    if not isinstance(value, int):
        raise TypeError(f'{value!r} is no integer')
    return value


_READERS: dict[str, Callable[[Mapping[str, Any]], Head]] = {
    YoloV5Head.kind: lambda entry: YoloV5Head(_anchor_levels(entry)),
    YoloV3Head.kind: _yolov3,
    FastestDetHead.kind: _fastestdet,
    SsdHead.kind: _ssd,
    RawHead.kind: _raw,
}
