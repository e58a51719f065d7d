# SPDX-License-Identifier: Apache-2.0
"""Tests of events.launch.py, and of events through the other launch files."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from launch_stub import run_launch_file

REPOSITORY = Path(__file__).resolve().parents[2]
LAUNCH = REPOSITORY / 'launch'
EVENTS = LAUNCH / 'events.launch.py'


def detectors(arguments=None):
    """Return the detectors that start, the one on events first."""
    return [node for node in run_launch_file(EVENTS, arguments).nodes
            if node.executable == 'detector_node']


def test_one_detector_takes_the_events():
    (node,) = detectors({'events': '/dvs/events', 'namespace': 'front'})
    assert node.parameters == {'use_sim_time': False, 'input_type': 'events'}
    assert ('events', '/dvs/events') in node.remappings
    assert node.namespace == 'front'
    assert node.parameter_files == [str(REPOSITORY / 'config' / 'detector.yaml')]


def test_another_takes_images_if_asked():
    events, images = detectors({
        'image': '/camera/image_raw', 'model': 'events.onnx', 'image_model': 'images.onnx',
        'namespace': 'front', 'score_threshold': '0.5'})
    assert (events.namespace, images.namespace) == ('front', 'front/images')
    assert events.parameters == {'use_sim_time': False, 'input_type': 'events',
                                 'model': 'events.onnx', 'score_threshold': 0.5}
    assert images.parameters == {'use_sim_time': False, 'input_type': 'image',
                                 'model': 'images.onnx', 'score_threshold': 0.5}
    assert ('image', '/camera/image_raw') in images.remappings


def test_without_a_namespace_the_second_has_one_all_the_same():
    events, images = detectors({'image': '/camera/image_raw'})
    assert (events.namespace, images.namespace) == ('', '/images')


@pytest.mark.parametrize('package', ['metavision_driver', 'libcaer_driver'])
def test_a_driver_publishes_where_the_detector_listens(package):
    launched = run_launch_file(EVENTS, {'driver': package, 'driver_params_file': '/biases.yaml'})
    driver, detector = launched.node('driver_node'), launched.node('detector_node')
    assert (driver.package, driver.name) == (package, 'event_camera')
    assert driver.remappings == [('~/events', 'event_camera/events')]
    assert ('events', 'event_camera/events') in detector.remappings
    assert driver.parameter_files == ['/biases.yaml']


def test_no_driver_and_no_viewer_start_unasked():
    assert [node.executable for node in run_launch_file(EVENTS).nodes] == ['detector_node']


def test_the_viewer_shows_what_the_detectors_publish():
    viewer = run_launch_file(
        EVENTS, {'rviz': 'true', 'namespace': 'front', 'image': '/image'}).node('rviz2')
    assert viewer.namespace == 'front'
    assert viewer.arguments == ['-d', str(REPOSITORY / 'rviz/events.rviz')]
    layout = yaml.safe_load((REPOSITORY / 'rviz' / 'events.rviz').read_text())
    topics = [display['Topic']['Value']
              for display in layout['Visualization Manager']['Displays'] if 'Topic' in display]
    assert topics == ['debug_image', 'images/debug_image', 'markers']


def test_every_argument_says_what_it_is():
    arguments = run_launch_file(EVENTS).arguments
    assert all(argument.description for argument in arguments.values())


def test_a_recording_of_events_is_replayed():
    launched = run_launch_file(LAUNCH / 'replay.launch.py', {
        'input': 'recording', 'input_type': 'events', 'events': '/event_camera/events'})
    detector = launched.node('detector_node')
    assert detector.parameters == {'use_sim_time': True, 'input_type': 'events'}
    assert ('events', '/event_camera/events') in detector.remappings


def test_the_real_launch_accepts_the_file():
    launch = pytest.importorskip('launch', reason='`launch` is not on PyPI; comes with ROS 2')
    if not hasattr(launch, 'LaunchService'):
        pytest.skip('the `launch` installed is not that of ROS 2')
    from launch.launch_description_sources import get_launch_description_from_python_launch_file

    description = get_launch_description_from_python_launch_file(str(EVENTS))
    names = {argument.name for argument in description.get_launch_arguments()}
    assert {'events', 'driver', 'image', 'rviz'} <= names
