# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest

pytest.importorskip('rclpy')

from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState, GetState


def call(bench, service_type, name, request):
    client = bench.probe.create_client(service_type, f'/snn_detector/{name}')
    bench.until(client.service_is_ready, f'service {name}')
    future = client.call_async(request)
    bench.until(future.done, f'answer of {name}')
    return future.result()


def change_state(bench, transition):
    request = ChangeState.Request(transition=Transition(id=transition))
    return call(bench, ChangeState, 'change_state', request).success


def state(bench):
    return call(bench, GetState, 'get_state', GetState.Request()).current_state.label


def test_autostart_makes_the_node_active(bench, small_model):
    bench.start(model=str(small_model))
    assert state(bench) == 'active'


def test_without_autostart_a_manager_leads_through_all_states(bench, small_model):
    node = bench.start(model=str(small_model), autostart=False)
    assert state(bench) == 'unconfigured'
    for transition, expected, publishers in (
            (Transition.TRANSITION_CONFIGURE, 'inactive', 1),
            (Transition.TRANSITION_ACTIVATE, 'active', 1),
            (Transition.TRANSITION_DEACTIVATE, 'inactive', 1),
            (Transition.TRANSITION_ACTIVATE, 'active', 1),
            (Transition.TRANSITION_DEACTIVATE, 'inactive', 1),
            (Transition.TRANSITION_CLEANUP, 'unconfigured', 0),
            (Transition.TRANSITION_CONFIGURE, 'inactive', 1)):
        assert change_state(bench, transition)
        assert state(bench) == expected
        assert node.count_publishers('/detections') == publishers


@pytest.mark.parametrize('transition', [
    Transition.TRANSITION_CONFIGURE, Transition.TRANSITION_ACTIVATE, Transition.TRANSITION_CLEANUP])
def test_a_transition_that_does_not_fit_is_refused_and_changes_nothing(
        bench, small_model, transition):
    bench.start(model=str(small_model))
    assert not change_state(bench, transition)
    assert state(bench) == 'active'


def test_subscriptions_exist_only_while_active(bench, small_model):
    node = bench.start(model=str(small_model))
    bench.until(lambda: node.count_subscribers('/image') == 1, 'subscription')
    assert change_state(bench, Transition.TRANSITION_DEACTIVATE)
    bench.until(lambda: node.count_subscribers('/image') == 0, 'end of the subscription')
    assert node.count_subscribers('/image/compressed') == 0
