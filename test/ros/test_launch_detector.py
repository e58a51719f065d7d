# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from launch_stub import run_launch_file

from snn_detector_ros.ros.parameters import PARAMETERS

REPOSITORY = Path(__file__).resolve().parents[2]
LAUNCH_FILE = REPOSITORY / 'launch' / 'detector.launch.py'
PROFILE = str(REPOSITORY / 'config' / 'fastdds_large_images.xml')
PROFILE_VARIABLES = ('FASTRTPS_DEFAULT_PROFILES_FILE', 'FASTDDS_DEFAULT_PROFILES_FILE')


@pytest.fixture(autouse=True)
def no_profile(monkeypatch):
    for name in PROFILE_VARIABLES:
        monkeypatch.delenv(name, raising=False)


def test_every_parameter_is_an_argument_with_its_text():
    declared = run_launch_file(LAUNCH_FILE).arguments
    for row in PARAMETERS.values():
        assert row.description in declared[row.name].description
        assert set(row.choices) <= set(declared[row.name].choices or row.choices)


def test_by_default_the_parameters_come_from_the_file():
    node = run_launch_file(LAUNCH_FILE).node('detector_node')
    assert node.package == 'snn_detector_ros'
    assert node.parameter_files == [str(REPOSITORY / 'config' / 'detector.yaml')]
    assert node.parameters == {'use_sim_time': False}


def test_given_arguments_reach_the_node_with_their_types():
    given = {'model': '/models/1', 'score_threshold': '0.5', 'max_detections': '7',
             'statistics': 'false', 'input_size': '[384, 640]', 'engine': 'simulator'}
    node = run_launch_file(LAUNCH_FILE, given).node('detector_node')
    assert node.parameters == {
        'use_sim_time': False, 'model': '/models/1', 'score_threshold': 0.5, 'max_detections': 7,
        'statistics': False, 'input_size': [384, 640], 'engine': 'simulator'}


def test_topics_and_namespace_are_passed_on():
    node = run_launch_file(LAUNCH_FILE, {
        'image': '/camera/image_raw', 'camera_info': '/camera/camera_info', 'namespace': 'front',
        'log_level': 'debug'}).node('detector_node')
    assert node.namespace == 'front'
    assert ('image', '/camera/image_raw') in node.remappings
    assert ('camera_info', '/camera/camera_info') in node.remappings
    assert node.arguments == ['--log-level', 'debug']


@pytest.mark.parametrize('text', ['true', 'True'])
def test_booleans_are_written_as_in_yaml_or_in_python(text):
    node = run_launch_file(
        LAUNCH_FILE, {'use_sim_time': text, 'spinning': text}).node('detector_node')
    assert node.parameters == {'use_sim_time': True, 'spinning': True}


def test_a_choice_that_does_not_exist_is_refused():
    with pytest.raises(LookupError, match='quantum'):
        run_launch_file(LAUNCH_FILE, {'engine': 'quantum'})


def test_the_transport_profile_is_set():
    node = run_launch_file(LAUNCH_FILE).node('detector_node')
    assert {name: node.environment[name] for name in PROFILE_VARIABLES} == dict.fromkeys(
        PROFILE_VARIABLES, PROFILE)
    assert Path(PROFILE).is_file()


def test_a_transport_profile_of_the_user_is_kept(monkeypatch):
    monkeypatch.setenv('FASTRTPS_DEFAULT_PROFILES_FILE', '/etc/my_profile.xml')
    node = run_launch_file(LAUNCH_FILE).node('detector_node')
    assert 'FASTRTPS_DEFAULT_PROFILES_FILE' not in node.environment
    assert node.environment['FASTDDS_DEFAULT_PROFILES_FILE'] == PROFILE


def test_the_real_launch_accepts_the_file():
    launch = pytest.importorskip('launch', reason='`launch` is not on PyPI; comes with ROS 2')
    launch_service = getattr(launch, 'LaunchService', None)
    if launch_service is None:
        pytest.skip('the `launch` installed is not that of ROS 2')
    from launch.launch_description_sources import get_launch_description_from_python_launch_file

    description = get_launch_description_from_python_launch_file(str(LAUNCH_FILE))
    names = {argument.name for argument in description.get_launch_arguments()}
    assert set(PARAMETERS) <= names


def test_the_rviz_layout_shows_what_the_node_publishes():
    layout = yaml.safe_load((REPOSITORY / 'rviz' / 'detector.rviz').read_text())
    displays = {display['Class']: display
                for display in layout['Visualization Manager']['Displays']}
    assert displays['rviz_default_plugins/Image']['Topic']['Value'] == 'debug_image'
    assert displays['rviz_default_plugins/MarkerArray']['Topic']['Value'] == 'markers'
