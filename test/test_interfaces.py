# SPDX-License-Identifier: Apache-2.0
"""The generated message packages: equal to the released ones, and built no more than once."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip('rclpy', reason='needs ROS 2; `make setup` installs it')

import rclpy  # noqa: E402
from event_camera_msgs.msg import EventPacket  # noqa: E402
from rclpy.serialization import deserialize_message, serialize_message  # noqa: E402
from rosbags.typesys import Stores, get_types_from_msg, get_typestore  # noqa: E402
from vision_msgs.msg import Detection2D, Detection2DArray, ObjectHypothesisWithPose  # noqa: E402

INTERFACES = Path(__file__).resolve().parents[1] / 'interfaces'
DEFINITIONS = sorted(INTERFACES.glob('*/msg/*.msg'))

# As in bags and robots that use the packages released by apt.
RELEASED = {
    'vision_msgs/msg/Detection2DArray':
        'RIHS01_214274120007f4a683866481336b70310268cfa107aebe9d594a6acf75bda968',
    'vision_msgs/msg/LabelInfo':
        'RIHS01_3d37df4015cdf660cc851c51897f2acd957e1ca6205ba0a99aebffb9406b0783',
    'vision_msgs/msg/VisionInfo':
        'RIHS01_95d3116a17484ad91c9a2686e1d54890bbfc3ff6c6a2de137738c4950d45d284',
    'event_camera_msgs/msg/EventPacket':
        'RIHS01_d6fa176260b1f37e5a40845305315e150a0f18191241eb64f407442aa29844aa',
}


def type_name(definition: Path) -> str:
    """Return a message's full name, such as ``vision_msgs/msg/Detection2D``."""
    return f'{definition.parents[1].name}/msg/{definition.stem}'


def message_class(name: str) -> Any:
    package, _, message = name.split('/')
    return getattr(importlib.import_module(f'{package}.msg'), message)


@pytest.fixture(scope='module')
def node() -> Iterator[Any]:
    """A node in a DDS domain of its own."""
    context = rclpy.Context()
    rclpy.init(context=context, domain_id=os.getpid() % 100 + 1)
    node = rclpy.create_node('interfaces', context=context)
    yield node
    node.destroy_node()
    rclpy.shutdown(context=context)


def announced_hash(node: Any, name: str) -> str:
    """Return the RIHS01 hash that other nodes are told of a topic with this message."""
    topic = '/' + name.replace('/', '_')
    publisher = node.create_publisher(message_class(name), topic, 1)
    deadline = time.monotonic() + 10
    while not (endpoints := node.get_publishers_info_by_topic(topic)):
        assert time.monotonic() < deadline, f'{topic} was not announced in 10 s'
        time.sleep(0.01)
    node.destroy_publisher(publisher)
    return str(endpoints[0].topic_type_hash)


@pytest.mark.parametrize('name', RELEASED)
def test_hash_is_that_of_the_released_package(node: Any, name: str) -> None:
    assert announced_hash(node, name) == RELEASED[name]


@pytest.mark.parametrize('definition', DEFINITIONS, ids=type_name)
def test_hash_is_that_of_an_independent_implementation(node: Any, definition: Path) -> None:
    store = get_typestore(Stores.ROS2_JAZZY)
    for other in DEFINITIONS:
        store.register(get_types_from_msg(other.read_text(), type_name(other)))
    name = type_name(definition)

    assert announced_hash(node, name) == store.hash_rihs01(name)


def test_detections_survive_serialisation() -> None:
    result = ObjectHypothesisWithPose()
    result.hypothesis.class_id = 'person'
    result.hypothesis.score = 0.75
    detection = Detection2D(results=[result], id='track 7')
    detection.bbox.center.position.x = 320.5
    detection.bbox.size_y = 48.25
    sent = Detection2DArray(detections=[detection, Detection2D()])
    sent.header.frame_id = 'camera'

    received = deserialize_message(serialize_message(sent), Detection2DArray)

    assert received == sent
    assert received.detections[0].results[0].hypothesis.class_id == 'person'


def test_events_survive_serialisation() -> None:
    sent = EventPacket(height=480, width=640, seq=2**40, time_base=2**50, encoding='evt3',
                       events=bytes(range(256)))

    received = deserialize_message(serialize_message(sent), EventPacket)

    assert received == sent
    assert bytes(received.events) == bytes(range(256))


def write_package(folder: Path, definition: str) -> Path:
    """Write a package with one message and return its folder."""
    (folder / 'probe_msgs' / 'msg').mkdir(parents=True)
    (folder / 'probe_msgs' / 'msg' / 'Probe.msg').write_text(definition)
    return folder / 'probe_msgs'


def build(package: Path, prefix: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, INTERFACES / 'build_messages.py', package, '--prefix', prefix],
        capture_output=True, text=True, timeout=120)


def test_second_build_compiles_nothing_until_a_field_changes(tmp_path: Path) -> None:
    package = write_package(tmp_path, 'uint8[] values\n')
    definition = package / 'msg' / 'Probe.msg'
    prefix = tmp_path / 'prefix'

    first, second = build(package, prefix), build(package, prefix)
    definition.write_text('# A comment.\nuint8[] values\n')
    commented = build(package, prefix)
    definition.write_text('uint16[] values\n')
    changed = build(package, prefix)

    assert 'compiled' in first.stdout, first.stderr
    assert second.stdout == 'probe_msgs: 1 message types, up to date\n'
    assert 'compiled' not in commented.stdout
    assert 'compiled' in changed.stdout


def test_built_package_works_from_another_prefix(tmp_path: Path) -> None:
    prefix = tmp_path / 'prefix'
    built = build(write_package(tmp_path, 'std_msgs/Header header\nstring[<=3] names\n'), prefix)
    assert built.returncode == 0, built.stderr
    (site,) = prefix.glob('lib/python3*/site-packages')
    script = (
        'from probe_msgs.msg import Probe\n'
        'from rclpy.serialization import deserialize_message, serialize_message\n'
        'print(deserialize_message(serialize_message(Probe(names=["a", "bc"])), Probe).names)')

    result = subprocess.run(
        [sys.executable, '-c', script], capture_output=True, text=True, timeout=60,
        env={**os.environ, 'PYTHONPATH': str(site),
             'LD_LIBRARY_PATH': f'{prefix}/lib:{os.environ.get("LD_LIBRARY_PATH", "")}'})

    assert result.stdout == "['a', 'bc']\n", result.stderr


@pytest.mark.parametrize(('definition', 'complaint'), [
    ('uint8 Upper\n', 'is no valid message definition'),
    ('uint8\n', 'is no valid message definition'),
    ('no_such_msgs/Thing thing\n', "field 'thing' has the unknown type no_such_msgs/Thing"),
    ('Missing other\n', "field 'other' has the unknown type probe_msgs/Missing"),
])
def test_broken_definition_is_named(tmp_path: Path, definition: str, complaint: str) -> None:
    package = write_package(tmp_path, definition)

    result = build(package, tmp_path / 'prefix')

    assert result.returncode == 1
    assert str(package / 'msg' / 'Probe.msg') in result.stderr
    assert complaint in result.stderr
    assert 'Traceback' not in result.stderr
    assert not (tmp_path / 'prefix').exists()


def test_folder_without_messages_is_named(tmp_path: Path) -> None:
    result = build(tmp_path, tmp_path / 'prefix')

    assert result.returncode == 1
    assert f'{tmp_path} holds no msg/*.msg file' in result.stderr
