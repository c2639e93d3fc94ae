"""The scores of several models beside each other: a row for each grader, a column for each model."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from pytest_evals.reports import formatting
from pytest_evals.reports.formatting import not_shown
from pytest_evals.scorecard import ScoreCard
from pytest_evals.scores.score import Score
from pytest_evals.text import one_line, pluralize

INTERVAL = "95% interval"
_NARROWEST = 9
"""Columns for a model's name, which is broken into lines."""
_GAP = 2
_LAST_BREAK = re.compile(r".*[-_./:@?&=+]")


@dataclass(frozen=True, slots=True)
class GridRow:
    """A row: its label, how many cases each model has, and the score of each model, `None` where a model has none.

    A suite's heading has no scores.
    """

    label: str
    scores: Mapping[str, Score]
    corpus: bool = False

    @property
    def n(self) -> str:
        """The number of graded cases, of those that should have a grade."""
        sizes = {(score.n, score.applicable) for score in self.scores.values()}
        if len(sizes) > 1:
            low, high = (end(score.n for score in self.scores.values()) for end in (min, max))
            return f"{low}-{high}" if low != high else str(low)
        return "".join(f"{n}/{applicable}" if n != applicable else str(n) for n, applicable in sizes)


@dataclass(frozen=True, slots=True)
class Grid:
    """A table of several models. ``rows`` are those of all suites that have exactly these ``models``."""

    models: tuple[str, ...]
    rows: tuple[GridRow, ...]


def grids(scores: Sequence[Score]) -> list[Grid]:
    """Return the grids of all suites that have several models; suites with the same models share one."""
    suites: dict[str, list[Score]] = {}
    for score in scores:
        suites.setdefault(score.suite, []).append(score)
    grouped: dict[tuple[str, ...], list[str]] = {}
    for suite, found in suites.items():
        models = tuple(dict.fromkeys(score.model for score in found))
        if len(models) > 1:
            grouped.setdefault(models, []).append(suite)
    return [
        Grid(models, tuple(row for suite in names for row in _suite_rows(suite, suites[suite])))
        for models, names in grouped.items()
    ]


def _suite_rows(suite: str, scores: Sequence[Score]) -> Iterator[GridRow]:
    yield GridRow(suite, {})
    for grader in dict.fromkeys(score.grader for score in scores):
        own = {score.model: score for score in scores if score.grader == grader}
        yield GridRow(grader, own)
        if any(score.corpus is not None for score in own.values()):
            yield GridRow(f"{grader}, corpus", own, corpus=True)


def single_model_scores(scores: Sequence[Score]) -> list[Score]:
    """Return the scores of suites that have one model each."""
    models: dict[str, set[str]] = {}
    for score in scores:
        models.setdefault(score.suite, set()).add(score.model)
    return [score for score in scores if len(models[score.suite]) == 1]


# -- A grid as lines of text.


def grid_lines(grid: Grid, card: ScoreCard, width: int) -> list[str]:
    """Return the lines of a grid. Models that do not fit beside each other are below each other; intervals without room are
    left out, and the lines say so.
    """
    lines = _block(grid, card, grid.models, width, _with_interval)
    if lines is not None:
        return lines
    blocks = _fitting(grid, card, width)
    wanted = [INTERVAL] if any(score.interval for row in grid.rows for score in row.scores.values()) else []
    return [*blocks, *not_shown(wanted, width)]


def _fitting(grid: Grid, card: ScoreCard, width: int) -> list[str]:
    """Return blocks of as many models as fit, at least one."""
    lines: list[str] = []
    left = grid.models
    while left:
        number = len(left)
        while (block := _block(grid, card, left[:number], width, _mean_only)) is None and number > 1:
            number -= 1
        lines += [*([""] if lines else []), *(block or _block(grid, card, left[:1], 10_000, _mean_only) or [])]
        left = left[number:]
    return lines


