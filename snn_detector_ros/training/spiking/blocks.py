# SPDX-License-Identifier: Apache-2.0
"""
The residual blocks of EMS-YOLO (Su et al., ICCV 2023).

Activations are real membranes, and every convolution reads the spikes that neurons fire from them:
LIF, convolution, tdBN. Sums are taken of membranes, and nothing fires after a sum.
"""

import torch
from torch import Tensor, nn

from snn_detector_ros.training.spiking.lif import Lif, LifParameters
from snn_detector_ros.training.spiking.tdbn import ConvTdbn, PerStep, concatenated, fired

#: Start of the last gain of a residual branch: blocks begin close to their shortcut.
RESIDUAL_ALPHA = 0.2


class SpikeConv(nn.Sequential):
    """LIF, convolution, tdBN: [T, N, C, H, W] membranes in and out."""

    def __init__(
            self, inputs: int, outputs: int, kernel: int, stride: int, *, neuron: LifParameters,
            alpha: float = 1.0) -> None:
        """
        Create the three; see ``ConvTdbn``.

        :param neuron: the neurons that fire the convolution's input.
        """
        super().__init__(Lif(neuron), ConvTdbn(
            inputs, outputs, kernel, stride, threshold=neuron.threshold, alpha=alpha))


def _pool(stride: int) -> nn.Module:
    return PerStep(nn.MaxPool2d(stride)) if stride > 1 else nn.Identity()


class ProjectionShortcut(nn.Sequential):
    """
    Largest membrane of each window, then a 1x1 convolution.

    EMS-Block1 fires before the convolution; MS-Block does not, and multiplies reals.
    """

    def __init__(
            self, inputs: int, outputs: int, stride: int, *, neuron: LifParameters,
            fires: bool) -> None:
        convolution = (
            SpikeConv(inputs, outputs, 1, 1, neuron=neuron) if fires
            else ConvTdbn(inputs, outputs, 1, 1, threshold=neuron.threshold))
        super().__init__(_pool(stride), convolution)


class ConcatShortcut(nn.Module):
    """EMS-Block2: only the channels that are missing are computed, the others are reused."""

    def __init__(self, inputs: int, outputs: int, stride: int, *, neuron: LifParameters) -> None:
        super().__init__()
        self.grow = SpikeConv(inputs, outputs - inputs, 1, 1, neuron=neuron)
        self.pool = _pool(stride)

    def forward(self, x: Tensor) -> Tensor:
        """Map [T, N, inputs, H, W] to [T, N, outputs, H / stride, W / stride]."""
        y: Tensor = self.pool(concatenated(self.grow(x), x))
        return y


class ResidualBlock(nn.Module):
    """Two spiking convolutions, added to a shortcut; the shortcut makes the block's name."""

    def __init__(
            self, inputs: int, outputs: int, kernel: int = 3, stride: int = 1, *,
            neuron: LifParameters, hidden: int, concat: bool = False,
            full_spike: bool = True) -> None:
        """
        Create the block.

        :param inputs: input channels.
        :param outputs: output channels.
        :param kernel: edge of the kernels.
        :param stride: of the first convolution.
        :param neuron: the neurons.
        :param hidden: channels between the two convolutions.
        :param concat: grow by concatenation (EMS-Block2) where there are more outputs than inputs.
        :param full_spike: fire before the shortcut's convolution (EMS-Block1); otherwise MS-Block.
        """
        super().__init__()
        self.residual = nn.Sequential(
            SpikeConv(inputs, hidden, kernel, stride, neuron=neuron),
            SpikeConv(hidden, outputs, kernel, 1, neuron=neuron, alpha=RESIDUAL_ALPHA))
        self.shortcut: nn.Module = nn.Identity()
        if concat and outputs > inputs:
            self.shortcut = ConcatShortcut(inputs, outputs, stride, neuron=neuron)
        elif stride != 1 or inputs != outputs:
            self.shortcut = ProjectionShortcut(
                inputs, outputs, stride, neuron=neuron, fires=full_spike)

    def forward(self, x: Tensor) -> Tensor:
        """Map [T, N, inputs, H, W] to [T, N, outputs, H / stride, W / stride]."""
        (neurons, convolution), (next_neurons, last) = self.residual
        residual: Tensor = last(fired(neurons(x), convolution, next_neurons))
        y: Tensor = residual + self.shortcut(x)
        return y


class SiluConv(nn.Module):
    """
    Convolution, tdBN, and a leaky membrane that is read through SiLU: not a spiking layer.

    ``ems-res34-cat``, the published COCO network, ends in two of these. As in its code, SiLU takes
    the place of the spike in the reset too.
    """

    def __init__(self, inputs: int, outputs: int, kernel: int, *, neuron: LifParameters) -> None:
        super().__init__()
        self.current = ConvTdbn(inputs, outputs, kernel, 1, threshold=neuron.threshold)
        self.decay = neuron.decay

    def forward(self, x: Tensor) -> Tensor:
        """Map [T, N, inputs, H, W] to [T, N, outputs, H, W]."""
        outputs: list[Tensor] = []
        membrane = torch.zeros(())
        for current in self.current(x):
            if outputs:
                membrane = self.decay * membrane * (1 - outputs[-1].detach())
            membrane = membrane + current
            outputs.append(nn.functional.silu(membrane))
        return torch.stack(outputs)
