"""The scores of several models beside each other: a row for each grader, a column for each model."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from pytest_evals.reports import formatting
from pytest_evals.reports.formatting import not_shown, short_forms, wrapped_lines
from pytest_evals.scorecard import ScoreCard
from pytest_evals.scores.score import Score
from pytest_evals.text import one_line, pluralize

INTERVAL = "95% interval"
_NARROWEST = 9
"""Columns for a model's name, which is broken into lines."""
_GAP = 2
_LONGEST_HEAD = 48
"""Characters of a model's name above its column."""
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
    """Return the lines of a grid.

    In a narrow terminal intervals are below the means, long names are shortened and given in full below the table, and models that do not
    fit beside each other are below each other. Only where even one model has no room for it are intervals left out, and the lines say so.
    """
    heads, legend = _heads(grid, card)
    labels = _labels(grid, 60)
    short = _labels(grid, max(width // 4, _NARROWEST))
    full = [f"{form} is {label}" for label, form in short.items() if form != labels[label]]
    for cell, names in ((_beside, labels), (_beside, short), (_below, labels), (_below, short)):
        lines = _block(grid, card, _Look(grid.models, heads, names, cell), width)
        if lines is not None:
            return [*lines, *_wrapped(legend, width), *(_wrapped(full, width) if names is short else [])]
    for cell in (_below, _mean_only):
        blocks = _fitting(grid, card, _Look(grid.models, heads, short, cell), width)
        if blocks is not None:
            break
    else:
        blocks = _block(grid, card, _Look(grid.models, heads, short, _mean_only), 10_000) or []
    wanted = [INTERVAL] if cell is _mean_only and _has_intervals(grid) else []
    return [*blocks, *_wrapped([*legend, *full], width), *not_shown(wanted, width)]


def _has_intervals(grid: Grid) -> bool:
    return any(score.interval for row in grid.rows for score in row.scores.values())


def _wrapped(texts: Sequence[str], width: int) -> list[str]:
    return [line.text for text in texts for line in wrapped_lines(text, width)]


def _heads(grid: Grid, card: ScoreCard) -> tuple[dict[str, str], list[str]]:
    """Return what is above each model's column, and what is said of it below: of a name that is too long for a few lines, a letter."""
    names = {model: one_line(card.shorts.get(model, model) or "no model", 200) for model in grid.models}
    if max(map(len, names.values())) <= _LONGEST_HEAD:
        return names, []
    letters = dict(zip(grid.models, _letters(), strict=False))
    return letters, [f"{letters[model]} is {names[model]}" for model in grid.models]


def _letters() -> Iterator[str]:
    for number in itertools.count():
        yield f"{chr(ord('A') + number % 26)}{number // 26 or ''}"


def _labels(grid: Grid, limit: int) -> dict[str, str]:
    """Return the labels of rows in at most ``limit`` characters."""
    return short_forms([one_line(row.label, 500) for row in grid.rows if row.scores], limit)


@dataclass(frozen=True, slots=True)
class _Look:
    """How a table looks: its models, their heads, the labels of its rows, and what is in a cell."""

    models: tuple[str, ...]
    heads: Mapping[str, str]
    labels: Mapping[str, str]
    cell: Cell


def _fitting(grid: Grid, card: ScoreCard, look: _Look, width: int) -> list[str] | None:
    """Return blocks of as many models as fit, at least one; `None` where not even one does."""
    lines: list[str] = []
    left = look.models
    while left:
        number = len(left)
        while (block := _block(grid, card, replace(look, models=left[:number]), width)) is None:
            number -= 1
            if not number:
                return None
        lines += [*([""] if lines else []), *block]
        left = left[number:]
    return lines


Cell = Callable[[Score, str, bool], tuple[str, str, str]]
"""From a score, its mark and whether the corpus-level metric is wanted to a mean, an interval beside it and one below it."""


def _beside(score: Score, mark: str, corpus: bool) -> tuple[str, str, str]:
    interval = "" if corpus else formatting.interval(score.interval)
    return _mean_only(score, mark, corpus)[0], interval, ""


def _below(score: Score, mark: str, corpus: bool) -> tuple[str, str, str]:
    interval = "" if corpus or score.interval is None else formatting.interval(score.interval)
    return _mean_only(score, mark, corpus)[0], "", interval


def _mean_only(score: Score, mark: str, corpus: bool) -> tuple[str, str, str]:
    if corpus:
        return formatting.value(score.corpus), "", ""
    return f"{mark} {formatting.value(score.mean)}".lstrip(), "", ""


def _block(grid: Grid, card: ScoreCard, look: _Look, width: int) -> list[str] | None:
    """Return a table of some models; `None` where it is wider than ``width``."""
    labels = [
        f"  {look.labels[one_line(row.label, 500)]}" if row.scores else one_line(row.label, 60) for row in grid.rows
    ]
    sizes = [row.n for row in grid.rows]
    cells = [_cells(grid, model, card, look.cell) for model in look.models]
    title = "mean" if look.cell is _mean_only else f"mean, {INTERVAL}"
    first = max(map(len, (title, *labels)))
    second = max(1, *map(len, sizes))
    room = (width - first - _GAP - second) // len(look.models) - _GAP
    if room < max(_NARROWEST, *(len(line) for column in cells for pair in column for line in pair)):
        return None
    heads = [_broken(look.heads[model], room) for model in look.models]
    widths = [
        max(map(len, (*head, *(line for pair in column for line in pair))))
        for head, column in zip(heads, cells, strict=True)
    ]
    height = max(map(len, heads))
    heads = [[*[""] * (height - len(head)), *head] for head in heads]
    gap = " " * _GAP

    def line(label: str, size: str, cells: Sequence[str]) -> str:
        shown = [f"{each:>{wide}}" for each, wide in zip(cells, widths, strict=True)]
        return gap.join([f"{label:<{first}}", f"{size:>{second}}", *shown]).rstrip()

    made = [
        *(line("", "", [head[number] for head in heads]) for number in range(height - 1)),
        line(title, "n", [head[-1] for head in heads]),
        line("-" * first, "-" * second, ["-" * wide for wide in widths]),
    ]
    for label, size, *pairs in zip(labels, sizes, *cells, strict=True):
        made.append(line(label, size, [pair[0] for pair in pairs]))
        if any(pair[1] for pair in pairs):
            made.append(line("", "", [pair[1] for pair in pairs]))
    return made


def _cells(grid: Grid, model: str, card: ScoreCard, cell: Cell) -> list[tuple[str, str]]:
    """Return the cells of one model, each with the line below it: means below means and intervals below intervals."""
    found = []
    for row in grid.rows:
        score = row.scores.get(model)
        if score is None:
            found.append((formatting.ABSENT if row.scores else "", "", ""))
            continue
        mark = card.leaders.get((score.suite, score.model, score.grader), "")
        found.append(cell(score, mark, row.corpus))
    wide = max((len(interval) for _, interval, _ in found), default=0)
    return [(f"{mean}{f'  {beside:>{wide}}' if wide else ''}" if mean else "", below) for mean, beside, below in found]


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
