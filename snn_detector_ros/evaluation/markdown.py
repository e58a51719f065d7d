# SPDX-License-Identifier: Apache-2.0
"""Write tables and figures as Markdown."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

#: A cell; None is left empty.
Cell: TypeAlias = str | int | float | None


def table(headers: Sequence[str], rows: Sequence[Sequence[Cell]]) -> str:
    """
    Return a table; columns that hold numbers are aligned to the right.

    :param headers: names of the columns.
    :param rows: cells, as many as there are headers; text is taken as it is, see :func:`number`.
    """
    texts = [['' if cell is None else str(cell).replace('|', r'\|') for cell in row]
             for row in rows]
    rules = ['---:' if _is_numeric([row[index] for row in texts]) else '---'
             for index in range(len(headers))]
    return '\n'.join('| ' + ' | '.join(cells) + ' |'
                     for cells in ([*map(str, headers)], rules, *texts))


def figure(title: str, path: str) -> str:
    """Return a picture; the path is relative to the document, blanks in it are allowed."""
    return f'![{title}](<{path}>)'


def percent(part: float, digits: int = 1) -> str:
    """Return a part as percent, without the sign."""
    return f'{100 * part:.{digits}f}'


def millions(value: float) -> str:
    """Return a count in millions, with three digits."""
    return f'{value / 1e6:.3g}' if value < 1e8 else f'{value / 1e6:.0f}'


def _is_numeric(cells: Sequence[str]) -> bool:
    """Whether every cell is a number or empty, and not all are empty."""
    filled = [cell for cell in cells if cell]
    try:
        for cell in filled:
            float(cell)
    except ValueError:
        return False
    return bool(filled)
