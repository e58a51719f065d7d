# SPDX-License-Identifier: Apache-2.0
"""The plots of a comparison."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from snn_detector_ros.evaluation.coco import RECALLS
from snn_detector_ros.evaluation.comparison import Comparison, Outcome
from snn_detector_ros.evaluation.float_twins import TwinErrors
from snn_detector_ros.evaluation.plots import (
    Line,
    Style,
    bar_plot,
    curve_grid,
    layer_plot,
    line_plot,
    styles,
)

ACCURACY, PRECISION = 'accuracy_over_steps.png', 'precision_recall.png'
FIRING, COST, ERRORS = 'firing_by_layer.png', 'cost.png', 'error_by_layer.png'


def draw_plots(folder: Path, comparison: Comparison, errors: Mapping[str, TwinErrors]) -> None:
    """
    Draw all plots into a folder; those of spikes only if there are spiking networks.

    :param errors: errors by layer of spiking contestants, by name.
    """
    style = styles([one.name for one in comparison.outcomes],
                   [one.name for one in comparison.outcomes if one.contestant.network is None])
    _precision_recall(folder / PRECISION, comparison, style)
    if not comparison.spiking:
        return
    _accuracy(folder / ACCURACY, comparison)
    _cost(folder / COST, comparison, style)
    firing = {one.name: one.firing.rate_by_layer
              for one in comparison.spiking if one.firing is not None}
    layer_plot(folder / FIRING, firing, title='Firing rate by layer',
               y_label='spikes per neuron and time step', log_y=True, style=style)
    if errors:
        layer_plot(
            folder / ERRORS,
            {name: {layer.name: layer.relative for layer in one.layers}
             for name, one in errors.items()},
            title='Difference of spikes and float activations by layer',
            y_label='mean |error| / mean |activation|', log_y=True, style=style)


def families(outcomes: tuple[Outcome, ...]) -> dict[str, list[Outcome]]:
    """Group spiking outcomes by family, each in the order of its time steps."""
    groups: dict[str, list[Outcome]] = {}
    for one in outcomes:
        groups.setdefault(one.contestant.family, []).append(one)
    return {name: sorted(group, key=_steps) for name, group in groups.items()}


def _steps(outcome: Outcome) -> int:
    network = outcome.contestant.network
    return network.code.steps if network is not None else 0


def _accuracy(path: Path, comparison: Comparison) -> None:
    lines = {
        name: Line([_steps(one) for one in group], [100 * one.result.map50 for one in group])
        for name, group in families(comparison.spiking).items()}
    floats = {one.name: 100 * one.result.map50 for one in comparison.outcomes
              if one.contestant.network is None}
    line_plot(path, lines, title='Accuracy against time steps', x_label='time steps T',
              y_label='mAP50, %', levels=floats, log_x=True)


def _precision_recall(path: Path, comparison: Comparison, style: Mapping[str, Style]) -> None:
    curves: dict[str, dict[str, Line]] = {}
    for one in comparison.outcomes:
        for found in one.result.classes:
            title = f'{found.name} ({found.objects})'
            curves.setdefault(title, {})[one.name] = Line(RECALLS.tolist(), found.precisions)
    curve_grid(path, curves, title='Precision over recall at an overlap of 0.5 (objects)',
               x_label='recall', y_label='precision', style=style)


def _cost(path: Path, comparison: Comparison, style: Mapping[str, Style]) -> None:
    costs = {one.name: one.cost for one in comparison.outcomes if one.cost is not None}
    spiking = {one.name for one in comparison.spiking}
    bar_plot(path, {
        'spikes, millions': {
            name: cost.spikes / 1e6 for name, cost in costs.items() if name in spiking},
        'synaptic operations, millions': {
            name: cost.synaptic_operations / 1e6 for name, cost in costs.items()
            if name in spiking},
        'estimated energy, mJ': {
            name: cost.energy_joules * 1e3 for name, cost in costs.items()},
    }, title='What a frame costs', style=style)
