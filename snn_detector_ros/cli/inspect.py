# SPDX-License-Identifier: Apache-2.0
"""
Print the layers of a spiking network.

Firing rates are those of the calibration pictures, or of pictures or windows of events that are
given.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

from snn_detector_ros.cli import event_data
from snn_detector_ros.cli.firing_rates import measure
from snn_detector_ros.cli.float_network_options import describe_head
from snn_detector_ros.datasets.image_folder import list_images
from snn_detector_ros.engines.statistics import (
    ENERGY_PER_AC,
    ENERGY_PER_MAC,
    FiringStatistics,
    mean_firing,
)
from snn_detector_ros.errors import ConfigurationError
from snn_detector_ros.evaluation.event_runner import look_at_events
from snn_detector_ros.network import Convolution, Lif, LifNetwork, Synapses
from snn_detector_ros.network.model_file import AnyNetwork, load


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of ``snn-detector inspect``."""
    parser.add_argument('model', type=Path, help='a spiking network (ONNX)')
    parser.add_argument('--images', type=Path, metavar='DIR',
                        help='measure firing rates on these instead')
    parser.add_argument('--data', type=Path, metavar='PATH',
                        help='measure them on windows of events: a folder of them, or labelled '
                             'pictures with --simulate-events')
    parser.add_argument('--split', help='of --data with --simulate-events (default: as in eval)')
    parser.add_argument('--limit', type=int, default=20, metavar='N',
                        help='use at most N pictures or windows (default: %(default)s)')
    event_data.add_arguments(parser)


def run(options: argparse.Namespace) -> int:
    """
    Print the table.

    :raises SnnDetectorError: if the model, the data or an option cannot be used.
    """
    network = load(options.model)
    if options.data is None and not options.simulate_events:
        pictures = list_images(options.images)[:options.limit] if options.images else []
        frames, unit = measure(network, pictures), 'pictures'
    else:
        frames, unit = _measure_windows(options), 'windows'
    for line in report(network, frames, unit=unit):
        print(line)
    return 0


def _measure_windows(options: argparse.Namespace) -> list[FiringStatistics]:
    """Return the firing statistics of each window of events."""
    if options.data is None or options.images is not None or not event_data.are_windows(options):
        raise ConfigurationError(
            f'--data {options.data}, --images {options.images}: for pictures give --images only, '
            'for windows of events --data only: a folder that holds `events`, or labelled pictures '
            'with --simulate-events')
    detector = event_data.open_detector(options.model)
    _, samples = event_data.read(options, detector, split=options.split)
    return look_at_events(detector, samples)[1]


def report(
    network: AnyNetwork, frames: list[FiringStatistics], *, unit: str = 'pictures',
) -> Iterator[str]:
    """
    Yield the lines of the report.

    :param frames: firing statistics of some pictures or windows; may be empty.
    :param unit: what they are of.
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
        yield firing_summary(firing, len(frames), unit=unit)


def firing_summary(firing: FiringStatistics, count: int, *, unit: str) -> str:
    """
    Return one line about what a network fires, and what that costs.

    :param firing: of the mean frame.
    :param count: frames; ``unit`` is what they are.
    """
    energy, twin = firing.energy_joules, firing.ann_energy_joules
    return (f'mean of {count} {unit}: {firing.rate:.4f} spikes/neuron/step, '
            f'{firing.spikes / 1e6:.3g} M spikes, '
            f'{firing.synaptic_operations / 1e6:.3g} M synaptic operations, estimated '
            f'{energy * 1e3:.3g} mJ; float network {twin * 1e3:.3g} mJ, ratio {energy / twin:.3f} '
            f'({ENERGY_PER_MAC * 1e12:g} pJ a multiply-accumulate, {ENERGY_PER_AC * 1e12:g} pJ '
            'an accumulate)')


def _neurons(network: AnyNetwork) -> str:
    """Describe what all neurons have in common."""
    if isinstance(network, LifNetwork):
        return f'LIF neurons, T={network.steps}, {network.coding} input'
    return (f'{network.code} (Q = {network.code.max_level}), {network.dynamics} dynamics, initial '
            f'membrane {network.initial_membrane}')
