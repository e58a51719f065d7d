# SPDX-License-Identifier: Apache-2.0
"""
LIF, alone or behind tdBN, on a GPU: one node of the graph, computed by ``lif_kernels.py``.

Only the currents are kept for the backward pass. Half precision is that of memory: statistics,
membranes and the sums of gradients are float32 (float64 where the currents are).
"""

from __future__ import annotations

import functools
import importlib.util
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from snn_detector_ros.errors import ConfigurationError

if TYPE_CHECKING:
    from snn_detector_ros.training.spiking.lif import LifParameters

#: Up to so many steps, and values of a step in a tile: a thread keeps all steps of its share in
#: registers, of which it has 255.
TILE_SIZES = ((6, 512), (12, 256), (24, 128))
MAX_STEPS = TILE_SIZES[-1][0]
WARPS = 4
#: Kernels count the values of a step in int32.
MAX_STEP_VALUES = 1 << 30
#: Most channels of a tile: a row of float32 is two cache lines.
MAX_BLOCK_CHANNELS = 64
#: Most tiles that a program sums up before it writes its sums.
MAX_TILES = 8


@functools.cache
def _has_triton() -> bool:
    return importlib.util.find_spec('triton') is not None


def can_fuse(x: Tensor) -> bool:
    """
    Return whether the functions of this module can be used.

    :param x: input current, [T, ...]; must be on a CUDA device, and Triton installed.
    """
    steps = len(x)
    return (x.is_cuda and _has_triton() and 0 < steps <= MAX_STEPS
            and 0 < x.numel() // steps <= MAX_STEP_VALUES)


def fused_lif(x: Tensor, neuron: LifParameters) -> Tensor:
    """
    Fire, starting from empty membranes; see ``Lif``.

    :param x: input current, [T, ...].
    :param neuron: the neuron.
    :returns: spikes, 0 or 1, of the same shape, type and layout in memory.
    """
    spikes: Tensor = _FusedLif.apply(x, neuron)
    return spikes


def fused_tdbn_lif(x: Tensor, norm: nn.BatchNorm2d, neuron: LifParameters) -> Tensor:
    """
    Normalise and fire; see ``TdBatchNorm`` and ``Lif``.

    :param x: currents before the normalisation, [T, N, C, H, W].
    :param norm: with gain and bias. In training its running averages are updated.
    :param neuron: the neuron.
    :returns: spikes, 0 or 1, of the same shape, type and layout in memory.
    :raises ConfigurationError: if a channel has one value only, and should be normalised with it.
    """
    mean, variance = norm.running_mean, norm.running_var
    of_batch = norm.training or mean is None or variance is None
    if of_batch:
        count = x.numel() // x.shape[2]
        if count == 1:
            raise ConfigurationError(
                f'currents {list(x.shape)} have one value a channel, which has no variance; train '
                'with larger batches or pictures')
        mean, variance = _batch_statistics(_packed(x.detach()))
        if norm.training and norm.track_running_stats:
            _update_averages(norm, mean, variance * (count / (count - 1)))
    assert mean is not None and variance is not None
    scale = torch.rsqrt(variance + norm.eps)
    spikes: Tensor = _FusedTdbnLif.apply(
        x, norm.weight, norm.bias, mean.to(_real(x)), scale.to(_real(x)), neuron, of_batch)
    return spikes


class _FusedLif(Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, neuron: LifParameters) -> Tensor:  # noqa: D102
        x = _packed(x)
        ctx.save_for_backward(x)
        ctx.neuron = neuron
        return _spikes(x, neuron, None)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:  # noqa: D102
        (x,) = ctx.saved_tensors
        return _current_gradient(x, _alike(gradient, x), ctx.neuron, None), None


class _FusedTdbnLif(Function):
    @staticmethod
    def forward(  # noqa: D102
            ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, mean: Tensor, scale: Tensor,
            neuron: LifParameters, of_batch: bool) -> Tensor:
        x = _packed(x)
        affine = (mean, weight * scale, bias.to(mean.dtype))
        ctx.save_for_backward(x, scale, *affine)
        ctx.neuron, ctx.of_batch = neuron, of_batch
        return _spikes(x, neuron, affine)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:  # noqa: D102
        x, scale, mean, gain, bias = ctx.saved_tensors
        gradient, affine = _alike(gradient, x), (mean, gain, bias)
        total, product = _gradient_sums(x, gradient, ctx.neuron, affine)
        slope = offset = torch.zeros_like(total)
        if ctx.of_batch:
            # dx = gain * (dy - mean(dy) - x_hat * mean(dy * x_hat)), x_hat = (x - mean) * scale
            count = x.numel() // len(total)
            slope, offset = gain * scale ** 2 * product / -count, gain * total / -count
        current = _current_gradient(x, gradient, ctx.neuron, affine, slope, offset)
        return current, product * scale, total, None, None, None, None


@dataclass(frozen=True)
class _Tiling:
    """How a tensor is divided among programs; the names are those of ``lif_kernels.py``."""

    steps: int
    rows: int
    channels: int
    inner: int

    @classmethod
    def of(cls, x: Tensor, *, by_channel: bool) -> _Tiling:
        """Divide [T, N, C, H, W] by channel, or any [T, ...] as it comes."""
        step = x[0]
        if not by_channel:
            return cls(len(x), step.numel(), channels=1, inner=step.numel())
        channels = step.shape[1]
        is_last = step.is_contiguous(memory_format=torch.channels_last)
        return cls(len(x), step.numel() // channels, channels,
                   1 if is_last else step[0, 0].numel())

    @property
    def block(self) -> tuple[int, int]:
        """Rows and channels of a tile, powers of 2; neighbours in memory are in one tile."""
        size = next(size for steps, size in TILE_SIZES if self.steps <= steps)
        channels = 1 << (self.channels - 1).bit_length() if self.inner == 1 else 1
        channels = min(channels, MAX_BLOCK_CHANNELS)
        return size // channels, channels

    @property
    def tiles(self) -> int:
        """Tiles of a program that sums up; the others have one each."""
        return min(-(-self.rows // self.block[0]), MAX_TILES)

    def grid(self, tiles: int = 1) -> tuple[int, int]:
        """Return the number of programs along the rows, each with some tiles, and channels."""
        rows, channels = self.block
        return -(-self.rows // (rows * tiles)), -(-self.channels // channels)

    @property
    def arguments(self) -> dict[str, int]:
        """What all kernels take, and how they are compiled: roundings stay as they are written."""
        return {'rows': self.rows, 'channels': self.channels, 'inner': self.inner,
                'STEPS': self.steps, 'BLOCK_R': self.block[0], 'BLOCK_C': self.block[1],
                'num_warps': WARPS, 'enable_fp_fusion': False}


def _spikes(x: Tensor, neuron: LifParameters, affine: tuple[Tensor, ...] | None) -> Tensor:
    from snn_detector_ros.training.spiking import lif_kernels
    tiling, spikes = _Tiling.of(x, by_channel=affine is not None), _empty(x)
    with torch.cuda.device_of(x):
        lif_kernels.forward[tiling.grid()](
            x, x.stride(0), *(affine or (None,) * 3), spikes, spikes.stride(0),
            NORMALISED=affine is not None, DECAY=neuron.decay, THRESHOLD=neuron.threshold,
            **tiling.arguments)
    return spikes


def _current_gradient(
        x: Tensor, gradient: Tensor, neuron: LifParameters, affine: tuple[Tensor, ...] | None,
        slope: Tensor | None = None, offset: Tensor | None = None) -> Tensor:
    from snn_detector_ros.training.spiking import lif_kernels
    tiling, result = _Tiling.of(x, by_channel=affine is not None), _empty(x)
    with torch.cuda.device_of(x):
        lif_kernels.backward[tiling.grid()](
            x, x.stride(0), *(affine or (None,) * 3), gradient, gradient.stride(0), slope, offset,
            result, result.stride(0), NORMALISED=affine is not None, **_surrogate(neuron),
            **tiling.arguments)
    return result


def _gradient_sums(
        x: Tensor, gradient: Tensor, neuron: LifParameters,
        affine: tuple[Tensor, ...]) -> tuple[Tensor, Tensor]:
    from snn_detector_ros.training.spiking import lif_kernels
    tiling = _Tiling.of(x, by_channel=True)
    grid = tiling.grid(tiling.tiles)
    sums, products = affine[0].new_empty(2, grid[0], tiling.channels)
    with torch.cuda.device_of(x):
        lif_kernels.gradient_sums[grid](
            x, x.stride(0), *affine, gradient, gradient.stride(0), sums, products,
            tiling.tiles, **_surrogate(neuron), **tiling.arguments)
    return sums.sum(0), products.sum(0)


def _batch_statistics(x: Tensor) -> tuple[Tensor, Tensor]:
    """Return the mean and the biased variance of each channel, float64."""
    from snn_detector_ros.training.spiking import lif_kernels
    tiling = _Tiling.of(x, by_channel=True)
    grid = tiling.grid(tiling.tiles)
    pivot = x[0, 0, :, 0, 0].to(_real(x)).contiguous()
    sums, squares = pivot.new_empty(2, grid[0], tiling.channels)
    with torch.cuda.device_of(x):
        lif_kernels.statistics[grid](
            x, x.stride(0), pivot, sums, squares, tiling.tiles, **tiling.arguments)
    count = x.numel() // tiling.channels
    distance = sums.sum(0, dtype=torch.float64) / count
    variance = squares.sum(0, dtype=torch.float64) / count - distance ** 2
    return pivot + distance, variance.clamp(min=0)


def _update_averages(norm: nn.BatchNorm2d, mean: Tensor, unbiased_variance: Tensor) -> None:
    """Do what ``BatchNorm2d`` does, which divides by n - 1 in the running average only."""
    assert norm.num_batches_tracked is not None
    assert norm.running_mean is not None and norm.running_var is not None
    norm.num_batches_tracked.add_(1)
    momentum = norm.momentum if norm.momentum is not None else 1 / int(norm.num_batches_tracked)
    norm.running_mean.lerp_(mean.to(norm.running_mean.dtype), momentum)
    norm.running_var.lerp_(unbiased_variance.to(norm.running_var.dtype), momentum)


def _surrogate(neuron: LifParameters) -> dict[str, Any]:
    return {'DECAY': neuron.decay, 'THRESHOLD': neuron.threshold, 'WIDTH': neuron.width,
            'DETACH': neuron.detach_reset}


def _real(x: Tensor) -> torch.dtype:
    return torch.float64 if x.dtype == torch.float64 else torch.float32


def _packed(x: Tensor) -> Tensor:
    """Return a tensor whose steps have no gaps in memory; all may be the same one."""
    step = x[0]
    is_last = step.dim() == 4 and step.is_contiguous(memory_format=torch.channels_last)
    return x if is_last or step.is_contiguous() else x.contiguous()


def _empty(x: Tensor) -> Tensor:
    """Return memory for a tensor whose steps lie as those of x, one after the other."""
    return torch.empty_strided(
        x.shape, (x[0].numel(), *x.stride()[1:]), dtype=x.dtype, device=x.device)


def _alike(gradient: Tensor, x: Tensor) -> Tensor:
    """Return a gradient whose steps lie in memory as those of x."""
    return gradient if gradient.stride()[1:] == x.stride()[1:] else _empty(x).copy_(gradient)
