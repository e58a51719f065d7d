# SPDX-License-Identifier: Apache-2.0
"""
The spiking ResNet of STBP-tdBN (Zheng et al. 2021), and its twin of ordinary neurons.

A block is convolution, tdBN, LIF, convolution, tdBN with alpha = 1 / sqrt(2), then the sum with the
shortcut, then LIF. The picture is the current of the first convolution in every step; it is
computed once. The decoder is the mean over time of a linear layer.

The twin has the same convolutions, batch normalisation and ReLU, and one step.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor, nn

from snn_detector_ros.training.spiking.lif import Lif, LifParameters
from snn_detector_ros.training.spiking.tdbn import ConvTdbn, PerStep, fired

#: Two branches meet in a block's sum.
BRANCH_ALPHA = 1 / math.sqrt(2)


@dataclass(frozen=True)
class Activation:
    """
    What follows a normalisation.

    :param make: makes a layer of [T, N, C, H, W].
    :param threshold: the deviation that its input is normalised to.
    """

    make: Callable[[], nn.Module]
    threshold: float


def spiking(neuron: LifParameters | None = None) -> Activation:
    """Return LIF neurons, by default with the gradient through the reset, as in STBP."""
    chosen = neuron or LifParameters(detach_reset=False)
    return Activation(lambda: Lif(chosen), chosen.threshold)


def ordinary() -> Activation:
    """Return ReLU, normalised to deviation 1."""
    return Activation(nn.ReLU, 1.0)


class SpikingBlock(nn.Module):
    """The residual block: [T, N, C, H, W] spikes in and out."""

    def __init__(
            self, inputs: int, outputs: int, stride: int, activation: Activation, *,
            norm_identity: bool = False) -> None:
        """
        Create the block.

        :param inputs: input channels.
        :param outputs: output channels.
        :param stride: of the first convolution.
        :param activation: the neurons.
        :param norm_identity: give a shortcut that changes no shape a 1x1 convolution and tdBN too.
        """
        super().__init__()
        threshold = activation.threshold
        self.residual = nn.Sequential(
            ConvTdbn(inputs, outputs, 3, stride, threshold=threshold), activation.make(),
            ConvTdbn(outputs, outputs, 3, 1, threshold=threshold, alpha=BRANCH_ALPHA))
        self.shortcut: nn.Module = nn.Identity()
        if norm_identity or stride != 1 or inputs != outputs:
            self.shortcut = ConvTdbn(
                inputs, outputs, 1, stride, threshold=threshold, alpha=BRANCH_ALPHA)
        self.activation = activation.make()

    def forward(self, x: Tensor) -> Tensor:
        """Map [T, N, inputs, H, W] to [T, N, outputs, H / stride, W / stride]."""
        first, neurons, last = self.residual
        y: Tensor = self.activation(last(fired(x, first, neurons)) + self.shortcut(x))
        return y


class SpikingResNet(nn.Module):
    """A classifier of small pictures."""

    def __init__(
            self, class_count: int, activation: Activation, *, steps: int, width: int = 32,
            depths: tuple[int, ...] = (1, 1, 1)) -> None:
        """
        Create the network with random weights.

        :param class_count: number of classes.
        :param activation: ``spiking()`` or ``ordinary()``.
        :param steps: T; 1 for ordinary neurons.
        :param width: channels of the first stage; each later one halves the map and has twice as
            many.
        :param depths: blocks of each stage.
        """
        super().__init__()
        self.steps = steps
        self.encode = ConvTdbn(3, width, 3, 1, threshold=activation.threshold)
        blocks: list[nn.Module] = [activation.make()]
        inputs = width
        for stage, depth in enumerate(depths):
            outputs = width << stage
            for k in range(depth):
                stride = 2 if stage and k == 0 else 1
                blocks.append(SpikingBlock(inputs, outputs, stride, activation))
                inputs = outputs
        self.blocks = nn.Sequential(*blocks)
        self.pool = PerStep(nn.AdaptiveAvgPool2d(1), nn.Flatten())
        self.decode = nn.Linear(inputs, class_count)

    def forward(self, x: Tensor) -> Tensor:
        """
        Classify.

        :param x: float [N, 3, H, W], normalised colours.
        :returns: logits, [N, classes].
        """
        current: Tensor = self.encode(x[None])
        spikes = self.blocks(current.expand(self.steps, *current.shape[1:]))
        # The decoder is linear: the mean over time may come first.
        logits: Tensor = self.decode(self.pool(spikes).mean(0))
        return logits
