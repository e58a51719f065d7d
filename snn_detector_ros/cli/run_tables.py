# SPDX-License-Identifier: Apache-2.0
"""Tables of a run, for people: latency by stage, firing by layer, energy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

PERCENTILES = ('p50', 'p95', 'p99', 'max')
#: Layers with the highest rates that are listed by name.
TOP_LAYERS = 5

_LATENCY_NOTES = {
    'transport': 'handed to the middleware -> received',
    'wait': 'received -> taken by the worker',
    'convert': 'taken -> pixels',
    'preprocess': 'pixels -> letterboxed input',
    'inference': 'input -> membranes, all time steps',
    'postprocess': 'membranes -> boxes',
    'publish': 'boxes -> handed to the middleware',
    'compute': 'taken -> published',
    'age': 'stamp of the image -> published',
    'subscriber': 'stamp of the image -> detections received by a subscriber',
}


def latency_table(rows: Mapping[str, Sequence[float]]) -> str:
    """
    Return a table of percentiles.

    :param rows: p50, p95, p99 and maximum of each stage, ms.
    """
    lines = [f'{"latency, ms":14}' + ''.join(f'{name:>9}' for name in PERCENTILES)]
    for name, values in rows.items():
        note = _LATENCY_NOTES.get(name, '')
        lines.append(
            f'  {name:12}' + ''.join(f'{value:9.2f}' for value in values) + f'   {note}'.rstrip())
    return '\n'.join(lines)


def firing_table(
    rates: Mapping[str, float], *, mean: float, spikes: float, operations: float,
    energy: float, float_energy: float,
) -> str:
    """
    Return the firing of a network in a few lines.

    :param rates: spikes per neuron and time step of each layer.
    :param mean: the same, of the whole network.
    :param spikes: spikes of a frame.
    :param operations: synaptic operations of a frame.
    :param energy: estimated energy of a frame, mJ.
    :param float_energy: the same of the float network of this shape, mJ.
    """
    busiest = sorted(rates.items(), key=lambda item: item[1], reverse=True)
    lines = [
        f'firing rate    {mean:.4f} spikes per neuron and time step, '
        f'{spikes / 1e3:.0f} thousand spikes a frame, {len(rates)} layers',
        *(f'  {name:38} {rate:.4f}' for name, rate in busiest[:TOP_LAYERS])]
    if len(busiest) > TOP_LAYERS:
        rest = [rate for _, rate in busiest[TOP_LAYERS:]]
        lines.append(f'  {f"the other {len(rest)}":38} {np.mean(rest):.4f} in the mean, '
                     f'{min(rest):.4f} at least')
    lines.append(
        f'energy         {energy:.3f} mJ a frame estimated for spiking hardware '
        f'({operations / 1e6:.0f} M synaptic operations); float network {float_energy:.3f} mJ')
    return '\n'.join(lines)
