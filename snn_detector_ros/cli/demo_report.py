# SPDX-License-Identifier: Apache-2.0
"""Tables of a run, for people: latency by stage, rates, drops, firing and energy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

PERCENTILES = ('p50', 'p95', 'p99', 'max')
#: Layers with the highest rates that are listed by name.
TOP_LAYERS = 5

_RATE_OF = 'firing rate of '
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


class RunReport:
    """
    The tables of a demo run.

    :param run: what the recorder wrote.
    """

    def __init__(self, run: Mapping[str, Any]) -> None:
        self._run = run

    def text(self) -> str:
        """Return all tables."""
        parts = [self._model(), self._frames(), self._latency(), self._firing(), self._problems()]
        return '\n\n'.join(part for part in parts if part)

    def _model(self) -> str:
        values = self._last('model')
        return (f'{values.get("model", "?")} ({values.get("spike code", "?")}), engine '
                f'{values.get("engine", "?")}, input {values.get("input size (height x width)")}')

    def _frames(self) -> str:
        run, values = self._run, self._last('input')
        seconds = max(run['seconds'], 1e-3)
        found = ', '.join(f'{times} {name}' for name, times in run['objects'].items()) or 'none'
        reasons = {
            'replaced by a newer image': values.get('dropped: replaced by a newer image', '0'),
            'lost in transport': values.get('lost in transport', '0'),
            'older than max_age': values.get('dropped: older than max_age', '0')}
        drops = ', '.join(f'{count} {reason}' for reason, count in reasons.items() if count != '0')
        return '\n'.join((
            f'images         {values.get("received", "?")} received by the node in '
            f'{seconds:.1f} s ({run["images"] / seconds:.1f} Hz sent)',
            f'processed      {values.get("processed", "?")} '
            f'({run["detected"] / seconds:.1f} Hz)',
            f'dropped        {drops or "none"}',
            f'boxes          {found}, in {run["frames_with_objects"]} of {run["detected"]} frames'))

    def _latency(self) -> str:
        values = self._last('latency')
        stages = [key.removesuffix(' p50 (ms)') for key in values if key.endswith(' p50 (ms)')]
        rows: dict[str, Sequence[float]] = {
            stage: [float(values[f'{stage} {name} (ms)']) for name in PERCENTILES]
            for stage in stages}
        if self._run['age_ms']:
            rows['subscriber'] = self._run['age_ms']
        return latency_table(rows) if rows else ''

    def _firing(self) -> str:
        reports = [report['values'] for report in self._run['reports']
                   if report['subject'] == 'spikes' and 'frames' in report['values']]
        if not reports:
            return ''
        weights = [float(values['frames']) for values in reports]

        def mean(key: str) -> float:
            return float(np.average([float(values[key]) for values in reports], weights=weights))

        return firing_table(
            {key.removeprefix(_RATE_OF): mean(key) for key in reports[0]
             if key.startswith(_RATE_OF)},
            mean=mean('firing rate (spikes/neuron/step)'), spikes=mean('spikes per frame'),
            operations=mean('synaptic operations per frame'),
            energy=mean('estimated energy (mJ/frame)'),
            float_energy=mean('estimated energy of the float network (mJ/frame)'))

    def _problems(self) -> str:
        problems = {report['message'] for report in self._run['reports'] if report['level']}
        return '\n'.join(f'the node says: {problem}' for problem in sorted(problems))

    def _last(self, subject: str) -> dict[str, str]:
        values = [report['values'] for report in self._run['reports']
                  if report['subject'] == subject]
        return values[-1] if values else {}
