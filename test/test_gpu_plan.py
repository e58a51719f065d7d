# SPDX-License-Identifier: Apache-2.0
"""What a plan saves: launches, copies, and kernels to compile."""

from __future__ import annotations

import numpy as np
import pytest
from network_builder import NetworkBuilder

from snn_detector_ros.engines.gpu.parameters import is_aligned
from snn_detector_ros.engines.gpu.plan import COUNTS, Plan, Pointer
from snn_detector_ros.engines.gpu.planner import make_plan
from snn_detector_ros.engines.gpu.tiles import TILES, choose_tile
from snn_detector_ros.engines.picture import Fit
from snn_detector_ros.network import IMAGE, SpikeCode, model_file
from snn_detector_ros.resources import DEFAULT_MODEL, resource


def plan_of(net: NetworkBuilder) -> Plan:
    return make_plan(net.build(), net.input_size, Fit(net.input_size, net.input_size))


def launches(plan: Plan) -> list[tuple[str, ...]]:
    return [launch.layers for launch in plan.launches]


@pytest.fixture
def net() -> NetworkBuilder:
    builder = NetworkBuilder(0, SpikeCode.linear(4, 12), input_size=(32, 32))
    builder.conv(IMAGE, 16, 3, 2)
    return builder


def test_the_shipped_network_needs_no_copy_and_no_launch_but_for_weights_and_pools() -> None:
    network = model_file.load_converted(resource(DEFAULT_MODEL))
    plan = make_plan(network, (320, 320), Fit((480, 640), (240, 320), 40, 0))
    kinds = [launch.spec.kernel for launch in plan.launches]
    # Of 60 convolutions 8 share a launch with a sibling, and two pairs of these follow another in
    # its launch; one chain of pools.
    assert (kinds.count('letterbox'), kinds.count('pooling'), kinds.count('relay')) == (1, 1, 0)
    assert kinds.count('convolution') == len(list(network.convolutions)) - 8 - 2
    fused = [layer for layers in launches(plan) for layer in layers]
    assert set(fused) >= {layer.name for layer in network.firing_layers}
    assert len(plan.specs) <= 16, 'each is compiled'
    assert sum(launch.products for launch in plan.launches) == pytest.approx(
        sum(network.multiply_accumulates((320, 320)).values()), rel=0.05), 'the stem has zeros'


def test_a_sum_is_computed_with_its_last_convolution(net: NetworkBuilder) -> None:
    branch = net.conv('conv0', 16, 3)
    total = net.add('conv0', branch)
    net.conv(total, 4, readout=True)
    assert (branch, total) in launches(plan_of(net))


def test_but_not_if_others_read_that_convolution(net: NetworkBuilder) -> None:
    branch = net.conv('conv0', 16, 3)
    total = net.add('conv0', branch)
    net.conv(net.concat(total, branch), 4, readout=True)
    assert {(branch,), (total,)} <= set(launches(plan_of(net)))


def test_convolutions_of_one_input_are_one(net: NetworkBuilder) -> None:
    first, other, second = net.conv('conv0', 16), net.conv('conv0', 16, 3), net.conv('conv0', 8)
    net.conv(net.concat(first, other, second), 4, readout=True)
    assert {(first, second), (other,)} <= set(launches(plan_of(net)))


def test_convolutions_of_single_pixels_follow_what_they_alone_read(net: NetworkBuilder) -> None:
    middle = net.conv('conv0', 24, 3, 2)
    first, second = net.conv(middle, 32), net.conv(middle, 8)
    net.conv(net.concat(second, first), 4, readout=True)
    plan = plan_of(net)
    assert (middle, first, second) in launches(plan)
    arguments = plan.launches[2].arguments
    assert (arguments['tail_outputs'], arguments['out_last'], arguments['other_first']) == (
        40, 32, 32)
    assert plan.constants[f'{first}/weight'].shape == (40, 32), 'the width of a tile'
    separate = make_plan(net.build(), (32, 32), Fit((32, 32), (32, 32)), tails=False)
    assert {(middle,), (first, second)} <= set(launches(separate))


@pytest.mark.parametrize('kind', ['wide', 'read twice', 'read by a window', 'signed'])
def test_but_not_if_they_cannot(net: NetworkBuilder, kind: str) -> None:
    middle = net.conv('conv0', 80 if kind == 'wide' else 16, 3, 2)
    first = net.conv(middle, 8, 3 if kind == 'read by a window' else 1,
                     slope=0.5 if kind == 'signed' else 0.0)
    net.conv(net.concat(first, middle) if kind == 'read twice' else first, 4, readout=True)
    assert {(middle,), (first,)} <= set(launches(plan_of(net)))


