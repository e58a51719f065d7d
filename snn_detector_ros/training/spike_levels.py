# SPDX-License-Identifier: Apache-2.0
"""
Train with the levels that spikes will carry, so that few levels are enough.

Where ``insert_levels`` has been, an activation gives ``step * clip(rint(x / step), 0, Q)``, as do
neurons of a code with largest level Q that start at half a threshold. The gradient passes as if
nothing were rounded (straight-through estimator, Bengio et al. 2013), and is zero where the clip
acts. What is exported is the float network without levels, whose weights have learnt to be rounded.
"""

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from snn_detector_ros.errors import ConfigurationError
from snn_detector_ros.training.blocks import Bottleneck, ConvBnRelu


class _Quantise(torch.autograd.Function):
    """Rounding to levels whose gradient ignores the rounding."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, step: Tensor, max_level: int, slope: float) -> Tensor:
        ctx.save_for_backward(x, step)
        ctx.max_level, ctx.slope = max_level, slope
        level = (x / step).round_().clamp_(-max_level if slope else 0, max_level)
        if slope:
            # Of a signed neuron the magnitude below zero is scaled and rounded, halves up.
            level = torch.where(level < 0, -(-level * slope + 0.5).floor_(), level)
        return level.mul_(step).to(x.dtype)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None, None]:
        x, step = ctx.saved_tensors
        top = step * ctx.max_level
        factor = (x > 0) & (x < top)
        if ctx.slope:
            factor = factor + ctx.slope * ((x <= 0) & (x > -top))
        return gradients[0] * factor, None, None, None


class LevelActivation(nn.Module):
    """ReLU or leaky ReLU that gives multiples of a channel's step, up to Q of them."""

    step: Tensor

    def __init__(self, channels: int, max_level: int, slope: float = 0.0) -> None:
        """
        Create the neurons of one layer; until their steps are set they compute in float.

        :param channels: channels of the layer.
        :param max_level: Q of the spike code.
        :param slope: of the activation below zero.
        """
        super().__init__()
        self.max_level, self.slope = max_level, slope
        self.register_buffer('step', torch.zeros(channels))
        self.has_steps = False
        #: Sum of the levels of the last training batch, and over how many neurons.
        self.fired: tuple[Tensor, int] | None = None

    def forward(self, x: Tensor) -> Tensor:
        """Map [N, C, H, W] to the same shape."""
        if not self.has_steps:
            plain: Tensor = self.plain()(x)
            return plain
        y: Tensor = _Quantise.apply(x, self.step[:, None, None], self.max_level, self.slope)
        if self.training:
            self.fired = (y.abs().float().sum((0, 2, 3)) / self.step).sum(), y.numel()
        return y

    def plain(self) -> nn.Module:
        """Return the activation without levels."""
        return nn.LeakyReLU(self.slope) if self.slope else nn.ReLU()


def insert_levels(model: nn.Module, max_level: int) -> None:
    """
    Let every activation and every residual sum of a network have levels.

    :param model: changed in place.
    :param max_level: Q of the spike code.
    :raises ConfigurationError: if the network has no activation that can be replaced.
    """
    blocks = [module for module in model.modules() if isinstance(module, ConvBnRelu)]
    if not blocks:
        raise ConfigurationError(
            f'{type(model).__name__} has no ReLU; --spikes is for networks that are converted')
    for block in blocks:
        slope = block[2].negative_slope if isinstance(block[2], nn.LeakyReLU) else 0.0
        block[2] = LevelActivation(block[1].num_features, max_level, slope)
    for module in model.modules():
        if isinstance(module, Bottleneck) and module.shortcut:
            module.sum = LevelActivation(module.cv2[1].num_features, max_level)


def remove_levels(model: nn.Module) -> None:
    """Undo ``insert_levels``, in place."""
    for module in model.modules():
        if isinstance(module, ConvBnRelu) and isinstance(module[2], LevelActivation):
            module[2] = module[2].plain()
        elif isinstance(module, Bottleneck):
            module.sum = nn.Identity()


def set_steps(model: nn.Module, steps: Iterable[tuple[str, NDArray[np.float32]]]) -> None:
    """
    Set what one level of each channel stands for.

    :param model: a network with levels, changed in place.
    :param steps: name of each ``LevelActivation`` and its steps, float32 [C].
    """
    for name, step in steps:
        activation = model.get_submodule(name)
        assert isinstance(activation, LevelActivation)
        activation.step.copy_(torch.from_numpy(step))
        activation.has_steps = True


def level_activations(model: nn.Module) -> Iterator[tuple[str, LevelActivation]]:
    """Yield the activations that have levels, and their names."""
    for name, module in model.named_modules():
        if isinstance(module, LevelActivation):
            yield name, module


def take_mean_level(model: nn.Module) -> Tensor:
    """
    Return the mean level of all neurons in the last training batch, and forget it.

    :returns: scalar with a gradient: what the firing penalty multiplies; 0 without levels.
    """
    fired = []
    for _, activation in level_activations(model):
        if activation.fired is not None:
            fired.append(activation.fired)
            activation.fired = None
    if not fired:
        return torch.zeros(())
    return torch.stack([levels for levels, _ in fired]).sum() / sum(count for _, count in fired)
