# SPDX-License-Identifier: Apache-2.0
"""One experiment of a study as the reader gets it: what was done, tables, plots."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from snn_detector_ros.evaluation.markdown import Cell, figure, table
from snn_detector_ros.evaluation.plots import Line, line_plot

PLOTS, FILE, FIGURES = 'plots', 'study.md', 'study.json'


@dataclass(frozen=True)
class Table:
    """Rows of cells under their headers."""

    headers: tuple[str, ...]
    rows: Sequence[Sequence[Cell]]


@dataclass(frozen=True)
class Plot:
    """
    A picture of a section.

    :param name: file name without suffix.
    :param draw: writes the file.
    """

    name: str
    title: str
    draw: Callable[[Path], None]


@dataclass(frozen=True)
class Section:
    """
    One experiment.

    :param title: heading.
    :param text: what was done, and what the paper says about it; Markdown.
    """

    title: str
    text: str
    tables: tuple[Table, ...]
    plots: tuple[Plot, ...] = field(default=())


def line_chart(
    name: str, title: str, lines: Mapping[str, Line], *, reference: float, log_x: bool = False,
) -> Plot:
    """
    Return a plot of mAP50 against time steps.

    :param lines: mAP50 in percent.
    :param reference: that of the float network.
    """
    return Plot(name, title, lambda path: line_plot(
        path, lines, title=title, x_label='time steps T', y_label='mAP50, %',
        levels={'float': reference}, log_x=log_x))


def draw_plots(folder: Path, section: Section) -> None:
    """
    Draw the plots of a section where :func:`write` refers to them.

    :param folder: exists; plots of an earlier study are replaced.
    """
    (folder / PLOTS).mkdir(exist_ok=True)
    for plot in section.plots:
        plot.draw(folder / _path(plot))


def write(folder: Path, title: str, introduction: str, sections: Sequence[Section]) -> None:
    """
    Write sections as :data:`FILE` and, for programs, :data:`FIGURES`.

    :param folder: exists; files of an earlier study are replaced.
    """
    parts = [f'# {title}', introduction]
    for section in sections:
        parts += [f'## {section.title}', section.text]
        parts += [table(one.headers, one.rows) for one in section.tables]
        parts += [figure(plot.title, _path(plot)) for plot in section.plots]
    figures = [{'title': section.title, 'tables': [
        [dict(zip(one.headers, row, strict=True)) for row in one.rows]
        for one in section.tables]} for section in sections]
    (folder / FIGURES).write_text(json.dumps(figures, indent=1) + '\n', encoding='utf-8')
    (folder / FILE).write_text('\n\n'.join(parts) + '\n', encoding='utf-8')


def _path(plot: Plot) -> str:
    return f'{PLOTS}/{plot.name}.png'
