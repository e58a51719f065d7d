# SPDX-License-Identifier: Apache-2.0
"""
The layers of a network that was trained as a spiking network, as plain data.

They work step by step: a tensor has a value in each of T time steps. Neurons emit 0 or 1; what
convolutions, sums and pools put out are real currents and membranes. Pools, sums, concatenations
and upsampling are those of :mod:`~snn_detector_ros.network.layers`, of real numbers here. Batch
normalisation (tdBN) has been folded into the convolutions (Zheng et al. 2021, eqs 9-10).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from snn_detector_ros.network.layers import Add, Concat, MaxPool, Shape, Upsample, window_size


@dataclass(frozen=True, eq=False)
class Synapses:
    """
    A convolution with real weights.

    :param weight: float32 [Cout, Cin / groups, kernel height, kernel width].
    :param bias: float32 [Cout], added in each time step.
    :param stride: vertical and horizontal stride.
    :param padding: zero cells added at the top, left, bottom and right.
    """

    name: str
    source: str
    weight: NDArray[np.float32]
    bias: NDArray[np.float32]
    stride: tuple[int, int] = (1, 1)
    padding: tuple[int, int, int, int] = (0, 0, 0, 0)
    groups: int = 1

    @property
    def sources(self) -> tuple[str, ...]:
        return (self.source,)

    def output_shape(self, inputs: tuple[Shape, ...]) -> Shape:
        return (*window_size(inputs[0], self.weight.shape[2:], self.stride, self.padding),
                self.weight.shape[0])


@dataclass(frozen=True)
class Lif:
    """
    Leaky integrate-and-fire neurons with a hard reset (Zheng et al. 2021, eqs 1-3).

    ``u(t) = decay * u(t-1) * (1 - s(t-1)) + x(t)``, ``s(t) = 1 if u(t) > threshold else 0``.

    :param decay: what is left of the membrane after a step without spike.
    :param threshold: a spike is fired above it, not at it.
    """

    name: str
    source: str
    decay: float = 0.25
    threshold: float = 0.5

    @property
    def sources(self) -> tuple[str, ...]:
        return (self.source,)

    def output_shape(self, inputs: tuple[Shape, ...]) -> Shape:
        return inputs[0]


@dataclass(frozen=True)
class SiluMembrane:
    """
    Leaky membranes that are read through SiLU and never spike: two layers of EMS-YOLO's COCO net.

    ``u(t) = decay * u(t-1) * (1 - s(t-1)) + x(t)``, ``s(t) = u(t) * sigmoid(u(t))``.
    """

    name: str
    source: str
    decay: float = 0.25

    @property
    def sources(self) -> tuple[str, ...]:
        return (self.source,)

    def output_shape(self, inputs: tuple[Shape, ...]) -> Shape:
        return inputs[0]


@dataclass(frozen=True)
class Mean:
    """
    The mean over time, which readouts read: they are linear, so one convolution does for T steps.

    :param over_map: over all cells of the map too.
    """

    name: str
    source: str
    over_map: bool = False

    @property
    def sources(self) -> tuple[str, ...]:
        return (self.source,)

    def output_shape(self, inputs: tuple[Shape, ...]) -> Shape:
        return (1, 1, inputs[0][2]) if self.over_map else inputs[0]


Neurons: TypeAlias = Lif | SiluMembrane
LifLayer: TypeAlias = (
    Synapses | Lif | SiluMembrane | Mean | MaxPool | Add | Concat | Upsample)
