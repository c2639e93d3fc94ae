"""Slots side by side whose rows are about as long: what is read of them need not reach to the longest row of all."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

LEAST_ROWS = 8
"""Attending to fewer rows at a time costs more in calls than it saves in cells."""
ALIKE = 0.9
"""Bands whose longest rows are this close are read as one."""


@dataclass(frozen=True, slots=True)
class Band:
    """The slots from ``begin`` to ``end``, of which the first ``cells`` cells are read."""

    begin: int
    end: int
    cells: int


def bands_of(lengths: Sequence[int]) -> list[Band]:
    """Return bands that cover the slots, given the cells that each of them uses; none for no slots."""
    bands: list[Band] = []
    for begin in range(0, len(lengths), LEAST_ROWS):
        end = min(begin + LEAST_ROWS, len(lengths))
        cells = max(lengths[begin:end])
        last = bands[-1] if bands else None
        if last and (min(last.cells, cells) >= ALIKE * max(last.cells, cells) or end - begin < LEAST_ROWS):
            bands[-1] = Band(last.begin, end, max(last.cells, cells))
        else:
            bands.append(Band(begin, end, cells))
    return bands
