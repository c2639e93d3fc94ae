"""Rows -> a table that fits: less needed columns go first, then texts are shortened."""

from __future__ import annotations

import itertools
import math
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from pytest_evals.sinks import for_terminal
from pytest_evals.text import one_line, sanitize

_NARROWEST = 8
_READABLE = 14
"""Characters of a name that are kept before a column of `_WANTED` or less goes for the rest of it."""
_WANTED = 3


@dataclass(frozen=True, slots=True)
class Column:
    """A column: its head, its cells, and how much it is needed: of ``rank`` 0 it always stays, higher ones go first. Cells that are
    ``named`` and have to be shortened are given in full below the table. What a ``heading`` says of rows below each other may be a line
    above them instead, an empty cell of it says the same as the one above.
    """

    name: str
    cells: Sequence[str]
    numeric: bool = False
    rank: int = 0
    named: bool = False
    heading: bool = False


def fitted_table(columns: Sequence[Column], width: int) -> list[str]:
    """Return the lines of a table of at most ``width`` characters, if that is possible at all; below it, what shortened names stand for,
    and the names of columns for which there was no room.

    Columns of a rank above 3 go first; then texts are shortened as long as they can be read. Where a column would have to go after
    that, headings become lines above their rows, the first one first; what helps nothing is not done. Then the other columns go, and
    then texts are shortened further.
    """
    columns = [replace(column, cells=[one_line(cell, 500) for cell in column.cells]) for column in columns]
    headings = [column for column in columns if column.heading]
    found = [_arranged(columns, headings[:number], width) for number in range(len(headings) + 1)]
    return min(found, key=lambda arranged: (arranged.lacking, arranged.excess)).lines


@dataclass(frozen=True, slots=True)
class _Arranged:
    """A table as it may be shown, how many columns it is ``lacking`` that are wanted, and by how much it is too wide."""

    lines: list[str]
    lacking: int
    excess: int


def _arranged(columns: Sequence[Column], above: Sequence[Column], width: int) -> _Arranged:
    """Return the table with some headings above their rows."""
    beside = [column for column in columns if column not in above]
    shown = _fitting(beside, width - _INDENT * bool(above))
    ranks = {column.rank for column in shown}
    left_out = [column for column in beside if column.rank not in ranks]
    lines = _with_headings(_table(shown), above, width)
    return _Arranged(
        [*lines, *_full_names(beside, shown, width), *not_shown([column.name for column in left_out], width)],
        sum(column.rank <= _WANTED for column in left_out),
        max(0, *(len(line) - width for line in lines)),
    )


_INDENT = 2
"""Columns by which rows are indented below their heading."""


def _with_headings(lines: Sequence[str], above: Sequence[Column], width: int) -> list[str]:
    """Put headings above their rows; the first two lines are the head of the table."""
    if not above:
        return list(lines)
    texts = [" ".join(parts) for parts in zip(*(_filled(column.cells) for column in above), strict=True)]
    made = [f"{'':<{_INDENT}}{line}" for line in lines[:2]]
    for number, (text, line) in enumerate(zip(texts, lines[2:], strict=True)):
        if not number or text != texts[number - 1]:
            made.append(one_line(text, max(width, 20)))
        made.append(f"{'':<{_INDENT}}{line}")
    return made


def _filled(cells: Sequence[str]) -> list[str]:
    """Return cells with those that are empty filled from above."""
    filled: list[str] = []
    for cell in cells:
        filled.append(cell if cell or not filled else filled[-1])
    return filled


