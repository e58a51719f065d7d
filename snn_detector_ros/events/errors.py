# SPDX-License-Identifier: Apache-2.0
"""The error of event streams that cannot be read at all; bad words in a stream are only counted."""

from __future__ import annotations

from snn_detector_ros.errors import SnnDetectorError


class EventError(SnnDetectorError):
    """An event stream or recording cannot be used: its encoding, geometry or header is wrong."""
