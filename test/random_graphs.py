# SPDX-License-Identifier: Apache-2.0
"""Random networks for property tests: every kind of layer, in every order that fits."""

from __future__ import annotations

from hypothesis import strategies as st
from network_builder import NetworkBuilder

from snn_detector_ros.network import IMAGE, SpikeCode, SpikingNetwork

CODES = [
    SpikeCode.linear(4, 12), SpikeCode.linear(4, 25), SpikeCode.linear(4), SpikeCode.linear(2, 40),
    SpikeCode.linear(1, 255), SpikeCode.binary(6), SpikeCode.constant(8, 3)]
#: With signed levels, Q may be at most 127.
SIGNED_CODES = [
    SpikeCode.linear(4, 12), SpikeCode.linear(4), SpikeCode.linear(2, 40), SpikeCode.linear(1, 127),
    SpikeCode.binary(7), SpikeCode.binary(3, 9), SpikeCode.constant(8, 3), SpikeCode.constant(100)]
SLOPES = (0.0, 0.1, 0.25, 0.5, 1.0)


@st.composite
def networks(draw: st.DrawFn, *, slopes: tuple[float, ...] = (0.0,)) -> SpikingNetwork:
    """Random graphs: any stem, then layers that read any earlier tensor of a fitting size."""
    code = draw(st.sampled_from(CODES if slopes == (0.0,) else SIGNED_CODES))
    size = (draw(st.integers(9, 20)), draw(st.integers(9, 20)))
    net = NetworkBuilder(draw(st.integers(0, 2**16)), code, input_size=size)
    kernel = draw(st.integers(1, 6))
    net.conv(IMAGE, draw(st.integers(1, 9)), kernel, draw(st.integers(1, 2)),
             padding=draw(st.integers(0, kernel - 1)), slope=draw(st.sampled_from(slopes)))
    for _ in range(draw(st.integers(1, 8))):
        shapes = net.build().shapes()
        source = draw(st.sampled_from([layer.name for layer in net.layers]))
        height, width, channels = shapes[source]
        twins = [n for n, s in shapes.items() if s == shapes[source] and n != IMAGE]
        alike = [n for n, s in shapes.items() if s[:2] == shapes[source][:2] and n != IMAGE]
        kind = draw(st.sampled_from([
            'conv', 'conv', 'depthwise', 'group', 'pool', 'add', 'concat', 'up', 'cut', 'rectify',
            'permute', 'space']))
        side = draw(st.sampled_from([k for k in (1, 3) if k <= min(height, width)]))
        slope = draw(st.sampled_from(slopes))
        if kind == 'conv':
            net.conv(source, draw(st.integers(1, 20)), side, draw(st.integers(1, 2)), slope=slope)
        elif kind == 'depthwise':
            net.conv(source, channels * draw(st.integers(1, 2)), side, draw(st.integers(1, 2)),
                     groups=channels, slope=slope)
        elif kind == 'group':
            groups = draw(st.sampled_from([g for g in (1, 2, 3, 4) if channels % g == 0]))
            net.conv(source, groups * draw(st.integers(1, 4)), side, groups=groups, slope=slope)
        elif kind == 'pool':
            stride = draw(st.integers(1, 2)) if min(height, width) > 3 else 1
            net.pool(source, 2 if stride == 2 else 5, stride)
        elif kind == 'add':
            net.add(source, draw(st.sampled_from(twins)))
        elif kind == 'concat':
            net.concat(source, *draw(st.lists(st.sampled_from(alike), min_size=1, max_size=2)))
        elif kind == 'up' and height * width < 500:
            net.upsample(source, draw(st.integers(2, 3)))
        elif kind == 'cut':
            start = draw(st.integers(0, channels - 1))
            net.slice(source, start, draw(st.integers(start + 1, channels)))
        elif kind == 'rectify':
            net.rectify(source, draw(st.sampled_from(SLOPES)))
        elif kind == 'permute':
            net.permute(source)
        elif kind == 'space' and height * width < 500:
            factor = draw(st.integers(2, 3))
            net.depth_to_space(net.conv(source, 2 * factor**2, slope=slope), factor)
    last = net.layers[-1].name
    net.conv(last, draw(st.integers(1, 8)), readout=True)
    fired = [net.conv(last, 3, slope=draw(st.sampled_from(slopes)))] if draw(st.booleans()) else []
    return net.build(
        initial_membrane=draw(st.sampled_from(['zero', 'half'])), fired=tuple(fired))