def _fitting(columns: Sequence[Column], width: int) -> list[Column]:
    """Return the columns for which there is room, with texts shortened as needed."""
    shown = list(columns)
    while (lines := _table(shown)) and max(map(len, lines)) > width:
        excess = max(map(len, lines)) - width
        rank = max(column.rank for column in shown)
        if rank > _WANTED:
            shown = [column for column in shown if column.rank != rank]
        elif not _can_shorten(shown, _READABLE) and rank:
            shown = [column for column in shown if column.rank != rank]
            # There may be room for whole texts again.
            ranks = {column.rank for column in shown}
            shown = [column for column in columns if column.rank in ranks]
        elif _can_shorten(shown, least := _READABLE if rank else _NARROWEST):
            shown = _with_widest_shortened(shown, excess, least)
        else:
            break
    return shown


def _can_shorten(columns: Sequence[Column], least: int) -> bool:
    return any(not column.numeric and _width(column) > least for column in columns)


def _with_widest_shortened(columns: Sequence[Column], excess: int, least: int) -> list[Column]:
    """Shorten the widest text: down to what fits, or to the next widest, and on from there."""
    texts = [column for column in columns if not column.numeric and _width(column) > least]
    widest = max(texts, key=_width)
    others = [_width(column) for column in texts if column is not widest]
    target = max(_width(widest) - excess, *others, least)
    limit = min(target, _width(widest) - 1)
    return [_shortened(column, limit) if column is widest else column for column in columns]


def _full_names(columns: Sequence[Column], shown: Sequence[Column], width: int) -> list[str]:
    """Return lines that say what shortened names stand for."""
    ranks = {column.rank for column in shown}
    whole = [column for column in columns if column.rank in ranks]
    names = {
        short: full
        for column, before in zip(shown, whole, strict=True)
        for short, full in zip(column.cells, before.cells, strict=True)
        if before.named and short != full
    }
    return [line.text for short, full in names.items() for line in wrapped_lines(f"{short} is {full}", width)]


def not_shown(names: Sequence[str], width: int) -> list[str]:
    """Name the columns for which a table has no room; nothing where there are none."""
    return [line.text for line in wrapped_lines(f"no room for: {', '.join(names)}", width)] if names else []


def _width(column: Column) -> int:
    return max(map(len, (column.name, *column.cells)))


def _shortened(column: Column, limit: int) -> Column:
    shorts = short_forms(column.cells, limit)
    return replace(column, name=column.name[:limit], cells=[shorts[cell] for cell in column.cells])


def short_forms(texts: Iterable[str], limit: int) -> dict[str, str]:
    """Return a form of at most ``limit`` characters for each text, its beginning or both of its ends, and not the same one for two;
    ``limit`` is 8 or more.
    """
    distinct = list(dict.fromkeys(texts))
    forms = {text: text for text in distinct if len(text) <= limit}
    taken = set(forms.values())
    for text in distinct:
        if text in forms:
            continue
        # With more and more of the end, since names often differ there.
        candidates = (f"{text[: limit - 2 - end]}..{text[len(text) - end :]}" for end in range(limit - 3))
        numbered = (f"{text[: limit - 2 - len(str(number))]}..{number}" for number in range(2, 10 ** (limit - 4)))
        forms[text] = next(form for form in itertools.chain(candidates, numbered) if form not in taken)
        taken.add(forms[text])
    return forms


def _table(columns: Sequence[Column]) -> list[str]:
    from tabulate import tabulate

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


# -- How a number looks, in one place.

ABSENT = "-"


def value(number: float | None) -> str:
    """A score: three decimals, as many digits as it takes for large ones."""
    if number is None:
        return ABSENT
    return f"{number:.3f}" if abs(number) < 1000 else f"{number:,.1f}"


def percent(share: float | None) -> str:
    """A share of one. 100% and 0% are exact: what only rounds to them keeps a decimal."""
    if share is None:
        return ABSENT
    text = f"{share:.0%}"
    return f"{min(max(share, 0.001), 0.999):.1%}" if text in ("100%", "0%") and share not in (0, 1) else text


def signed(number: float | None) -> str:
    """A difference, always with its sign."""
    return ABSENT if number is None else f"{number:+.3f}" if abs(number) < 1000 else f"{number:+,.1f}"


