# SPDX-License-Identifier: Apache-2.0
"""
The few kinds of plot that reports need, as PNG files, drawn without a display.

All take plain numbers by name, so that any study can use them. A name keeps its colour in all plots
of a report if it is given the same style; see :func:`styles`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import ceil
from pathlib import Path
from typing import Any

from snn_detector_ros.errors import MissingDependencyError

#: Colours that people with colour blindness can tell apart (Okabe and Ito), then others.
_COLOURS = ('#0072b2', '#d55e00', '#009e73', '#cc79a7', '#56b4e9', '#e69f00', '#7f4fc9', '#8c564b',
            '#999933', '#17a2a2')
_MARKERS = 'osD^vP*Xh<'
_DPI = 110
_WIDTH = 8.0
_GRID = {'color': '#dddddd', 'linewidth': 0.6}


@dataclass(frozen=True)
class Style:
    """How the line or bar of one name looks."""

    colour: str = '#000000'
    marker: str = 'o'
    dash: str = '-'


@dataclass(frozen=True)
class Line:
    """Points that are joined, in the order of ``x``."""

    x: Sequence[float]
    y: Sequence[float]


def styles(names: Sequence[str], references: Sequence[str] = ()) -> dict[str, Style]:
    """
    Return a style for each name.

    :param references: names drawn in black and dashed, such as float networks.
    """
    others = [name for name in names if name not in references]
    result = {name: Style('#000000', _MARKERS[index % len(_MARKERS)], '--')
              for index, name in enumerate(references)}
    for index, name in enumerate(others):
        dash = ('-', '-.', ':')[index // len(_COLOURS) % 3]
        result[name] = Style(
            _COLOURS[index % len(_COLOURS)], _MARKERS[index % len(_MARKERS)], dash)
    return result


def line_plot(
    path: Path, lines: Mapping[str, Line], *, title: str, x_label: str, y_label: str,
    levels: Mapping[str, float] | None = None, log_x: bool = False,
    style: Mapping[str, Style] | None = None,
) -> None:
    """
    Draw lines over a common axis.

    :param path: file to write, ``.png``.
    :param levels: horizontal lines to compare with, by name.
    :param log_x: whether the axis is logarithmic; only values that occur are marked on it.
    """
    looks = style or styles([*lines, *(levels or {})], list(levels or {}))
    drawing = _figure(_WIDTH, 4.2)
    axes = drawing.subplots()
    for name, line in lines.items():
        look = looks[name]
        lone = len(line.x) == 1  # hollow and in front, where it hides nothing and is not hidden
        axes.plot(line.x, line.y, look.dash, color=look.colour, marker=look.marker, label=name,
                  markersize=11 if lone else 5, markerfacecolor='none' if lone else look.colour,
                  zorder=3 if lone else 2)
    for name, value in (levels or {}).items():
        axes.axhline(value, color=looks[name].colour, linestyle='--', linewidth=1, label=name)
    if log_x:
        ticks = sorted({value for line in lines.values() for value in line.x})
        axes.set_xscale('log', base=2)
        axes.set_xticks(ticks, [f'{tick:g}' for tick in ticks])
        axes.minorticks_off()
    _finish(axes, title, x_label, y_label)
    drawing.legend(loc='outside right upper', fontsize=8)
    _save(drawing, path)


def layer_plot(
    path: Path, values: Mapping[str, Mapping[str, float]], *, title: str, y_label: str,
    log_y: bool = False, style: Mapping[str, Style] | None = None,
) -> None:
    """
    Draw a value for each layer, in the order of the layers.

    :param values: value of each layer by its name, for each line.
    :param log_y: whether the axis is logarithmic; zeros are left out.
    """
    looks = style or styles(list(values))
    layers = list(dict.fromkeys(layer for line in values.values() for layer in line))
    place = {layer: index for index, layer in enumerate(layers)}
    drawing = _figure(max(_WIDTH, 3.5 + 0.16 * len(layers)), 5.2)
    axes = drawing.subplots()
    for name, line in values.items():
        shown = {layer: value for layer, value in line.items() if value > 0 or not log_y}
        axes.plot([place[layer] for layer in shown], list(shown.values()), looks[name].dash,
                  color=looks[name].colour, marker=looks[name].marker, markersize=3,
                  linewidth=1, label=name)
    axes.set_xticks(range(len(layers)), layers, rotation=90, fontsize=6)
    axes.set_xlim(-0.7, len(layers) - 0.3)
    if log_y:
        axes.set_yscale('log')
    else:
        axes.set_ylim(bottom=0)
    _finish(axes, title, '', y_label)
    drawing.legend(loc='outside right upper', fontsize=8)
    _save(drawing, path)


def bar_plot(
    path: Path, panels: Mapping[str, Mapping[str, float]], *, title: str,
    style: Mapping[str, Style] | None = None,
) -> None:
    """
    Draw one panel of bars beside the other, with the names on the left and the values at the bars.

    :param panels: value of each name, by the label of the panel.
    :param style: gives the order of the names too.
    """
    given = list(dict.fromkeys(name for panel in panels.values() for name in panel))
    looks = style or styles(given)
    names = [name for name in looks if name in given]
    drawing = _figure(3.2 * len(panels) + 1, 1.2 + 0.3 * len(names))
    for axes, (label, panel) in zip(
            drawing.subplots(1, len(panels), sharey=True, squeeze=False)[0], panels.items(),
            strict=True):
        bars = axes.barh([names.index(name) for name in panel], list(panel.values()),
                         color=[looks[name].colour for name in panel], height=0.7)
        axes.bar_label(bars, [_short(value) for value in panel.values()], padding=2, fontsize=7)
        axes.set_yticks(range(len(names)), names, fontsize=8)
        axes.margins(x=0.2)
        _finish(axes, '', label, '')
    drawing.axes[0].invert_yaxis()
    drawing.suptitle(title, fontsize=10)
    _save(drawing, path)


def curve_grid(
    path: Path, curves: Mapping[str, Mapping[str, Line]], *, title: str, x_label: str,
    y_label: str, style: Mapping[str, Style] | None = None,
) -> None:
    """
    Draw a small square plot for each group of curves, all with axes from 0 to 1.

    :param curves: the curves by name, for each group.
    """
    names = list(dict.fromkeys(name for group in curves.values() for name in group))
    looks = style or styles(names)
    columns = min(4, len(curves))
    rows = ceil(len(curves) / columns)
    drawing = _figure(max(_WIDTH, 3.1 * columns + 2), 3 * rows + 0.6)
    grid = drawing.subplots(rows, columns, squeeze=False, sharey=True).ravel()
    for axes, (group, lines) in zip(grid, curves.items(), strict=False):
        for name, line in lines.items():
            axes.plot(line.x, line.y, looks[name].dash, color=looks[name].colour, linewidth=1.2)
        axes.set(xlim=(0, 1), ylim=(0, 1.02))
        _finish(axes, group, '', '')
    for axes in grid[len(curves):]:
        axes.set_visible(False)
    drawing.supylabel(y_label, fontsize=9)
    drawing.suptitle(title, fontsize=10)
    handles = [grid[0].plot([], [], looks[name].dash, color=looks[name].colour, label=name)[0]
               for name in names]
    drawing.supxlabel(x_label, fontsize=9)
    drawing.legend(handles=handles, fontsize=8, loc='outside right upper')
    _save(drawing, path)


def _short(value: float) -> str:
    """Return a value with three digits, never as a power of ten."""
    return f'{value:.0f}' if abs(value) >= 100 else f'{value:.3g}'


def _figure(width: float, height: float) -> Any:
    """Return a figure of so many inches that needs no display and no global state."""
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MissingDependencyError('matplotlib', 'eval') from error
    drawing = Figure(figsize=(width, height), layout='constrained')
    FigureCanvasAgg(drawing)
    return drawing


def _finish(axes: Any, title: str, x_label: str, y_label: str) -> None:
    axes.set_title(title, fontsize=10)
    axes.set_xlabel(x_label, fontsize=9)
    axes.set_ylabel(y_label, fontsize=9)
    axes.grid(**_GRID)
    axes.set_axisbelow(True)
    axes.spines[['top', 'right']].set_visible(False)


def _save(drawing: Any, path: Path) -> None:
    drawing.savefig(path, dpi=_DPI, metadata={'Software': None})