def test_pools_of_sppf_are_one(net: NetworkBuilder) -> None:
    pools = [net.pool('conv0')]
    pools += [net.pool(pools[0])]
    pools += [net.pool(pools[1])]
    net.conv(net.concat('conv0', *pools), 4, readout=True)
    plan = plan_of(net)
    assert tuple(pools) in launches(plan)
    (launch,) = (launch for launch in plan.launches if launch.spec.kernel == 'pooling')
    assert (launch.arguments['rows'], launch.arguments['top']) == (13, 6)


def test_a_concatenation_is_written_in_place_by_its_inputs(net: NetworkBuilder) -> None:
    small = net.conv('conv0', 20, 3, 2)
    joined = net.concat('conv0', net.upsample(small))
    net.conv(joined, 4, readout=True)
    plan = plan_of(net)
    assert all(launch.spec.kernel != 'relay' for launch in plan.launches)
    places = {launch.layers[0]: launch.arguments for launch in plan.launches}
    assert places['conv0']['out'] == Pointer(joined, 0)
    # Upsampled by its own address map, behind the 16 channels of the other.
    assert places[small]['out'] == Pointer(small, 0)
    assert (places[small]['other'], places[small]['other_factor']) == (Pointer(joined, 16), 2)
    np.testing.assert_array_equal(plan.views[joined].positions, np.arange(36))


def test_slices_and_shuffles_are_positions(net: NetworkBuilder) -> None:
    part = net.slice('conv0', 3, 11)
    mixed = net.permute(part)
    net.conv(mixed, 4, readout=True)
    plan = plan_of(net)
    assert launches(plan) == [(IMAGE,), ('conv0',), ('conv3',)]
    assert plan.views[mixed].buffer == 'conv0'
    assert set(plan.views[mixed].positions) == set(range(3, 11))


def test_what_is_said_to_be_aligned_is(net: NetworkBuilder) -> None:
    """Slices, sums, pools, copies of all kinds: addresses and pitches that kernels rely on."""
    odd = net.slice('conv0', 3, 13)
    total = net.add(odd, net.pool(odd, 3))
    moved = net.depth_to_space(net.permute(net.conv('conv0', 12)))
    small = net.pool(net.concat(net.upsample(net.conv(total, 5, 3, 2)), odd, total), 2, 2)
    net.conv(net.add(small, net.conv(small, 25, 3)), 3, readout=True)
    net.conv(net.rectify(moved), 3, readout=True)
    plan = plan_of(net)
    kernels = {launch.spec.kernel for launch in plan.launches}
    assert kernels == {'letterbox', 'convolution', 'pooling', 'relay'}
    for launch in plan.launches:
        for name, value in launch.arguments.items():
            if is_aligned(launch.spec.kernel, name):
                place = value.offset if isinstance(value, Pointer) else value
                assert place % 16 == 0, (launch.layers, name, value)


def test_gaps_between_slots_have_no_weight(net: NetworkBuilder) -> None:
    joined = net.concat(net.conv('conv0', 5), net.conv('conv0', 3, 3))
    reader = net.conv(joined, 4, readout=True)
    plan = plan_of(net)
    weight = plan.constants[f'{reader}/weight']
    assert weight.shape == (4, 1, 32)
    assert not weight[:, :, 5:16].any()
    assert weight[:, :, [0, 16]].any()


def test_without_statistics_there_are_no_counts(net: NetworkBuilder) -> None:
    net.conv('conv0', 4, readout=True)
    network = net.build()
    plan = make_plan(network, net.input_size, Fit((32, 32), (32, 32)), statistics=False)
    assert plan.buffers[COUNTS] == 0
    assert all(not dict(launch.spec.constants).get('COUNTS') for launch in plan.launches)


def test_tiles_leave_a_gpu_enough_blocks() -> None:
    assert choose_tile(160 * 160, 64) == TILES[0]
    assert choose_tile(40 * 40, 64) == TILES[-1]
    assert choose_tile(80 * 80, 64) == TILES[3]
    assert choose_tile(320 * 320, 8) == TILES[-2], 'wider ones would be mostly empty'
