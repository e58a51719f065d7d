# SPDX-License-Identifier: Apache-2.0
"""Parameters at run time: refused ones change nothing, a network is swapped or kept as a whole."""

from __future__ import annotations

import math

import pytest

pytest.importorskip('rclpy')

from node_bench import image_message
from rcl_interfaces.srv import DescribeParameters, SetParametersAtomically
from rclpy.parameter import Parameter
from rclpy.qos import DurabilityPolicy, QoSProfile
from vision_msgs.msg import Detection2DArray, LabelInfo, VisionInfo

from snn_detector_ros import Detector
from snn_detector_ros.ros.parameters import PARAMETERS

LATCHED = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)


def call(bench, service_type, name, request):
    client = bench.probe.create_client(service_type, f'/snn_detector/{name}')
    bench.until(client.service_is_ready, f'service {name}')
    future = client.call_async(request)
    bench.until(future.done, f'answer of {name}')
    return future.result()


def set_parameters(bench, **values):
    """Set parameters as a client does, and return (success, reason)."""
    request = SetParametersAtomically.Request(parameters=[
        Parameter(name, value=value).to_parameter_msg() for name, value in values.items()])
    result = call(bench, SetParametersAtomically, 'set_parameters_atomically', request).result
    return result.successful, result.reason


def count_detections(bench, picture):
    messages = bench.received['/detections'] or bench.listen(Detection2DArray, '/detections')
    before = len(messages)
    bench.publish('/image', image_message(picture))
    bench.until(lambda: len(messages) > before, 'detections')
    return len(messages[-1].detections)


@pytest.mark.parametrize('name, value, reason', [
    ('score_threshold', 1.5, 'out of range'),
    ('score_threshold', math.nan, 'out of range'),
    ('max_detections', 0, 'out of range'),
    ('iou_threshold', 'high', 'must be a number'),
    ('class_id_format', 'number', 'must be one of name, index'),
    ('engine', 'quantum', 'must be one of auto'),
    ('input_size', [640, 480, 3], 'one side or [height, width]'),
    ('input_size', 33, 'multiples of'),
    ('autostart', False, 'read-only')])
def test_a_wrong_value_is_refused_with_the_reason_and_counted(
        bench, small_model, picture, name, value, reason):
    node = bench.start(model=str(small_model))
    before = node.get_parameter(name).value
    successful, text = set_parameters(bench, **{name: value})
    assert not successful
    assert reason in text
    assert node.get_parameter(name).value == before
    if name != 'autostart':
        status = bench.status(
            'model', lambda status, values: values['refused parameters'] == '1')
        assert status.level == b'\x01'
        assert name in status.message or name == 'input_size'
    assert count_detections(bench, picture) > 0


def test_thresholds_take_effect_at_once(bench, small_model, picture):
    bench.start(model=str(small_model))
    labels = bench.listen(LabelInfo, '/label_info', LATCHED)
    bench.until(lambda: labels, 'label_info')
    assert count_detections(bench, picture) > 2
    assert set_parameters(bench, max_detections=2)[0]
    assert count_detections(bench, picture) == 2
    assert set_parameters(bench, score_threshold=1)[0]
    assert count_detections(bench, picture) == 0
    bench.until(lambda: len(labels) == 2, 'label_info with the new threshold')
    assert [message.threshold for message in labels] == [0.25, 1.0]


def test_a_network_is_swapped_while_the_node_runs(bench, small_model, other_model, picture):
    bench.start(model=str(small_model))
    vision = bench.listen(VisionInfo, '/vision_info', LATCHED)
    bench.until(lambda: vision, 'vision_info')
    assert set_parameters(bench, model=str(other_model))[0]
    assert count_detections(bench, picture) == len(Detector(other_model)(picture))
    bench.until(lambda: len(vision) == 2, 'new vision_info')
    assert [message.database_version for message in vision] == [1, 2]
    bench.status('model', lambda status, values: values.get('model') == 'other.onnx')


@pytest.mark.parametrize('fault', ['missing', 'corrupted', 'foreign'])
def test_a_wrong_network_is_refused_and_the_old_one_kept(
        bench, small_model, picture, tmp_path, fault):
    wrong = tmp_path / 'wrong.onnx'
    if fault == 'corrupted':
        data = bytearray(small_model.read_bytes())
        data[len(data) // 2:len(data) // 2 + 64] = b'\xff' * 64
        wrong.write_bytes(data[:-500])
    elif fault == 'foreign':
        wrong.write_text('not a network')
    node = bench.start(model=str(small_model))
    successful, reason = set_parameters(bench, model=str(wrong), score_threshold=0.9)
    assert not successful and 'wrong.onnx' in reason
    assert node.get_parameter('model').value == str(small_model)
    status = bench.status('model', lambda status, values: values['refused parameters'] == '1')
    assert 'wrong.onnx' in status.message
    assert count_detections(bench, picture) == len(Detector(small_model)(picture))


def test_a_node_without_network_says_so_and_can_be_helped(bench, small_model, picture):
    node = bench.start(model='/nonexistent/model.onnx')
    status = bench.status('model', lambda status, values: values['state'] == 'unconfigured')
    assert status.level == b'\x02' and '/nonexistent/model.onnx' in status.message
    assert set_parameters(bench, model=str(small_model))[0]
    node.start()
    assert count_detections(bench, picture) > 0
    status = bench.status('model', lambda status, values: values['state'] == 'active')
    assert status.level == b'\x00'


def test_an_input_size_may_be_given_in_three_ways(bench, small_model):
    bench.start(model=str(small_model), input_size=64)
    for value, size in ((0, '32x32'), ([32, 64], '32x64'), (96, '96x96')):
        assert set_parameters(bench, input_size=value) == (True, '')
        bench.status('model', lambda status, values, size=size:
                     values['input size (height x width)'] == size)


def test_descriptors_carry_text_and_ranges(bench, small_model):
    bench.start(model=str(small_model))
    request = DescribeParameters.Request(names=list(PARAMETERS))
    descriptors = call(bench, DescribeParameters, 'describe_parameters', request).descriptors
    for row, descriptor in zip(PARAMETERS.values(), descriptors, strict=True):
        assert descriptor.description == row.description
    by_name = {descriptor.name: descriptor for descriptor in descriptors}
    assert by_name['score_threshold'].floating_point_range[0].to_value == 1.0
    assert by_name['max_detections'].integer_range[0].from_value == 1
    assert by_name['autostart'].read_only
