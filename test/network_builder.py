# SPDX-License-Identifier: Apache-2.0
"""Random spiking networks for tests: random weights, thresholds that keep the levels alive."""

from __future__ import annotations

import numpy as np

from snn_detector_ros.network import (
    IMAGE,
    Add,
    Concat,
    Convolution,
    DepthToSpace,
    HeadLevel,
    Layer,
    MaxPool,
    Permutation,
    Rectifier,
    Slice,
    SpikeCode,
    SpikingNetwork,
    Upsample,
    YoloV5Head,
)


class NetworkBuilder:
    """Adds one layer after the other; each method returns the name of the layer it added."""

    def __init__(
        self, seed: int, code: SpikeCode, *, input_size: tuple[int, int] = (16, 16),
    ) -> None:
        self.rng = np.random.default_rng(seed)
        self.code = code
        self.input_size = input_size
        self.layers: list[Layer] = []
        self.channels = {IMAGE: 3}

    def conv(
        self, source: str, channels: int, kernel: int = 1, stride: int = 1,
        padding: int | None = None, groups: int = 1, readout: bool = False, slope: float = 0.0,
    ) -> str:
        """Add a convolution whose thresholds spread the membranes over the range of levels."""
        inputs = self.channels[source] // groups
        top_weight, top_level = (64, 255) if source == IMAGE else (127, self.code.max_level)
        weight = self.rng.integers(
            -top_weight, top_weight + 1, (channels, inputs, kernel, kernel)).astype(np.int8)
        spread = top_weight * top_level * (inputs * kernel * kernel) ** 0.5
        bias = self.rng.integers(-int(spread / 4), int(spread / 4) + 1, channels)
        limit = min(32767, (1 << 22) // (self.code.max_level + 1))
        threshold = spread / self.code.max_level * self.rng.uniform(0.2, 1.5, channels)
        odd = np.clip(threshold.astype(np.int64) | 1, 1, limit - 1 | 1)
        odd[odd > limit] -= 2
        pad = kernel // 2 if padding is None else padding
        return self._add(Convolution(
            f'conv{len(self.layers)}', source, weight, bias.astype(np.int32),
            None if readout else odd.astype(np.int32),
            self.rng.uniform(0.001, 0.1, channels).astype(np.float32),
            (stride, stride), (pad, pad, pad, pad), groups, slope), channels)

    def pool(self, source: str, kernel: int = 5, stride: int = 1) -> str:
        pad = kernel // 2 if stride == 1 else 0
        return self._add(MaxPool(f'pool{len(self.layers)}', source, (kernel, kernel),
                                 (stride, stride), (pad, pad, pad, pad)), self.channels[source])

    def add(self, first: str, second: str) -> str:
        return self._add(Add(f'add{len(self.layers)}', (first, second)), self.channels[first])

    def concat(self, *sources: str) -> str:
        return self._add(Concat(f'concat{len(self.layers)}', sources),
                         sum(self.channels[source] for source in sources))

    def upsample(self, source: str, factor: int = 2) -> str:
        return self._add(Upsample(f'up{len(self.layers)}', source, factor), self.channels[source])

    def slice(self, source: str, start: int, stop: int) -> str:
        return self._add(Slice(f'slice{len(self.layers)}', source, start, stop), stop - start)

    def rectify(self, source: str, slope: float = 0.0) -> str:
        return self._add(
            Rectifier(f'rect{len(self.layers)}', source, slope), self.channels[source])

    def permute(self, source: str) -> str:
        order = tuple(self.rng.permutation(self.channels[source]).tolist())
        return self._add(
            Permutation(f'perm{len(self.layers)}', source, order), self.channels[source])

    def depth_to_space(self, source: str, factor: int = 2) -> str:
        return self._add(DepthToSpace(f'space{len(self.layers)}', source, factor),
                         self.channels[source] // factor**2)

    def build(
        self, *, initial_membrane: str = 'half', head: bool = False, fired: tuple[str, ...] = (),
    ) -> SpikingNetwork:
        """Return the network; its outputs are all readouts and the ``fired`` convolutions."""
        outputs = tuple(layer.name for layer in self.layers
                        if isinstance(layer, Convolution) and layer.is_readout) + fired
        return SpikingNetwork(
            name='random', code=self.code, initial_membrane=initial_membrane,  # type: ignore[arg-type]
            input_size=self.input_size, layers=tuple(self.layers), outputs=outputs,
            head=YoloV5Head((HeadLevel(outputs[0], 4, ((8.0, 8.0), (16.0, 12.0))),))
            if head else None,
            class_names=('cat', 'dog') if head else (), provenance={'made by': 'a test'},
            firing_rates={layer.name: 0.25 for layer in self.layers})

    def _add(self, layer: Layer, channels: int) -> str:
        self.layers.append(layer)
        self.channels[layer.name] = channels
        return layer.name


def small_detector(
    seed: int = 0, code: SpikeCode | None = None, *, initial_membrane: str = 'half',
) -> SpikingNetwork:
    """Return a network with every kind of layer: residual add, SPPF, concat, upsampling, head."""
    net = NetworkBuilder(seed, code or SpikeCode.linear(4, 12), input_size=(32, 32))
    stem = net.conv(net.conv(IMAGE, 8, 6, 2, padding=2), 12, 3, 2)
    residual = net.add(stem, net.conv(net.conv(stem, 6), 12, 3))
    pools = [net.conv(residual, 6)]
    for _ in range(3):
        pools.append(net.pool(pools[-1]))
    deep = net.conv(net.concat(*pools), 10, 3, 2)
    joined = net.concat(net.upsample(deep), net.slice(residual, 2, 8))
    net.conv(net.conv(joined, 16), 2 * 7, readout=True)
    return net.build(initial_membrane=initial_membrane, head=True)


def small_signed_detector(seed: int = 0, code: SpikeCode | None = None) -> SpikingNetwork:
    """Return a network with every kind of layer around signed neurons, and both kinds of output."""
    net = NetworkBuilder(seed, code or SpikeCode.linear(4, 12), input_size=(32, 32))
    stem = net.pool(net.conv(IMAGE, 8, 3, 2, slope=0.1), 3)
    linear = net.conv(net.conv(stem, 8, 3, groups=8, slope=0.3), 12, slope=1.0)
    residual = net.rectify(net.add(linear, net.conv(stem, 12, slope=1.0)))
    pooled = net.pool(net.conv(residual, 12, 3, groups=3, slope=0.1), 2, 2)
    deep = net.depth_to_space(net.conv(pooled, 16, slope=1.0))
    mixed = net.permute(net.concat(deep, residual, net.upsample(pooled)))
    leaky = net.rectify(net.slice(mixed, 3, 20), 0.2)
    net.conv(leaky, 2 * 7, readout=True)
    counted = net.conv(mixed, 5, slope=1.0)
    return net.build(head=True, fired=(counted,))
