"""Scores from run to run."""

from __future__ import annotations

from typing import Any

from pytest_evals.reports.history import RecordedRun, Series, chosen, history_lines, series


def run(
    day: int, value: float | None, *, complete: bool = True, git: dict[str, Any] | None = None, **row: Any
) -> RecordedRun:
    facts = {"run_id": f"r{day}", "started": f"2026-11-{day:02d}T09:00:00+00:00", "git": git}
    score = {"suite": "capitals", "model": "org/name", "grader": "exact", "n": 24, "mean": value, "pass_rate": value}
    return RecordedRun(facts, complete, [{**score, "ci_low": None, "ci_high": None, **row}])


RUNS = [
    run(3, 0.9, complete=False),
    run(1, 0.5, git={"commit": "0123456789ab", "dirty": True}, ci_low=0.25, ci_high=0.75),
    run(2, None, git={"commit": "ba9876543210", "dirty": False}),
]


def test_runs_are_in_the_order_in_which_they_started() -> None:
    (found,) = series(RUNS)
    assert [(point.run_id, point.value, point.low, point.complete) for point in found.points] == [
        ("r1", 0.5, 0.25, True),
        ("r2", None, None, True),
        ("r3", 0.9, None, False),
    ]
    assert series(RUNS, "pass_rate")[0].points[0].low is None, "the interval is that of the mean"


def test_the_models_of_a_grader_stand_together() -> None:
    rows = [
        {"suite": suite, "model": model, "grader": grader, "n": 1, "mean": 1.0}
        for suite, model, grader in (("b", "m", "x"), ("b", "m", "y"), ("a", "m", "x"), ("b", "n", "x"))
    ]
    found = series([RecordedRun(RUNS[0].run, True, rows)])
    assert [f"{each.suite}{each.grader}{each.model}" for each in found] == ["bxm", "bxn", "bym", "axm"]


def test_a_run_is_marked_where_its_interval_is_apart_from_that_of_the_complete_run_before() -> None:
    bounds = ((0.4, 0.6), (0.5, 0.7), (0.75, 0.9), (0.1, 0.2), (0.1, 0.2))
    runs = [
        run(day, sum(ends) / 2, complete=day != 4, ci_low=ends[0], ci_high=ends[1])
        for day, ends in enumerate(bounds, start=1)
    ]
    assert [point.change for point in series(runs)[0].points] == [None, None, "rose", None, "fell"]
    assert [line.split()[-1] for line in history_lines(series(runs), 60, several_models=False)[3:]] == [
        "rose",
        "(partial)",
        "fell",
    ]


def test_series_are_chosen_by_name() -> None:
    every = [Series("a", "org/name", "x"), Series("a", "other", "y"), Series("b", "other", "x")]
    assert chosen(every, suite="a", model=None, grader=None) == every[:2]
    assert chosen(every, suite=None, model="name", grader="x") == every[:1]
    assert chosen(every, suite="c", model=None, grader=None) == []


def test_each_run_is_a_line_with_its_interval() -> None:
    assert history_lines(series(RUNS), 100, several_models=False) == [
        "capitals.exact",
        "  2026-11-01 09:00  012345678+  0.500  0.250 to 0.750  n=24            |      -------o-------      |",
        "  2026-11-02 09:00  ba9876543   -                      n=24",
        "  2026-11-03 09:00              0.900                  n=24 (partial)  |                       o   |",
    ]


def test_a_narrow_terminal_gets_the_numbers_alone() -> None:
    lines = history_lines(series(RUNS[1:2]), 60, several_models=True)
    assert lines == ["capitals.exact (name)", "  2026-11-01 09:00  012345678+  0.500  0.250 to 0.750  n=24"]
