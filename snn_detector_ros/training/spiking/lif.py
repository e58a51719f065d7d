# SPDX-License-Identifier: Apache-2.0
"""
The leaky integrate-and-fire neuron over T time steps, with a rectangular surrogate gradient.

    u(t) = decay * u(t-1) * (1 - s(t-1)) + x(t),     s(t) = 1 if u(t) > threshold else 0

(Wu et al. 2018; Zheng et al. 2021, eqs 1-3). The derivative of the step is taken to be 1 / width
where |u - threshold| < width / 2, and 0 elsewhere. ``lif_steps`` is the definition, which autograd
differentiates step by step; ``Lif`` computes the same forwards and backwards, written by hand, and
keeps nothing but the membranes for it. On a GPU, ``lif_fused.py`` takes its place.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from snn_detector_ros.training.spiking import lif_fused


@dataclass(frozen=True)
class LifParameters:
    """
    A neuron; the defaults are those of EMS-YOLO.

    :param decay: what is left of the membrane after a step without spike.
    :param threshold: a spike is fired above it, not at it.
    :param width: of the surrogate's window, centred on the threshold.
    :param detach_reset: no gradient flows through the reset (1 - s).
    """

    decay: float = 0.25
    threshold: float = 0.5
    width: float = 1.0
    detach_reset: bool = True


def lif_steps(x: Tensor, neuron: LifParameters) -> Tensor:
    """
    Fire, one step after the other.

    :param x: input current, [T, ...].
    :param neuron: the neuron.
    :returns: spikes, 0 or 1, of the same shape.
    """
    spikes: list[Tensor] = []
    membrane = torch.zeros_like(x[0])
    for current in x:
        if spikes:
            last = spikes[-1].detach() if neuron.detach_reset else spikes[-1]
            membrane = neuron.decay * membrane * (1 - last)
        membrane = membrane + current
        spikes.append(_Spike.apply(membrane, neuron))
    return torch.stack(spikes)


class Lif(nn.Module):
    """A layer of neurons without weights: [T, ...] currents in, spikes out."""

    def __init__(self, neuron: LifParameters) -> None:
        super().__init__()
        self.neuron = neuron

    def forward(self, x: Tensor) -> Tensor:
        """
        Fire, starting from empty membranes.

        :param x: input current, [T, ...].
        :returns: spikes, 0 or 1, of the same shape and layout in memory.
        """
        if lif_fused.can_fuse(x):
            return lif_fused.fused_lif(x, self.neuron)
        spikes: Tensor = _FusedLif.apply(x, self.neuron)
        return spikes

    def extra_repr(self) -> str:
        """Describe the neuron."""
        return f'decay={self.neuron.decay}, threshold={self.neuron.threshold}'


def _window(gradient: Tensor, membrane: Tensor, neuron: LifParameters) -> Tensor:
    """Multiply a gradient by the surrogate's derivative."""
    half = neuron.width / 2
    # The derivative of a clamp is this window; one pass over memory instead of five.
    inside: Tensor = torch.ops.aten.hardtanh_backward(
        gradient, membrane, neuron.threshold - half, neuron.threshold + half)
    return inside if neuron.width == 1.0 else inside.div_(neuron.width)


class _Spike(Function):
    """One step's firing decision."""

    @staticmethod
    def forward(ctx: Any, membrane: Tensor, neuron: LifParameters) -> Tensor:  # noqa: D102
        ctx.save_for_backward(membrane)
        ctx.neuron = neuron
        return (membrane > neuron.threshold).to(membrane.dtype)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:  # noqa: D102
        (membrane,) = ctx.saved_tensors
        return _window(gradient, membrane, ctx.neuron), None


class _FusedLif(Function):
    """All steps in one node of the graph; only the membranes are kept."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, neuron: LifParameters) -> Tensor:  # noqa: D102
        membranes, spikes = torch.empty_like(x), torch.empty_like(x)
        below = torch.empty_like(membranes[0])
        for t in range(len(x)):
            if t == 0:
                membranes[0].copy_(x[0])
            else:
                torch.le(membranes[t - 1], neuron.threshold, out=below)
                torch.addcmul(
                    x[t], membranes[t - 1], below, value=neuron.decay, out=membranes[t])
        torch.gt(membranes, neuron.threshold, out=spikes)
        ctx.save_for_backward(membranes)
        ctx.neuron = neuron
        return spikes

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:  # noqa: D102
        (membranes,), neuron = ctx.saved_tensors, ctx.neuron
        result = torch.empty_like(membranes)
        below = torch.empty_like(membranes[0])
        for t in range(len(membranes) - 1, -1, -1):
            at_spike = gradient[t]
            later = result[t + 1] if t + 1 < len(membranes) else None
            if later is not None and not neuron.detach_reset:
                at_spike = torch.addcmul(at_spike, later, membranes[t], value=-neuron.decay)
            result[t].copy_(_window(at_spike, membranes[t], neuron))
            if later is not None:
                torch.le(membranes[t], neuron.threshold, out=below)
                result[t].addcmul_(later, below, value=neuron.decay)
        return result, None
