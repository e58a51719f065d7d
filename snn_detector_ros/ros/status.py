# SPDX-License-Identifier: Apache-2.0
"""One diagnostic status while it is put together."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum

from diagnostic_msgs.msg import DiagnosticStatus, KeyValue


class Level(IntEnum):
    """Levels of a status, the worst last."""

    OK = 0
    WARN = 1
    ERROR = 2


@dataclass
class Status:
    """
    One status: complaints raise its level and come first in its message.

    :param message: what is said if there is nothing to complain about.
    """

    name: str
    message: str
    level: Level = Level.OK
    complaints: list[str] = field(default_factory=list)
    values: dict[str, str] = field(default_factory=dict)

    def complain(self, level: Level, complaint: str) -> None:
        """Add a complaint."""
        self.level = max(self.level, level)
        self.complaints.append(complaint)

    def message_for(self, node: str, hardware: str) -> DiagnosticStatus:
        """Return the status as a message."""
        return DiagnosticStatus(
            level=bytes([self.level]), name=f'{node}: {self.name}', hardware_id=hardware,
            message='; '.join(self.complaints) or self.message,
            values=[KeyValue(key=key, value=value) for key, value in self.values.items()])