Cell = Callable[[Score, str, bool], tuple[str, str]]
"""From a score, its mark and whether the corpus-level metric is wanted to a mean and an interval."""


def _with_interval(score: Score, mark: str, corpus: bool) -> tuple[str, str]:
    interval = "" if corpus else formatting.interval(score.interval)
    return _mean_only(score, mark, corpus)[0], interval


def _mean_only(score: Score, mark: str, corpus: bool) -> tuple[str, str]:
    if corpus:
        return formatting.value(score.corpus), ""
    return f"{mark} {formatting.value(score.mean)}".lstrip(), ""


def _block(grid: Grid, card: ScoreCard, models: Sequence[str], width: int, cell: Cell) -> list[str] | None:
    """Return a table of some models; `None` where it is wider than ``width``."""
    labels = [f"{'  ' if row.scores else ''}{one_line(row.label, 60)}" for row in grid.rows]
    sizes = [row.n for row in grid.rows]
    columns = [_cells(grid, model, card, cell) for model in models]
    title = "mean" if cell is _mean_only else f"mean, {INTERVAL}"
    first = max(map(len, (title, *labels)))
    second = max(1, *map(len, sizes))
    room = (width - first - _GAP - second) // len(models) - _GAP
    if room < max(_NARROWEST, *(len(each) for column in columns for each in column)):
        return None
    heads = [_broken(one_line(card.shorts.get(model, model) or "no model", 200), room) for model in models]
    widths = [max(map(len, (*head, *column))) for head, column in zip(heads, columns, strict=True)]
    height = max(map(len, heads))
    heads = [[*[""] * (height - len(head)), *head] for head in heads]
    gap = " " * _GAP

    def line(label: str, size: str, cells: Sequence[str]) -> str:
        shown = [f"{each:>{wide}}" for each, wide in zip(cells, widths, strict=True)]
        return gap.join([f"{label:<{first}}", f"{size:>{second}}", *shown]).rstrip()

    return [
        *(line("", "", [head[number] for head in heads]) for number in range(height - 1)),
        line(title, "n", [head[-1] for head in heads]),
        line("-" * first, "-" * second, ["-" * wide for wide in widths]),
        *(line(label, size, cells) for label, size, *cells in zip(labels, sizes, *columns, strict=True)),
    ]


def _cells(grid: Grid, model: str, card: ScoreCard, cell: Cell) -> list[str]:
    """Return the cells of one model, means below means and intervals below intervals."""
    pairs = []
    for row in grid.rows:
        score = row.scores.get(model)
        if score is None:
            pairs.append((formatting.ABSENT if row.scores else "", ""))
            continue
        mark = card.leaders.get((score.suite, score.model, score.grader), "")
        pairs.append(cell(score, mark, row.corpus))
    wide = max((len(interval) for _, interval in pairs), default=0)
    return [f"{mean}{f'  {interval:>{wide}}' if wide else ''}" if mean else "" for mean, interval in pairs]


def _broken(name: str, room: int) -> list[str]:
    """Break a name into lines of at most ``room``, after a separator where there is one."""
    lines = []
    while len(name) > room:
        found = _LAST_BREAK.match(name[:room])
        end = found.end() if found else room
        lines.append(name[:end])
        name = name[end:]
    return [*lines, name]


def ungraded_lines(grid: Grid, shorts: Mapping[str, str]) -> list[str]:
    """Say for each model which cases have no grade, where the count of a row does not tell."""
    said = []
    for row in grid.rows:
        for score in row.scores.values() if not row.corpus else ():
            lost = [
                *([pluralize(score.errors, "error")] if score.errors else []),
                *([f"{score.pending} pending"] if score.pending else []),
                *([f"{score.not_applicable} not applicable"] if score.not_applicable else []),
            ]
            if lost:
                model = shorts.get(score.model, score.model)
                said.append(f"without a grade: {score.grader} of {model}: {', '.join(lost)} beside {score.n} graded")
    return said
