# SPDX-License-Identifier: Apache-2.0
"""
Start the detector.

Each parameter of the node is an argument; one that is not given is taken from ``params_file``. See
``ros2 launch snn_detector_ros detector.launch.py --show-args``.
"""

import os

from launch import LaunchDescription
from launch.actions import DeclareLaunchArgument, OpaqueFunction, SetEnvironmentVariable
from launch.substitutions import LaunchConfiguration, PathJoinSubstitution
from launch_ros.actions import Node
from launch_ros.parameter_descriptions import ParameterValue
from launch_ros.substitutions import FindPackageShare

from snn_detector_ros.ros.parameters import PARAMETERS, Parameter

CONFIG = PathJoinSubstitution([FindPackageShare('snn_detector_ros'), 'config'])
#: Names under which Jazzy and older, and Kilted and newer, look for the transport profile.
PROFILE_VARIABLES = ('FASTRTPS_DEFAULT_PROFILES_FILE', 'FASTDDS_DEFAULT_PROFILES_FILE')
#: Launch files that include this one often pass on what Python prints.
BOOLEANS = ['true', 'false', 'True', 'False']


def generate_launch_description() -> LaunchDescription:
    return LaunchDescription([
        DeclareLaunchArgument('namespace', default_value='', description='Namespace of the node.'),
        DeclareLaunchArgument(
            'image', default_value='image',
            description='Topic of the images; compressed ones are expected at <image>/compressed.'),
        DeclareLaunchArgument(
            'events', default_value='events',
            description='Topic of the event camera, if input_type is events.'),
        DeclareLaunchArgument(
            'camera_info', default_value='camera_info',
            description='Topic of the calibration, which markers need.'),
        DeclareLaunchArgument(
            'params_file', default_value=PathJoinSubstitution([CONFIG, 'detector.yaml']),
            description='YAML file of parameters.'),
        DeclareLaunchArgument(
            'use_sim_time', default_value='false', choices=BOOLEANS,
            description='Take the time from /clock.'),
        DeclareLaunchArgument(
            'log_level', default_value='info', choices=['debug', 'info', 'warn', 'error', 'fatal'],
            description='Least severity that is logged.'),
        *(parameter_argument(row) for row in PARAMETERS.values()),
        *(SetEnvironmentVariable(name, PathJoinSubstitution([CONFIG, 'fastdds_large_images.xml']))
          for name in PROFILE_VARIABLES if name not in os.environ),
        OpaqueFunction(function=detector),
    ])


def parameter_argument(row: Parameter) -> DeclareLaunchArgument:
    """Return the argument of a parameter; empty text leaves the parameter to the file."""
    return DeclareLaunchArgument(
        row.name, default_value='',
        description=f'{row.description} Allowed: {row.allowed}.',
        choices=['', *row.choices] if row.choices else
        ['', *BOOLEANS] if isinstance(row.default, bool) else None)


def detector(context) -> list:
    """Return the node, with those parameters that were given."""
    given = {
        row.name: ParameterValue(
            LaunchConfiguration(row.name), value_type=str if isinstance(row.default, str) else None)
        for row in PARAMETERS.values() if LaunchConfiguration(row.name).perform(context)}
    return [Node(
        package='snn_detector_ros',
        executable='detector_node',
        name='snn_detector',
        namespace=LaunchConfiguration('namespace'),
        parameters=[
            LaunchConfiguration('params_file'),
            {'use_sim_time': ParameterValue(LaunchConfiguration('use_sim_time')), **given}],
        remappings=[(name, LaunchConfiguration(name))
                    for name in ('image', 'events', 'camera_info')],
        ros_arguments=['--log-level', LaunchConfiguration('log_level')],
        output='screen',
        emulate_tty=True,
    )]
