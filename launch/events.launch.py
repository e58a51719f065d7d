# SPDX-License-Identifier: Apache-2.0
"""
Start a detector on an event camera and, if ``image`` is given, another one on images.

    ros2 launch snn_detector_ros events.launch.py events:=/event_camera/events
    ros2 launch snn_detector_ros events.launch.py driver:=metavision_driver rviz:=true
    ros2 launch snn_detector_ros events.launch.py image:=/camera/image_raw

The results of the second one are in the namespace ``image_namespace``. The arguments of
detector.launch.py are understood too, and hold for both.
"""

from launch import LaunchDescription
from launch.actions import DeclareLaunchArgument, IncludeLaunchDescription, OpaqueFunction
from launch.conditions import IfCondition
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch.substitutions import LaunchConfiguration, PathJoinSubstitution
from launch_ros.actions import Node
from launch_ros.parameter_descriptions import ParameterValue
from launch_ros.substitutions import FindPackageShare

SHARE = FindPackageShare('snn_detector_ros')
BOOLEANS = ['true', 'false', 'True', 'False']


def generate_launch_description() -> LaunchDescription:
    return LaunchDescription([
        DeclareLaunchArgument(
            'namespace', default_value='', description='Namespace of the nodes.'),
        DeclareLaunchArgument(
            'events', default_value='event_camera/events', description='Topic of the events.'),
        DeclareLaunchArgument(
            'driver', default_value='', choices=['', 'metavision_driver', 'libcaer_driver'],
            description='Start this driver of an event camera too; empty starts none.'),
        DeclareLaunchArgument(
            'driver_params_file', default_value='',
            description='YAML file of its parameters; empty takes its defaults.'),
        DeclareLaunchArgument(
            'image', default_value='',
            description='Topic of images for a second detector; empty starts none.'),
        DeclareLaunchArgument(
            'image_namespace', default_value='images',
            description='Namespace of the second detector, below that of the others.'),
        DeclareLaunchArgument(
            'image_model', default_value='',
            description='Path of its network; empty takes the one shipped with the package.'),
        DeclareLaunchArgument(
            'use_sim_time', default_value='false', choices=BOOLEANS,
            description='Take the time from /clock.'),
        DeclareLaunchArgument(
            'rviz', default_value='false', choices=BOOLEANS,
            description='Show events and boxes in rviz2.'),
        OpaqueFunction(function=driver),
        rviz(),
        detector({'input_type': 'events'}),
        # Last: what it is passed replaces the arguments of the same name for all that follows.
        OpaqueFunction(function=image_detector),
    ])


def detector(arguments: dict) -> IncludeLaunchDescription:
    """Return a detector, which takes all other arguments from the command line."""
    return IncludeLaunchDescription(
        PythonLaunchDescriptionSource(
            PathJoinSubstitution([SHARE, 'launch', 'detector.launch.py'])),
        launch_arguments=arguments.items())


def image_detector(context) -> list:
    """Return the detector on images, if there is a topic for it."""
    if not LaunchConfiguration('image').perform(context):
        return []
    return [detector({
        'input_type': 'image',
        'model': LaunchConfiguration('image_model'),
        'namespace': [
            LaunchConfiguration('namespace'), '/', LaunchConfiguration('image_namespace')]})]


def driver(context) -> list:
    """Return the driver that was asked for; those of ros-event-camera are alike."""
    package = LaunchConfiguration('driver').perform(context)
    if not package:
        return []
    file = LaunchConfiguration('driver_params_file').perform(context)
    return [Node(
        package=package,
        executable='driver_node',
        name='event_camera',
        namespace=LaunchConfiguration('namespace'),
        parameters=[*([file] if file else []), {
            'use_sim_time': ParameterValue(LaunchConfiguration('use_sim_time'))}],
        remappings=[('~/events', LaunchConfiguration('events'))],
        output='screen',
        emulate_tty=True,
    )]


def rviz() -> Node:
    """Return the viewer; its layout names topics relative to the namespace."""
    return Node(
        package='rviz2',
        executable='rviz2',
        namespace=LaunchConfiguration('namespace'),
        arguments=['-d', PathJoinSubstitution([SHARE, 'rviz', 'events.rviz'])],
        parameters=[{'use_sim_time': ParameterValue(LaunchConfiguration('use_sim_time'))}],
        condition=IfCondition(LaunchConfiguration('rviz')),
    )
