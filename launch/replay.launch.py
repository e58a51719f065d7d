# SPDX-License-Identifier: Apache-2.0
r"""
Play a bag, a video or pictures to the detector, on simulated time.

    ros2 launch snn_detector_ros replay.launch.py input:=recording/ image:=/camera/image_raw
    ros2 launch snn_detector_ros replay.launch.py input:=street.mp4 rviz:=true
    ros2 launch snn_detector_ros replay.launch.py input:=recording/ input_type:=events \
        events:=/event_camera/events

The arguments of detector.launch.py are understood too.
"""

from launch import LaunchDescription
from launch.actions import DeclareLaunchArgument, IncludeLaunchDescription
from launch.conditions import IfCondition
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch.substitutions import LaunchConfiguration, PathJoinSubstitution
from launch_ros.actions import Node
from launch_ros.parameter_descriptions import ParameterValue
from launch_ros.substitutions import FindPackageShare

SHARE = FindPackageShare('snn_detector_ros')
BOOLEANS = ['true', 'false', 'True', 'False']
#: Parameters of the player that are arguments: name, default, description.
PLAYER_ARGUMENTS = (
    ('rate', '0.0', 'Frames a second; 0 takes the rate of the input.'),
    ('speed', '1.0', 'How many times faster than its own time the input is played.'),
    ('hold', '0.0', 'How long each picture of a directory is shown, in s.'),
    ('loop', 'false', 'Start again at the end.'),
)


def generate_launch_description() -> LaunchDescription:
    return LaunchDescription([
        DeclareLaunchArgument(
            'input', description='Bag, video, picture, directory of pictures, or camera:0.'),
        DeclareLaunchArgument(
            'image', default_value='image',
            description='Topic of the images: the one that the bag was recorded from.'),
        DeclareLaunchArgument('namespace', default_value='', description='Namespace of the nodes.'),
        *(DeclareLaunchArgument(name, default_value=default, description=text)
          for name, default, text in PLAYER_ARGUMENTS),
        DeclareLaunchArgument(
            'use_sim_time', default_value='true', choices=BOOLEANS,
            description='The player gives the time on /clock, and all nodes follow it.'),
        DeclareLaunchArgument(
            'rviz', default_value='false', choices=BOOLEANS,
            description='Show the boxes in rviz2.'),
        # First: it sets the transport profile, which the player needs most.
        detector(), player(), rviz(),
    ])


def detector() -> IncludeLaunchDescription:
    """Return the detector, which takes its arguments from the same command line."""
    return IncludeLaunchDescription(
        PythonLaunchDescriptionSource(
            PathJoinSubstitution([SHARE, 'launch', 'detector.launch.py'])),
        launch_arguments={
            name: LaunchConfiguration(name) for name in ('image', 'namespace', 'use_sim_time')
        }.items())


def player() -> Node:
    """Return the player; bags are played on their own topics, all else on the detector's."""
    image = LaunchConfiguration('image')
    return Node(
        package='snn_detector_ros',
        executable='player_node',
        name='player',
        namespace=LaunchConfiguration('namespace'),
        parameters=[{
            'input': ParameterValue(LaunchConfiguration('input'), value_type=str),
            'clock': ParameterValue(LaunchConfiguration('use_sim_time')),
            **{name: ParameterValue(LaunchConfiguration(name))
               for name, _, _ in PLAYER_ARGUMENTS}}],
        remappings=[('image', image), ('image/compressed', [image, '/compressed'])],
        output='screen',
        emulate_tty=True,
    )


def rviz() -> Node:
    """Return the viewer; its layout names topics relative to the namespace."""
    return Node(
        package='rviz2',
        executable='rviz2',
        namespace=LaunchConfiguration('namespace'),
        arguments=['-d', PathJoinSubstitution([SHARE, 'rviz', 'detector.rviz'])],
        parameters=[{'use_sim_time': ParameterValue(LaunchConfiguration('use_sim_time'))}],
        condition=IfCondition(LaunchConfiguration('rviz')),
    )
