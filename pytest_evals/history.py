"""Several runs -> how each score went from run to run. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

Key = tuple[str, str, str]
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
    models of one grader stand together.
    """
    found: dict[Key, Series] = {}
    for recorded in sorted(runs, key=lambda each: str(each.run["started"])):
        for row in recorded.scores:
            key = (row["suite"], row["model"], row["grader"])
            found.setdefault(key, Series(*key)).points.append(_point(recorded, row, statistic))
    places: dict[tuple[str, str], int] = {}
    for suite, _, grader in found:
        places.setdefault((suite, grader), len(places))
    suites = list(dict.fromkeys(suite for suite, _, _ in found))
    return sorted(found.values(), key=lambda each: (suites.index(each.suite), places[each.suite, each.grader]))


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


def chosen(found: Iterable[Series], *, suite: str | None, model: str | None, grader: str | None) -> list[Series]:
    """Return the series of one suite, model or grader, where these are given; a model also by the end of its name."""
    return [
        each
        for each in found
        if suite in (None, each.suite)
        and grader in (None, each.grader)
        and (model is None or model == each.model or each.model.endswith(f"/{model}"))
    ]
