"""How scores went from run to run, as lines of text: a run a line, its interval drawn on a common scale."""

from __future__ import annotations

from collections.abc import Sequence

from pytest_evals.history import Point, Series
from pytest_evals.plain import one_line
from pytest_evals.render import numbers

_LEAST_PLOT, _MOST_PLOT = 11, 41
_COMMIT = 9


def history_lines(found: Sequence[Series], width: int, *, several_models: bool) -> list[str]:
    """Return the lines: each series with its name above its runs."""
    lines: list[str] = []
    for series in found:
        name = f"{series.suite}.{series.grader}" + (f" ({series.model or 'recorded'})" if several_models else "")
        lines += [*([""] if lines else []), one_line(name, width), *_runs(series, width)]
    return lines


def _runs(series: Series, width: int) -> list[str]:
    rows = [_columns(point) for point in series.points]
    widths = [max(len(row[index]) for row in rows) for index in range(len(rows[0]))]
    room = min(width - sum(widths) - 2 * len(widths) - 2, _MOST_PLOT)
    low, high = _scale(series.points)
    lines = []
    for point, row in zip(series.points, rows, strict=True):
        text = "  ".join(cell.ljust(size) for cell, size in zip(row, widths, strict=True))
        plot = f"  {_plot(point, low, high, room)}" if room >= _LEAST_PLOT else ""
        lines.append(f"  {text}{plot}".rstrip())
    return lines


def _columns(point: Point) -> list[str]:
    commit = (point.commit or "")[:_COMMIT] + ("+" if point.dirty else "")
    interval = (
        "" if point.low is None or point.high is None else f"{numbers.value(point.low)} to {numbers.value(point.high)}"
    )
    count = numbers.count(point.n) + ("" if point.complete else " (partial)")
    return [point.started[:16].replace("T", " "), one_line(commit), numbers.value(point.value), interval, f"n={count}"]


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