def interval(ends: Sequence[float] | None) -> str:
    """An interval: its ends as `value` shows them."""
    return ABSENT if ends is None else f"{value(ends[0])} .. {value(ends[1])}"


def p_value(p: float | None) -> str:
    """A p value: tiny ones are only said to be tiny."""
    return ABSENT if p is None else "<0.001" if p < 0.001 else f"{p:.3f}"


def count(number: int) -> str:
    """A whole number with thousands separated."""
    return f"{number:,}"


def amount(number: float) -> str:
    """Return an amount of money: to four digits that count, without an exponent."""
    digits = 2 if number >= 100 or number == 0 else max(2, 3 - math.floor(math.log10(number)))
    return f"{number:,.{digits}f}"


def duration(seconds: float) -> str:
    """Seconds, or minutes and seconds."""
    return f"{seconds:.1f} s" if seconds < 60 else f"{int(seconds // 60)} min {int(seconds % 60)} s"


def size(number_of_bytes: float) -> str:
    """Bytes, in the unit that fits."""
    for unit in ("B", "kB", "MB", "GB"):
        if number_of_bytes < 1000 or unit == "GB":
            break
        number_of_bytes /= 1000
    return f"{number_of_bytes:.0f} {unit}" if unit in ("B", "kB", "MB") else f"{number_of_bytes:.1f} {unit}"


# -- A line for a terminal, with how it may be marked.

# Texts of a score card come from users, models and data; this is far more than any of them should need.
_LONGEST = 2000


@dataclass(frozen=True, slots=True)
class Line:
    """One line, and how the terminal may mark it; the text says everything without the mark, and is harmless there."""

    text: str
    markup: dict[str, bool] = field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "text", for_terminal(self.text))


def wrapped_lines(text: str, width: int, markup: dict[str, bool] | None = None) -> list[Line]:
    """Break at spaces; what follows is indented, so that a reader sees that it belongs to the line above."""
    lines: list[str] = []
    for word in one_line(text, _LONGEST).split(" "):
        if lines and len(lines[-1]) + 1 + len(word) <= max(width, 20):
            lines[-1] = f"{lines[-1]} {word}"
        else:
            lines.append(word if not lines else f"    {word}")
    return [Line(line.rstrip(), markup or {}) for line in lines]


# -- Sentences and longer texts in lines of a given width.

_LABEL = 11


def wrap_text(text: str, width: int) -> list[str]:
    """Return a sentence in as many lines as it takes."""
    return textwrap.wrap(one_line(text, _LONGEST), max(width, 20), subsequent_indent="    ", break_on_hyphens=False)


def labelled(label: str, text: str, width: int) -> list[str]:
    """Return a labelled text, wrapped and indented; its own line breaks stay."""
    lines = [
        part
        for line in sanitize(text, _LONGEST).splitlines() or [""]
        for part in textwrap.wrap(line, max(width - _LABEL, 20)) or [""]
    ]
    return [f"{label + ':':<{_LABEL}}{lines[0]}".rstrip(), *(f"{'':<{_LABEL}}{line}".rstrip() for line in lines[1:])]


# -- The first line of an artifact as text: which run it is.


def run_lines(run: Mapping[str, Any], width: int) -> list[str]:
    """Return when and with what a run was made, in as many lines as it takes."""
    return wrap_text(run_words(run), width)


def run_words(run: Mapping[str, Any]) -> str:
    """Name a run: its id, when it started, its commit, its models."""
    git = run.get("git")
    commit = f"commit {str(git.get('commit'))[:10]}" + (" with changes" if git.get("dirty") else "") if git else None
    models = ", ".join(str(model.get("model")) for model in run.get("models") or [])
    started = str(run.get("started")).replace("T", " ").replace("+00:00", " UTC")
    return "; ".join(part for part in (f"run {run.get('run_id')} of {started}", commit, models) if part)
