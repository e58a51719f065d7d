# SPDX-License-Identifier: Apache-2.0
"""The tables at the end of a demo, from what its recorder wrote."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from snn_detector_ros.cli.run_tables import PERCENTILES, firing_table, latency_table

_RATE_OF = 'firing rate of '


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
                f'{values.get("engine", "?")} ({values.get("engine reason", "?")}), input '
                f'{values.get("input size (height x width)")}')

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
