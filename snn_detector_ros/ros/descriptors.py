# SPDX-License-Identifier: Apache-2.0
"""The parameter table on the ROS side: descriptors and declaration."""

from __future__ import annotations

from rcl_interfaces.msg import FloatingPointRange, IntegerRange, ParameterDescriptor
from rclpy.node import Node

from snn_detector_ros.ros.parameters import PARAMETERS, Effect, Parameter, Settings


def declare(node: Node) -> Settings:
    """
    Declare all parameters of the table, and return what files and command line set them to.

    :raises ConfigurationError: if a value is not allowed.
    """
    values = {
        row.name: node.declare_parameter(row.name, row.ros_default, descriptor(row)).value
        for row in PARAMETERS.values()}
    return Settings.of(values)


def descriptor(row: Parameter) -> ParameterDescriptor:
    """
    Return the descriptor of a parameter.

    Typing is dynamic so that `1` may be given for `1.0`; :meth:`.parameters.Parameter.check` holds
    the types instead.
    """
    message = ParameterDescriptor(
        name=row.name, description=row.description, read_only=row.effect is Effect.START,
        dynamic_typing=True)
    if row.choices:
        message.additional_constraints = f'one of: {", ".join(row.choices)}'
    elif isinstance(row.default, float):
        message.floating_point_range = [
            FloatingPointRange(from_value=row.low, to_value=row.high, step=0.0)]
    elif isinstance(row.ros_default, int) and not isinstance(row.default, bool):
        message.integer_range = [
            IntegerRange(from_value=int(row.low), to_value=int(row.high), step=1)]
    return message
