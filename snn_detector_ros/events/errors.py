# SPDX-License-Identifier: Apache-2.0
"""The errors of event streams that cannot be read at all; bad words in one are only counted."""

from __future__ import annotations

from snn_detector_ros.errors import SnnDetectorError


class EventError(SnnDetectorError):
    """An event stream or recording cannot be used: its encoding, geometry or header is wrong."""


class BadPacketError(EventError):
    """
    A packet that cannot be decoded.

    :param cause: short name of the fault, by which such packets are counted.
    """

    def __init__(self, cause: str, problem: str) -> None:
        self.cause = cause
        super().__init__(f'{cause}: {problem}')
