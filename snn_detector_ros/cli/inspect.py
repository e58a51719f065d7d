# SPDX-License-Identifier: Apache-2.0
"""
Print the layers of a spiking network.

Firing rates are those of the calibration pictures, or of pictures that are given.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

from snn_detector_ros.cli.firing_rates import measure
from snn_detector_ros.cli.float_network_options import describe_head
from snn_detector_ros.datasets.image_folder import list_images
from snn_detector_ros.engines.statistics import FiringStatistics, mean_firing
from snn_detector_ros.network import Convolution, Lif, LifNetwork, Synapses
from snn_detector_ros.network.model_file import AnyNetwork, load


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of ``snn-detector inspect``."""
    parser.add_argument('model', type=Path, help='a spiking network (ONNX)')
    parser.add_argument('--images', type=Path, metavar='DIR',
                        help='measure firing rates on these instead')
    parser.add_argument('--limit', type=int, default=20, metavar='N',
                        help='use at most N pictures (default: %(default)s)')


def run(options: argparse.Namespace) -> int:
    """Print the table."""
    network = load(options.model)
    pictures = list_images(options.images)[:options.limit] if options.images else []
    frames = measure(network, pictures)
    for line in report(network, frames):
        print(line)
    return 0


def report(network: AnyNetwork, frames: list[FiringStatistics]) -> Iterator[str]:
    """
    Yield the lines of the report.

    :param frames: firing statistics of some pictures; may be empty.
    """
    height, width = network.input_size
    yield (f'{network.name}: {_neurons(network)}, input {height}x{width}, '
           f'{len(network.class_names)} classes: {", ".join(network.class_names)}')
    for key, value in network.provenance.items():
        yield f'  {key}: {value}'
    yield from describe_head(network)
    shapes = network.shapes()
    firing_layers = {layer.name for layer in network.firing_layers}
    firing = mean_firing(frames) if frames else None
    rates = firing.rate_by_layer if firing else network.firing_rates
    yield (f'{"layer":28} {"operation":14} {"output":>12} {"step min":>9} {"step max":>9} '
           f'{"theta":>11} {"spikes/neuron/step":>19}')
    for layer in network.layers:
        steps = thresholds = ''
        operation = type(layer).__name__.lower()
        if isinstance(layer, (Convolution, Synapses)):
            operation = f'conv {layer.weight.shape[2]}x{layer.weight.shape[3]}/{layer.stride[0]}'
            if layer.name in network.outputs and layer.name not in firing_layers:
                operation += ' readout'
        if isinstance(layer, Convolution):
            steps = f'{layer.step.min():9.3g} {layer.step.max():9.3g}'
            if layer.threshold is not None:
                thresholds = f'{layer.threshold.min()}-{layer.threshold.max()}'
        elif isinstance(layer, Lif):
            thresholds = f'{layer.threshold:g}'
        shape = 'x'.join(str(side) for side in shapes[layer.name])
        rate = f'{rates[layer.name]:.4f}' if layer.name in rates else ''
        yield f'{layer.name:28} {operation:14} {shape:>12} {steps:19} {thresholds:>11} {rate:>19}'
    if firing:
        yield (f'mean of {len(frames)} pictures: {firing.rate:.4f} spikes/neuron/step, '
               f'{firing.spikes / 1e6:.2f} M spikes, '
               f'{firing.synaptic_operations / 1e6:.0f} M synaptic operations, estimated '
               f'{firing.energy_joules * 1e3:.2f} mJ '
               f'(float network {firing.ann_energy_joules * 1e3:.2f} mJ)')


def _neurons(network: AnyNetwork) -> str:
    """Describe what all neurons have in common."""
    if isinstance(network, LifNetwork):
        return f'LIF neurons, T={network.steps}, {network.coding} input'
    return (f'{network.code} (Q = {network.code.max_level}), {network.dynamics} dynamics, initial '
            f'membrane {network.initial_membrane}')
