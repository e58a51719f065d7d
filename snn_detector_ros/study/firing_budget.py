# SPDX-License-Identifier: Apache-2.0
"""The trade of spikes for accuracy that fine-tuning with a firing penalty makes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from snn_detector_ros.errors import ConfigurationError
from snn_detector_ros.evaluation.comparison import compare
from snn_detector_ros.evaluation.contestants import from_file, unique
from snn_detector_ros.evaluation.markdown import Cell, millions, percent
from snn_detector_ros.evaluation.plots import Line, line_plot
from snn_detector_ros.study.bench import Bench
from snn_detector_ros.study.section import Plot, Section, Table


def firing_budget(bench: Bench, models: Sequence[Path]) -> Section:
    """
    Compare networks that were fine-tuned with growing firing penalties.

    :param models: spiking networks, the one without penalty first.
    :raises ConfigurationError: if one of them is a float network.
    """
    contestants = unique([from_file(path, threads=bench.threads) for path in models])
    for path, one in zip(models, contestants, strict=True):
        if one.network is None:
            raise ConfigurationError(f'--budget {path} is a float network: convert it first')
    outcomes = compare(
        contestants, bench.dataset, classes=bench.classes, progress=bench.progress).outcomes
    costs = [cost for one in outcomes if (cost := one.cost) is not None]
    first = costs[0]
    rows: list[Sequence[Cell]] = [
        (one.name, percent(one.result.map50), percent(one.result.map),
         f'{one.firing_rate:.4f}', millions(cost.spikes), millions(cost.synaptic_operations),
         f'{cost.energy_joules / first.energy_joules:.2f}')
        for one, cost in zip(outcomes, costs, strict=True)]
    line = Line([cost.spikes / 1e6 for cost in costs],
                [100 * one.result.map50 for one in outcomes])
    title = 'Accuracy against spikes'
    return Section(
        'Firing budget',
        'Networks fine-tuned with a penalty on the mean level of their neurons '
        '(`snn-detector train --firing-penalty`), the first without. Energy is estimated as in '
        '`snn-detector eval --compare`.',
        (Table(('network', 'mAP50', 'mAP50-95', 'spikes / neuron / step', 'million spikes',
                'million synaptic operations', 'energy / first'), rows),),
        (Plot('firing_budget', title, lambda path: line_plot(
            path, {'fine-tuned': line}, title=title, x_label='million spikes a frame',
            y_label='mAP50, %')),))
