# SPDX-License-Identifier: Apache-2.0
"""
Threshold-dependent batch normalisation (Zheng et al. 2021), and how to get rid of it again.

Currents are normalised, per channel, over time, batch and space together, to a standard deviation
of alpha * threshold: then neurons neither fall silent nor saturate, at any depth. The gain of this
layer is the paper's lambda * alpha * threshold (eqs 5-6), so a trained layer is an ordinary batch
normalisation with another start.
"""

import copy
from typing import TypeVar

import torch
from torch import Tensor, nn

from snn_detector_ros.training.spiking import lif_fused
from snn_detector_ros.training.spiking.lif import Lif

Model = TypeVar('Model', bound=nn.Module)


class TdBatchNorm(nn.BatchNorm2d):
    """
    Batch normalisation of [T * N, C, H, W], so over T, N, H and W.

    As in any batch normalisation, the batch is divided by its biased deviation, and the running
    average, which inference uses, is of the unbiased one.
    """

    def __init__(self, channels: int, threshold: float, alpha: float = 1.0) -> None:
        """
        Start with a gain of alpha * threshold.

        :param channels: channels.
        :param threshold: of the neurons that get this current.
        :param alpha: 1 / sqrt(n) where n branches are added, so that their sum has deviation
            ``threshold``; 1 elsewhere.
        """
        super().__init__(channels)
        nn.init.constant_(self.weight, alpha * threshold)


class PerStep(nn.Sequential):
    """Layers without memory, applied to all time steps at once: [T, N, ...] in and out."""

    def forward(self, x: Tensor) -> Tensor:
        """Apply the layers to [T * N, ...]."""
        y: Tensor = super().forward(x.flatten(0, 1))
        return y.unflatten(0, x.shape[:2])


class ConvTdbn(PerStep):
    """Convolution without bias, then tdBN."""

    def __init__(
            self, inputs: int, outputs: int, kernel: int, stride: int, *, threshold: float,
            alpha: float = 1.0) -> None:
        """
        Create the pair.

        :param inputs: input channels.
        :param outputs: output channels.
        :param kernel: edge of the kernel, odd.
        :param stride: step of the kernel.
        :param threshold: see ``TdBatchNorm``; ``alpha`` alike.
        """
        super().__init__(
            nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False),
            TdBatchNorm(outputs, threshold, alpha))


def fired(x: Tensor, current: ConvTdbn, neurons: nn.Module) -> Tensor:
    """
    Return ``neurons(current(x))``; LIF and the normalisation are one where they can be.

    :param x: [T, N, C, H, W].
    :param neurons: any layer of [T, N, C, H, W].
    """
    if isinstance(neurons, Lif) and len(current) == 2 and lif_fused.can_fuse(x):
        convolution, normalisation = current
        if isinstance(normalisation, TdBatchNorm):
            y = convolution(x.flatten(0, 1)).unflatten(0, x.shape[:2])
            return lif_fused.fused_tdbn_lif(y, normalisation, neurons.neuron)
    spikes: Tensor = neurons(current(x))
    return spikes


def concatenated(*parts: Tensor) -> Tensor:
    """Join [T, N, C, H, W] along the channels, in the memory layout of [T * N, C, H, W]."""
    flat = [part.flatten(0, 1) for part in parts]
    for part in flat:
        if part.requires_grad:
            # A slice of the gradient has gaps, over which batch normalisation crawls.
            part.register_hook(_without_gaps)
    return torch.cat(flat, 1).unflatten(0, parts[0].shape[:2])


def _without_gaps(gradient: Tensor) -> Tensor:
    return gradient.contiguous(memory_format=torch.channels_last)


@torch.no_grad()
def folded_convolution(convolution: nn.Conv2d, normalisation: nn.BatchNorm2d) -> nn.Conv2d:
    """
    Merge a normalisation with its running averages into the convolution before it (eqs 9-10).

    :returns: a new convolution with bias, which equals the pair in inference.
    """
    variance, mean = normalisation.running_var, normalisation.running_mean
    assert variance is not None and mean is not None
    gain = normalisation.weight / torch.sqrt(variance + normalisation.eps)
    merged = copy.deepcopy(convolution)
    merged.weight = nn.Parameter(convolution.weight * gain[:, None, None, None])
    bias = -mean if convolution.bias is None else convolution.bias - mean
    merged.bias = nn.Parameter(bias * gain + normalisation.bias)
    return merged


def folded(model: Model) -> Model:
    """
    Return a copy for inference in which every ``ConvTdbn`` holds one convolution with bias.

    :param model: any network of this package; it is left as it is.
    """
    result = copy.deepcopy(model).eval()
    for module in result.modules():
        if isinstance(module, ConvTdbn):
            convolution, normalisation = module[0], module[1]
            assert isinstance(convolution, nn.Conv2d)
            assert isinstance(normalisation, TdBatchNorm)
            del module[1]
            module[0] = folded_convolution(convolution, normalisation)
    return result
