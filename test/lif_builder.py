# SPDX-License-Identifier: Apache-2.0
"""Small networks of LIF neurons with random weights, and the comparison of their spikes."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from snn_detector_ros.engines.lif_simulator import LifSimulator
from snn_detector_ros.network import (
    IMAGE,
    Add,
    Concat,
    HeadLevel,
    Lif,
    LifNetwork,
    MaxPool,
    Mean,
    SiluMembrane,
    Synapses,
    Upsample,
    YoloV5Head,
)
from snn_detector_ros.network.lif_layers import LifLayer
from snn_detector_ros.network.lif_network import Coding

ANCHORS = ((10.0, 14.0), (23.0, 27.0))
CLASSES = ('person', 'car')
READOUT_CHANNELS = len(ANCHORS) * (5 + len(CLASSES))
#: float32 sums of some hundred terms of size 1 differ from float64 ones by less than this.
NEAR_THRESHOLD = 1e-4


class _Builder:
    """Adds convolutions whose currents make about a third of the neurons fire."""

    def __init__(self, seed: int) -> None:
        self._random = np.random.default_rng(seed)
        self.layers: list[LifLayer] = []

    def put(self, layer: LifLayer) -> str:
        self.layers.append(layer)
        return layer.name

    def convolve(
        self, name: str, source: str, inputs: int, outputs: int, kernel: int = 3, stride: int = 1,
        *, groups: int = 1, gain: float = 1.0,
    ) -> str:
        shape = (outputs, inputs // groups, kernel, kernel)
        weight = self._random.normal(size=shape) * gain / np.sqrt(np.prod(shape[1:]))
        bias = 0.3 * self._random.normal(size=outputs)
        return self.put(Synapses(
            name, source, weight.astype(np.float32), bias.astype(np.float32),
            (stride, stride), (kernel // 2,) * 4, groups))


def small_lif_detector(
    *, coding: Coding = 'repeated', steps: int = 4, seed: int = 0,
) -> LifNetwork:
    """Return a detector of two scales that has each kind of layer."""
    net = _Builder(seed)
    channels = 3 if coding == 'repeated' else 1
    stem = net.convolve('stem', IMAGE, channels, 8, 3, 2, gain=1 / 60)
    fired = net.put(Lif('fired', stem))
    grown = net.convolve('grown', fired, 8, 4, 1)
    joined = net.put(Concat('joined', (grown, stem)))
    pooled = net.put(MaxPool('pooled', joined, (2, 2), (2, 2)))
    deep = net.convolve('deep', fired, 8, 12, 3, 2, groups=2)
    block = net.put(Add('block', (deep, pooled)))
    slow = net.put(Lif('slow', block, decay=0.5, threshold=0.4))
    coarse = net.convolve('coarse', slow, 12, 8, 3, 2)
    real = net.put(SiluMembrane('real', coarse))
    ends = [net.put(Concat('fine', (net.put(Upsample('up', coarse)), block))), real]
    means = [net.put(Mean(f'mean{index}', end)) for index, end in enumerate(ends)]
    readouts = [net.convolve(f'detect{index}', mean, inputs, READOUT_CHANNELS, 1)
                for index, (mean, inputs) in enumerate(zip(means, (20, 8), strict=True))]
    return LifNetwork(
        name='small', steps=steps, coding=coding,
        neutral=(0.0, 0.0, 0.0) if coding == 'repeated' else (127.0,), input_size=(32, 48),
        layers=tuple(net.layers), outputs=tuple(readouts),
        head=YoloV5Head((HeadLevel(readouts[0], 4, ANCHORS), HeadLevel(readouts[1], 8, ANCHORS))),
        class_names=CLASSES, provenance={'origin': 'random weights'},
        firing_rates={'fired': 0.25})


def random_pixels(network: LifNetwork, seed: int = 0) -> NDArray[np.uint8]:
    """Return a random picture, or a random window of event pictures."""
    random = np.random.default_rng(seed)
    shape = network.input_shape()
    if network.coding == 'repeated':
        return random.integers(0, 256, shape, dtype=np.uint8)
    return random.choice(np.array([0, 127, 255], np.uint8), shape)


def assert_same_spikes(
    network: LifNetwork, simulator: LifSimulator, trains: dict[str, NDArray[np.bool_]],
) -> None:
    """
    Check that spikes differ only where a membrane is so near the threshold that rounding decides.

    What comes behind a spike that does differ is another computation, and is not compared.
    """
    near = total = 0
    for layer in network.firing_layers:
        distance = np.abs(simulator.membranes[layer.name] - layer.threshold)
        differ = simulator.trains[layer.name] != trains[layer.name]
        assert (distance[differ] < NEAR_THRESHOLD).all(), layer.name
        if differ.any():
            break
        near, total = near + np.count_nonzero(distance < NEAR_THRESHOLD), total + distance.size
    assert total > 1000
    # Membranes spread over about 2, so that 1e-4 of them lie in a band of 2e-4.
    assert near / total < 1e-3
