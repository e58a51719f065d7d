# SPDX-License-Identifier: Apache-2.0
"""The sections of the report on a comparison, as Markdown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import fmean

import numpy as np
from numpy.typing import NDArray

from snn_detector_ros.engines.statistics import ENERGY_PER_AC, ENERGY_PER_MAC
from snn_detector_ros.evaluation.comparison import Comparison, Outcome
from snn_detector_ros.evaluation.disagreements import SHOWN_SCORE
from snn_detector_ros.evaluation.float_twins import TwinErrors
from snn_detector_ros.evaluation.layer_errors import LayerError
from snn_detector_ros.evaluation.markdown import Cell, figure, millions, percent, table

#: Layers with the largest errors that are listed by name.
WORST_LAYERS = 5


def accuracy_table(comparison: Comparison) -> str:
    """Return mAP and AP50 of each class, in percent, and what is lost to the reference."""
    reference = comparison.reference
    classes = [f'{one.name} AP50' for one in reference.result.classes]
    rows: list[list[Cell]] = []
    for one in comparison.outcomes:
        network = one.contestant.network
        lost = 100 * (one.result.map50 - reference.result.map50)
        rows.append([
            one.name, 'float' if network is None else str(network.code),
            None if network is None else network.code.max_level,
            percent(one.result.map50), percent(one.result.map),
            None if one is reference else f'{lost:+.1f}',
            *(percent(found.ap50) for found in one.result.classes)])
    return table(['detector', 'code', 'levels Q', 'mAP50', 'mAP50-95', 'mAP50 - reference',
                  *classes], rows)


def cost_table(comparison: Comparison) -> str:
    """Return spikes, operations and estimated energy of the mean frame."""
    base = comparison.reference.cost
    rows: list[list[Cell]] = []
    for one in comparison.outcomes:
        cost = one.cost
        if cost is None:
            continue
        spiking = one.contestant.network is not None
        share = cost.energy_joules / base.energy_joules if base else None
        rows.append([
            one.name, f'{one.firing_rate:.4f}' if spiking else None,
            millions(cost.spikes) if spiking else None,
            millions(cost.equation_23) if spiking else None,
            millions(cost.synaptic_operations) if spiking else None,
            millions(cost.multiply_accumulates), f'{cost.energy_joules * 1e3:.3g}',
            None if share is None else f'{share:.3g}'])
    return table(['detector', 'spikes / neuron / step', 'spikes, M', 'SUHD eq. 23, M',
                  'synaptic operations, M', 'multiply-accumulates, M', 'energy, mJ',
                  'energy / reference'], rows)


def cost_notes() -> str:
    """Return what the columns of the costs mean, with the constants."""
    return (
        'Means over the pictures. A burst of k spikes counts k. *Energy is an estimate* for '
        f'spiking hardware in 45 nm: {ENERGY_PER_MAC * 1e12:g} pJ a multiply-accumulate, '
        f'{ENERGY_PER_AC * 1e12:g} pJ an accumulate (Horowitz, ISSCC 2014); it says nothing about '
        'the processor that ran this. Synaptic operations are spikes times the synapses each '
        'reaches. SUHD eq. 23 is the literal count of arXiv 2306.12010: spikes plus the values of '
        'the input picture, without fan-out. Multiply-accumulates of a spiking network are those '
        'of the layers that read the picture.')


def error_table(errors: Mapping[str, TwinErrors]) -> str:
    """Return the mean relative error of firing layers and readouts, and the worst layers."""
    rows: list[list[Cell]] = []
    for name, one in errors.items():
        firing = [layer for layer in one.layers if not layer.readout]
        readouts = [layer for layer in one.layers if layer.readout]
        worst = sorted(one.layers, key=lambda layer: layer.relative, reverse=True)[:WORST_LAYERS]
        rows.append([
            name, one.twin, _mean_error(firing), _mean_error(readouts),
            percent(max((layer.saturated for layer in firing), default=0.0), 2),
            ', '.join(f'{layer.name} {layer.relative:.3f}' for layer in worst)])
    return table(['detector', 'measured against', 'firing layers', 'readouts',
                  'most neurons at Q, %', 'worst layers'], rows)


def layer_table(errors: Mapping[str, TwinErrors]) -> str:
    """Return the relative error of every layer, folded; a column for each detector."""
    layers = list(dict.fromkeys(
        layer.name for one in errors.values() for layer in one.layers))
    columns = [{layer.name: f'{layer.relative:.3f}' for layer in one.layers}
               for one in errors.values()]
    rows: list[list[Cell]] = [
        [layer, *(column.get(layer) for column in columns)] for layer in layers]
    return ('<details><summary>Relative error of every layer</summary>\n\n'
            + table(['layer', *errors], rows) + '\n\n</details>')


def disagreement_table(
    comparison: Comparison, values: Mapping[str, NDArray[np.float64]],
) -> str:
    """Return how far each detector is from the reference over all pictures."""
    rows: list[list[Cell]] = [
        [name, f'{found.mean():.3f}', f'{np.median(found):.3f}', f'{found.max():.3f}',
         percent(float((found < SHOWN_SCORE).mean()), 0)]
        for name, found in values.items()]
    return table([f'detector, against {comparison.reference.name}', 'mean', 'median', 'largest',
                  f'pictures below {SHOWN_SCORE:g}, %'], rows)


def disagreement_notes() -> str:
    """Return what the measure of disagreement is, and how to read the pictures."""
    return (
        'Boxes of two detectors are paired by class and overlap (at least 0.5). The disagreement '
        'about a picture is the sum of the differences of paired scores; a box without a partner '
        f'has one of score 0. Pairs of which neither score reaches {SHOWN_SCORE:g} do not count. '
        'In the pictures, green boxes are shown by both detectors, red ones by one only; labels '
        'are blue, ignored ones grey and in brackets.')


def pictures(shown: Mapping[str, Sequence[tuple[str, str, float]]]) -> str:
    """
    Return the pictures of the worst disagreements.

    :param shown: title, path and disagreement of each picture, by detector.
    """
    parts = []
    for name, entries in shown.items():
        parts.append(f'### {name}')
        parts += [f'{title}: {value:.2f}\n\n{figure(title, path)}'
                  for title, path, value in entries]
        if not entries:
            parts.append('It agrees with the reference in every picture.')
    return '\n\n'.join(parts)


def data_line(comparison: Comparison, described: str) -> str:
    """Return one sentence on the data."""
    found = comparison.reference.result
    objects = ', '.join(f'{one.objects} {one.name}' for one in found.classes)
    return (f'{found.images} pictures of {described}, labelled objects: {objects}. '
            f'Reference: {comparison.reference.name}.')


def summary_line(outcome: Outcome) -> str:
    """Return the accuracy of one detector, for the terminal."""
    return (f'{outcome.name:32} mAP50 {percent(outcome.result.map50):>5}  '
            f'mAP50-95 {percent(outcome.result.map):>5}'
            + (f'  {outcome.cost.energy_joules * 1e3:8.3g} mJ (estimate)'
               if outcome.cost else ''))


def _mean_error(layers: Sequence[LayerError]) -> str | None:
    return f'{fmean(layer.relative for layer in layers):.4f}' if layers else None
