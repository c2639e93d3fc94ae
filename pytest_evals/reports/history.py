"""How scores went from run to run, as lines of text: a run a line, its interval drawn on a common scale."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from pytest_evals.engines.short_names import short_names
from pytest_evals.reports import formatting
from pytest_evals.text import one_line

_LEAST_PLOT, _MOST_PLOT = 11, 41
_COMMIT = 9


def history_lines(
    found: Sequence[Series], width: int, *, several_models: bool, shorts: Mapping[str, str] | None = None
) -> list[str]:
    """Return the lines: each series with its name above its runs. ``shorts``: what models are called, if not by short names."""
    lines: list[str] = []
    shorts = shorts or short_names(dict.fromkeys(series.model for series in found))
    for series in found:
        name = f"{series.suite}.{series.grader}" + (
            f" ({shorts.get(series.model) or series.model or 'recorded'})" if several_models else ""
        )
        lines += [*([""] if lines else []), one_line(name, width), *_runs(series, width)]
    return lines


def _runs(series: Series, width: int) -> list[str]:
    changes = any(point.change for point in series.points)
    rows = [_columns(point, changes=changes) for point in series.points]
    widths = [max(len(row[index]) for row in rows) for index in range(len(rows[0]))]
    room = min(width - sum(widths) - 2 * len(widths) - 2, _MOST_PLOT)
    low, high = _scale(series.points)
    lines = []
    for point, row in zip(series.points, rows, strict=True):
        text = "  ".join(cell.ljust(size) for cell, size in zip(row, widths, strict=True))
        plot = f"  {_plot(point, low, high, room)}" if room >= _LEAST_PLOT else ""
        lines.append(f"  {text}{plot}".rstrip())
    return lines


def _columns(point: Point, *, changes: bool) -> list[str]:
    commit = (point.commit or "")[:_COMMIT] + ("+" if point.dirty else "")
    interval = (
        ""
        if point.low is None or point.high is None
        else f"{formatting.value(point.low)} to {formatting.value(point.high)}"
    )
    count = formatting.count(point.n) + ("" if point.complete else " (partial)")
    return [
        point.started[:16].replace("T", " "),
        one_line(commit),
        formatting.value(point.value),
        interval,
        f"n={count}",
        *([point.change or ""] if changes else []),
    ]


def _scale(points: Sequence[Point]) -> tuple[float, float]:
    """From 0 to 1 where everything fits, else from the lowest to the highest that there is."""
    seen = [number for point in points for number in (point.value, point.low, point.high) if number is not None]
    low, high = min(seen, default=0.0), max(seen, default=1.0)
    return (0.0, 1.0) if low >= 0 and high <= 1 else (low, high)


def _plot(point: Point, low: float, high: float, size: int) -> str:
    """Draw ``|  --o-- |``."""
    if point.value is None:
        return ""
    inner = size - 2

    def place(number: float) -> int:
        return round((number - low) / (high - low) * (inner - 1)) if high > low else inner // 2

    cells = [" "] * inner
    if point.low is not None and point.high is not None:
        for index in range(place(point.low), place(point.high) + 1):
            cells[index] = "-"
    cells[place(point.value)] = "o"
    return f"|{''.join(cells)}|"


# -- Several runs -> how each score went from run to run. Pure.

SeriesKey = tuple[str, str, str]
"""Suite, model, grader."""


@dataclass(frozen=True, slots=True)
class Point:
    """A score of one run. The interval is that of the mean; `None` where the run recorded none."""

    run_id: str
    started: str
    commit: str | None
    dirty: bool
    complete: bool
    n: int
    value: float | None
    low: float | None = None
    high: float | None = None
    change: str | None = None
    """``rose`` or ``fell`` where the interval is apart from that of the complete run before."""


@dataclass(frozen=True, slots=True)
class Series:
    """One grader of one suite and model over the runs, the oldest first."""

    suite: str
    model: str
    grader: str
    points: list[Point] = field(default_factory=list)

    def to_data(self) -> dict[str, Any]:
        """Return plain data."""
        points = [{name: getattr(point, name) for name in Point.__slots__} for point in self.points]
        return {"suite": self.suite, "model": self.model, "grader": self.grader, "points": points}


@dataclass(frozen=True, slots=True)
class RecordedRun:
    """What a series needs of a run: its first line, whether it came to its end, and its score rows."""

    run: Mapping[str, Any]
    complete: bool
    scores: Sequence[Mapping[str, Any]]


def series(runs: Iterable[RecordedRun], statistic: str = "mean") -> list[Series]:
    """Return a series for each suite, grader and model that some run has, in the order of their first appearance; the
    models of one grader are next to each other.
    """
    found: dict[SeriesKey, Series] = {}
    for recorded in sorted(runs, key=lambda each: str(each.run["started"])):
        for row in recorded.scores:
            key = (row["suite"], row["model"], row["grader"])
            points = found.setdefault(key, Series(*key)).points
            points.append(_with_change(_point(recorded, row, statistic), points))
    places: dict[tuple[str, str], int] = {}
    for suite, _, grader in found:
        places.setdefault((suite, grader), len(places))
    suites = list(dict.fromkeys(suite for suite, _, _ in found))
    return sorted(found.values(), key=lambda each: (suites.index(each.suite), places[each.suite, each.grader]))


def _with_change(point: Point, earlier: Sequence[Point]) -> Point:
    """Mark a point whose interval is apart from that of the last complete run; cases of a partial one may differ in kind."""
    before = next((each for each in reversed(earlier) if each.complete and each.low is not None), None)
    if not point.complete or point.low is None or point.high is None or before is None or before.low is None:
        return point
    if before.high is not None and point.low > before.high:
        return replace(point, change="rose")
    return replace(point, change="fell") if point.high < before.low else point


def _point(recorded: RecordedRun, row: Mapping[str, Any], statistic: str) -> Point:
    git = recorded.run.get("git") or {}
    bounds = (row.get("ci_low"), row.get("ci_high")) if statistic == "mean" else (None, None)
    return Point(
        run_id=recorded.run["run_id"],
        started=recorded.run["started"],
        commit=git.get("commit"),
        dirty=bool(git.get("dirty")),
        complete=recorded.complete,
        n=row["n"],
        value=row.get(statistic),
        low=bounds[0],
        high=bounds[1],
    )


def chosen(
    found: Iterable[Series],
    *,
    suite: str | None,
    model: str | None,
    grader: str | None,
    shorts: Mapping[str, str] | None = None,
) -> list[Series]:
    """Return the series of one suite, model or grader, where these are given; a model also by what it is called (``shorts``) and by
    the end of its name.
    """
    return [
        each
        for each in found
        if suite in (None, each.suite)
        and grader in (None, each.grader)
        and (model in (None, each.model, (shorts or {}).get(each.model)) or each.model.endswith(f"/{model}"))
    ]
