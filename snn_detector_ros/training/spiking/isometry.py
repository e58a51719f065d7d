# SPDX-License-Identifier: Apache-2.0
"""
Measure how a gradient fares on its way down a deep spiking network, with tdBN and without.

Block dynamical isometry (Chen et al. 2020; Zheng et al. 2021): each block should pass on a gradient
of about the norm that it gets. Both branches of the blocks are normalised, as the theory asks.
``python -m`` on this module draws the figure of ``docs/direct_training.md``.
"""

import argparse
import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import nn

from snn_detector_ros.training.checkpoint import replace_file
from snn_detector_ros.training.spiking.resnet import SpikingBlock, spiking
from snn_detector_ros.training.spiking.tdbn import TdBatchNorm

CHANNELS, STEPS, BATCH, SIDE = 16, 4, 4, 12
#: Where the figure ends: a silent network passes on nothing at all.
SMALLEST = 1e-8


def gradient_norms(
        depth: int, *, normalised: bool, norm_identity: bool = True, gain: float = 1.0,
        seed: int = 0) -> list[float]:
    """
    Send a random gradient through residual blocks with random weights.

    :param depth: number of blocks.
    :param normalised: with tdBN; otherwise the convolutions alone.
    :param norm_identity: see ``SpikingBlock``.
    :param gain: scales the initial weights (He et al. 2015), which tdBN is indifferent to.
    :param seed: of weights, spikes and gradient.
    :returns: the norm of the gradient at each block's input, first block first, relative to the
        one at the last block's output.
    """
    torch.manual_seed(seed)
    blocks = nn.ModuleList(
        SpikingBlock(CHANNELS, CHANNELS, 1, spiking(), norm_identity=norm_identity)
        for _ in range(depth))
    for module in blocks.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight)
            module.weight.data.mul_(gain)
    if not normalised:
        _remove_normalisation(blocks)
    x = (torch.rand(STEPS, BATCH, CHANNELS, SIDE, SIDE) < 0.3).float().requires_grad_()
    inputs = [x]
    for block in blocks:
        inputs.append(block(inputs[-1]))
        inputs[-1].retain_grad()
    inputs[-1].backward(torch.randn_like(inputs[-1]))
    norms = [float(y.grad.norm()) if y.grad is not None else 0.0 for y in inputs]
    return [norm / norms[-1] for norm in norms[:-1]]


def _remove_normalisation(blocks: nn.Module) -> None:
    for module in list(blocks.modules()):
        for name, child in module.named_children():
            if isinstance(child, TdBatchNorm):
                setattr(module, name, nn.Identity())


def figure(curves: Mapping[str, Sequence[float]]) -> str:
    """
    Draw norms over depth as SVG, on a logarithmic axis.

    :param curves: label and norms, first block first.
    """
    width, height, left, top, bottom = 640, 300, 60, 20, 45
    exponents = [_exponent(value) for curve in curves.values() for value in curve]
    low, high = math.floor(min(exponents)), math.ceil(max(exponents))
    depth = max(len(curve) for curve in curves.values())

    def x(block: int) -> float:
        return left + (width - left - 20) * block / max(depth - 1, 1)

    def y(exponent: float) -> float:
        return top + (height - top - bottom) * (high - exponent) / max(high - low, 1)

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" '
        'font-family="sans-serif" font-size="12">',
        f'<rect width="{width}" height="{height}" fill="white"/>']
    step = max((high - low) // 6, 1)
    for exponent in range(low, high + 1, step):
        parts.append(
            f'<path d="M{left} {y(exponent):.1f}H{width - 20}" stroke="#ddd"/>'
            f'<text x="{left - 8}" y="{y(exponent) + 4:.1f}" text-anchor="end">1e{exponent}</text>')
    for block in range(0, depth, 4):
        parts.append(
            f'<text x="{x(block):.1f}" y="{height - bottom + 18}" text-anchor="middle">'
            f'{block + 1}</text>')
    parts.append(f'<text x="{width / 2}" y="{height - 8}" text-anchor="middle">block, from the '
                 'input; norm of the gradient there, relative to the output</text>')
    for number, (label, curve) in enumerate(curves.items()):
        colour = ('#1666b0', '#c2410c', '#4d7c0f')[number % 3]
        points = ' '.join(f'{x(k):.1f},{y(_exponent(v)):.1f}' for k, v in enumerate(curve))
        parts.append(
            f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="2"/>'
            f'<text x="{left + 10}" y="{top + 14 + 16 * number}" fill="{colour}">{label}</text>')
    return '\n'.join([*parts, '</svg>', ''])


def _exponent(value: float) -> float:
    return math.log10(max(value, SMALLEST))


def main() -> None:
    """Draw the figure, and print the norms at the first block."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument('file', type=Path, help='SVG to write')
    parser.add_argument('--depth', type=int, default=24, help='residual blocks')
    args = parser.parse_args()
    curves = {
        'tdBN': gradient_norms(args.depth, normalised=True),
        'no normalisation, weights doubled': gradient_norms(
            args.depth, normalised=False, gain=2.0),
        'no normalisation, weights halved': gradient_norms(
            args.depth, normalised=False, gain=0.5)}
    for label, curve in curves.items():
        print(f'{label}: {curve[0]:.3g} after {args.depth} blocks')
    plain = gradient_norms(args.depth, normalised=True, norm_identity=False)
    print(f'tdBN, shortcuts left alone: {plain[0]:.3g} after {args.depth} blocks')
    replace_file(args.file, lambda path: path.write_text(figure(curves)))


if __name__ == '__main__':
    main()
