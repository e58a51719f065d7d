# SPDX-License-Identifier: Apache-2.0
"""A lifecycle node that survives a manager's mistakes."""

from __future__ import annotations

from typing import Any

from rclpy.impl.implementation_singleton import rclpy_implementation
from rclpy.lifecycle import LifecycleNode


class ManagedNode(LifecycleNode):
    """
    Refuses transitions that do not fit its state.

    In rclpy such a request, for example to activate an active node, raises in the service's
    callback and so ends the whole process.
    """

    def __init__(self, node_name: str, **options: Any) -> None:
        super().__init__(node_name, **options)
        self._change_state = self._service_change_state.callback
        self._service_change_state.callback = self._try_to_change_state

    @property
    def state(self) -> str:
        """Name of the lifecycle state."""
        return str(self._state_machine.current_state[1])

    def _try_to_change_state(self, request: Any, response: Any) -> Any:
        try:
            return self._change_state(request, response)
        except rclpy_implementation.RCLError as error:
            self.get_logger().warning(f'transition refused in state {self.state}: {error}')
            response.success = False
            return response
