"""Rows -> a table that fits: less needed columns go first, then texts are shortened."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tabulate import tabulate

from pytest_evals.plain import one_line

_NARROWEST = 8


@dataclass(frozen=True, slots=True)
class Column:
    """A column: its head, its cells, and how much it is needed: of ``rank`` 0 it always stays, higher ones go first."""

    name: str
    cells: Sequence[str]
    numeric: bool = False
    rank: int = 0


def fitted_table(columns: Sequence[Column], width: int) -> list[str]:
    """Return the lines of a table of at most ``width`` characters, if that is possible at all."""
    columns = [
        Column(column.name, [one_line(cell, 500) for cell in column.cells], column.numeric, column.rank)
        for column in columns
    ]
    while (lines := _table(columns)) and max(map(len, lines)) > width:
        rank = max(column.rank for column in columns)
        if rank:
            columns = [column for column in columns if column.rank != rank]
            continue
        texts = [column for column in columns if not column.numeric and _width(column) > _NARROWEST]
        if not texts:
            break
        widest = max(texts, key=_width)
        others = [_width(column) for column in texts if column is not widest]
        # Down to what fits, or to the next widest, and on from there.
        target = max(_width(widest) - (max(map(len, lines)) - width), *others, _NARROWEST)
        limit = min(target, _width(widest) - 1)
        columns = [_shortened(column, limit) if column is widest else column for column in columns]
    return lines


def _width(column: Column) -> int:
    return max(map(len, (column.name, *column.cells)))


def _shortened(column: Column, limit: int) -> Column:
    cells = [cell if len(cell) <= limit else f"{cell[: limit - 2]}.." for cell in column.cells]
    return Column(column.name[:limit], cells, column.numeric, column.rank)


def _table(columns: Sequence[Column]) -> list[str]:
    # With the heads as a row of its own: tabulate would make columns two wider than their heads.
    head = [column.name for column in columns], ["-" * _width(column) for column in columns]
    text = tabulate(
        [*head, *zip(*(column.cells for column in columns), strict=True)],
        tablefmt="plain",
        colalign=["right" if column.numeric else "left" for column in columns],
        disable_numparse=True,
    )
    return [line.rstrip() for line in text.splitlines()]


def without_repeats(cells: Sequence[str]) -> list[str]:
    """Return the cells with those that say the same as the one above left empty."""
    return ["" if index and cell == cells[index - 1] else cell for index, cell in enumerate(cells)]
