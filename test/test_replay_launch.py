# SPDX-License-Identifier: Apache-2.0
"""Tests of replay.launch.py: on a recording stand-in for `launch`, and on the real one."""

from __future__ import annotations

import dataclasses
from importlib.util import find_spec

import pytest
from launch_stub import REPOSITORY, run_launch_file

FILE = REPOSITORY / 'launch' / 'replay.launch.py'


def test_player_and_detector_start_on_simulated_time():
    launched = run_launch_file(FILE, {'input': 'street.mp4', 'rate': '15', 'loop': 'true'})
    assert [node.executable for node in launched.nodes] == ['detector_node', 'player_node']
    player, detector = launched.node('player_node'), launched.node('detector_node')
    assert player.parameters == {
        'input': 'street.mp4', 'clock': True, 'rate': 15, 'speed': 1.0, 'hold': 0.0, 'loop': True}
    assert detector.parameters['use_sim_time'] is True


def test_system_time_is_a_choice():
    launched = run_launch_file(FILE, {'input': 'street.mp4', 'use_sim_time': 'false'})
    assert launched.node('player_node').parameters['clock'] is False
    assert launched.node('detector_node').parameters['use_sim_time'] is False


def test_detector_listens_where_the_player_plays():
    launched = run_launch_file(
        FILE, {'input': 'bag', 'image': '/camera/image_raw', 'namespace': 'front'})
    player, detector = launched.node('player_node'), launched.node('detector_node')
    assert ('image', '/camera/image_raw') in detector.remappings
    assert player.remappings == [
        ('image', '/camera/image_raw'), ('image/compressed', '/camera/image_raw/compressed')]
    assert player.namespace == detector.namespace == 'front'


def test_arguments_of_the_detector_are_passed_on():
    launched = run_launch_file(FILE, {'input': 'bag', 'score_threshold': '0.5'})
    assert launched.node('detector_node').parameters['score_threshold'] == 0.5


def test_player_gets_the_transport_profile(monkeypatch):
    names = ('FASTRTPS_DEFAULT_PROFILES_FILE', 'FASTDDS_DEFAULT_PROFILES_FILE')
    for name in names:
        monkeypatch.delenv(name, raising=False)
    environment = run_launch_file(FILE, {'input': 'bag'}).node('player_node').environment
    assert {environment[name] for name in names} == {
        str(REPOSITORY / 'config/fastdds_large_images.xml')}


def test_viewer_starts_on_request_with_our_layout():
    viewer = run_launch_file(
        FILE, {'input': 'bag', 'rviz': 'True', 'namespace': 'front'}).node('rviz2')
    assert viewer.package == 'rviz2'
    assert viewer.namespace == 'front'
    assert viewer.arguments == ['-d', str(REPOSITORY / 'rviz/detector.rviz')]
    assert viewer.parameters == {'use_sim_time': True}


def test_input_is_required():
    with pytest.raises(LookupError, match='`input` was not provided'):
        run_launch_file(FILE)


def test_every_argument_says_what_it_is():
    launched = run_launch_file(FILE, {'input': 'bag'})
    assert all(argument.description for argument in launched.arguments.values())


def test_players_arguments_are_its_parameters():
    pytest.importorskip('rclpy', reason='needs ROS 2')
    from snn_detector_ros.ros.player_options import PlayerOptions

    options = {field.name: field.default for field in dataclasses.fields(PlayerOptions)}
    started = run_launch_file(FILE, {'input': 'bag'}).node('player_node').parameters
    for name, value in started.items():
        if name not in ('input', 'clock'):
            assert value == options[name]


@pytest.mark.skipif(find_spec('launch_ros') is None, reason='needs the launch_ros of a ROS install')
def test_real_launch_reads_it():
    from launch.launch_description_sources import get_launch_description_from_python_launch_file

    description = get_launch_description_from_python_launch_file(str(FILE))
    assert {argument.name for argument in description.get_launch_arguments()} >= {'input', 'rviz'}
