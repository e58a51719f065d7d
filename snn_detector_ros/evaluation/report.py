# SPDX-License-Identifier: Apache-2.0
"""Write a comparison to a folder: Markdown, JSON, plots and pictures."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from snn_detector_ros.datasets.image_folder import read_bgr
from snn_detector_ros.errors import ConfigurationError
from snn_detector_ros.evaluation import comparison_text as text
from snn_detector_ros.evaluation.coco import RECALLS
from snn_detector_ros.evaluation.comparison import Comparison, Outcome
from snn_detector_ros.evaluation.comparison_plots import (
    ACCURACY,
    COST,
    ERRORS,
    FIRING,
    PRECISION,
    draw_plots,
)
from snn_detector_ros.evaluation.disagreements import disagreements, worst
from snn_detector_ros.evaluation.float_twins import TwinErrors
from snn_detector_ros.evaluation.markdown import figure
from snn_detector_ros.evaluation.panels import side_by_side

REPORT, FIGURES, PLOTS, PICTURES = 'report.md', 'report.json', 'plots', 'disagreements'


def write_report(
    folder: Path,
    comparison: Comparison,
    errors: Mapping[str, TwinErrors],
    *,
    data: str,
    pictures: int = 3,
) -> Path:
    """
    Write a report.

    :param folder: made if absent; files of an earlier report are replaced.
    :param errors: errors by layer of spiking contestants, by name; may be empty.
    :param data: what the pictures are, for the reader.
    :param pictures: how many of the worst disagreements with the reference are drawn for each
        spiking network.
    :returns: the Markdown file.
    :raises ConfigurationError: if the folder cannot be written.
    :raises MissingDependencyError: if matplotlib is not installed.
    """
    make_folder(folder)
    draw_plots(folder / PLOTS, comparison, errors)
    reference = comparison.reference
    differences = {
        one.name: disagreements(reference.found, one.found)
        for one in comparison.spiking if one is not reference}
    shown = {
        one.name: _draw_worst(folder, comparison, one, differences[one.name], pictures)
        for one in comparison.spiking if one is not reference}
    file = folder / REPORT
    file.write_text(_document(comparison, errors, differences, shown, data), encoding='utf-8')
    figures = _figures(comparison, errors, differences, data)
    (folder / FIGURES).write_text(json.dumps(figures, indent=1) + '\n', encoding='utf-8')
    return file


def make_folder(folder: Path) -> None:
    """
    Make the folder of a report, so that a long evaluation does not end in an error.

    :raises ConfigurationError: if it cannot be made.
    """
    try:
        for part in (PLOTS, PICTURES):
            (folder / part).mkdir(parents=True, exist_ok=True)
            for old in (folder / part).glob('*.[jp][pn]g'):
                old.unlink()
    except OSError as error:
        raise ConfigurationError(f'{folder} cannot be written: {error.strerror}; choose another '
                                 'folder with --output') from error


def _document(
    comparison: Comparison, errors: Mapping[str, TwinErrors],
    differences: Mapping[str, NDArray[np.float64]],
    shown: Mapping[str, list[tuple[str, str, float]]], data: str,
) -> str:
    parts = [
        '# Comparison of detectors', text.data_line(comparison, data),
        '## Accuracy', 'In percent.', text.accuracy_table(comparison)]
    if comparison.spiking:
        parts.append(figure('Accuracy against time steps', f'{PLOTS}/{ACCURACY}'))
    parts.append(figure('Precision over recall', f'{PLOTS}/{PRECISION}'))
    if comparison.spiking:
        parts += [
            '## Spikes and energy', text.cost_table(comparison), text.cost_notes(),
            figure('What a frame costs', f'{PLOTS}/{COST}'),
            figure('Firing rate by layer', f'{PLOTS}/{FIRING}')]
    if errors:
        parts += [
            '## Error by layer',
            'Mean |level * step - activation| of a layer as a share of its mean |activation|; '
            'readouts by their membranes.',
            text.error_table(errors), figure('Error by layer', f'{PLOTS}/{ERRORS}'),
            text.layer_table(errors)]
    if differences:
        parts += [
            '## Disagreements', text.disagreement_notes(),
            text.disagreement_table(comparison, differences), text.pictures(shown)]
    return '\n\n'.join(parts) + '\n'


def _draw_worst(
    folder: Path, comparison: Comparison, outcome: Outcome, values: NDArray[np.float64],
    count: int,
) -> list[tuple[str, str, float]]:
    """Draw the pictures on which a contestant is farthest from the reference."""
    reference = comparison.reference
    entries = []
    for rank, index in enumerate(worst(values, count), start=1):
        source = comparison.dataset[index].path
        path = f'{PICTURES}/{_file_name(outcome.name)}_{rank}.jpg'
        panel = side_by_side(
            read_bgr(source), reference.found[index], outcome.found[index],
            comparison.truths[index], (reference.name, outcome.name))
        cv2.imwrite(str(folder / path), panel, [cv2.IMWRITE_JPEG_QUALITY, 88])
        entries.append((source.name, path, float(values[index])))
    return entries


def _figures(
    comparison: Comparison, errors: Mapping[str, TwinErrors],
    differences: Mapping[str, NDArray[np.float64]], data: str,
) -> dict[str, Any]:
    """Return everything that the report shows, for programs."""
    rows = []
    for one in comparison.outcomes:
        row = one.as_row()
        if one.name in errors:
            twin = errors[one.name]
            row['error'] = {'against': twin.twin, 'layers': [
                {**vars(layer), 'relative': layer.relative} for layer in twin.layers]}
        if one.name in differences:
            row['disagreement'] = {
                comparison.dataset[index].path.name: round(value, 4)
                for index, value in enumerate(differences[one.name].tolist())}
        row['precision'] = {found.name: found.precisions for found in one.result.classes}
        rows.append(row)
    return {'data': data, 'reference': comparison.reference.name,
            'recalls': RECALLS.round(2).tolist(), 'detectors': rows}


def _file_name(name: str) -> str:
    return re.sub(r'[^A-Za-z0-9._-]+', '_', name)
