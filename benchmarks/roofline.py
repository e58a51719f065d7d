# SPDX-License-Identifier: Apache-2.0
"""
What a GPU could reach at best, layer by layer: ``python -m benchmarks.roofline --gpu orin``.

A model on paper, nothing measured: a launch takes as long as its operations at the peak rate of
int8 tensor cores, or as its bytes at the peak bandwidth, whichever is longer. Real kernels reach a
part of that, and small ones hardly any.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from snn_detector_ros.engines.gpu.plan import Launch, Plan
from snn_detector_ros.engines.gpu.planner import make_plan
from snn_detector_ros.engines.picture import Fit
from snn_detector_ros.network.model_file import load_converted
from snn_detector_ros.resources import DEFAULT_MODEL, resource


@dataclass(frozen=True)
class Work:
    """
    What there is to do.

    :param products: multiply-accumulates, as kernels do them.
    :param traffic: bytes read and written, if each is moved once.
    """

    products: int
    traffic: int

    @classmethod
    def of(cls, launches: Sequence[Launch]) -> Work:
        """Return what launches do together."""
        return cls(sum(launch.products for launch in launches),
                   sum(launch.traffic for launch in launches))

    def tops(self, ms: float) -> float:
        """Return 10^12 operations a second, two for each product, if it takes so long."""
        return 2 * self.products / ms * 1e-9

    def gbs(self, ms: float) -> float:
        """Return 10^9 bytes a second, if it takes so long."""
        return self.traffic / ms * 1e-6


@dataclass(frozen=True)
class Gpu:
    """
    Peaks of a GPU, from NVIDIA's data sheets, dense (half the figure "with sparsity").

    :param tops: int8 operations a second, in 10^12; a multiply-accumulate is two; infinite if
        unknown.
    :param bandwidth: of memory, in 10^9 bytes a second.
    """

    name: str
    tops: float
    bandwidth: float

    def seconds(self, work: Work | Launch) -> tuple[float, float]:
        """Return the least time for operations, and for bytes."""
        return 2 * work.products / (self.tops * 1e12), work.traffic / (self.bandwidth * 1e9)


GPUS = {
    'orin': Gpu('Jetson AGX Orin 64 GB', 85, 204.8),
    'orin-nano': Gpu('Jetson Orin Nano 8 GB', 20, 68),
    'h100': Gpu('H100 SXM', 1979, 3350)}


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description='Least time of each launch on a GPU, on paper.')
    parser.add_argument('--model', type=Path, default=resource(DEFAULT_MODEL))
    parser.add_argument('--gpu', choices=GPUS, nargs='+', default=['orin', 'h100'])
    parser.add_argument('--size', type=int, default=320, help='side of the input, px')
    parser.add_argument('--source', type=int, nargs=2, default=(720, 1280),
                        metavar=('HEIGHT', 'WIDTH'), help='of the picture of the camera, px')
    args = parser.parse_args(arguments)
    network = load_converted(args.model)
    height, width = args.source
    ratio = args.size / max(height, width)
    fit = Fit((height, width), (round(height * ratio), round(width * ratio)))
    plan = make_plan(network, (args.size, args.size), fit)
    print(table(plan, [GPUS[name] for name in args.gpu]))


def table(plan: Plan, gpus: Sequence[Gpu]) -> str:
    """Return the least times of all launches in us, Markdown; ``B`` where bytes decide."""
    lines = [
        '| layers | blocks | 10^6 products | kB | ' + ' | '.join(
            f'{gpu.name}, us' for gpu in gpus) + ' |',
        '|---|---|---|---|' + '---|' * len(gpus)]
    totals = [0.0] * len(gpus)
    for launch in plan.launches:
        times = []
        for index, gpu in enumerate(gpus):
            operations, moved = gpu.seconds(launch)
            totals[index] += max(operations, moved)
            times.append(f'{max(operations, moved) * 1e6:.2f}{" B" if moved > operations else ""}')
        lines.append(
            f'| {" + ".join(launch.layers)} | {launch.grid[0] * launch.grid[1]} | '
            f'{launch.products / 1e6:.1f} | {launch.traffic / 1e3:.0f} | {" | ".join(times)} |')
    work = Work.of(plan.launches)
    lines.append(
        f'| **{len(plan.launches)} launches** | | {work.products / 1e6:.0f} | '
        f'{work.traffic / 1e3:.0f} | '
        + ' | '.join(f'{total * 1e6:.0f}' for total in totals) + ' |')
    return '\n'.join(lines)


if __name__ == '__main__':
    main()
