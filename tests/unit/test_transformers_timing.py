"""The time of a computation is that of its fastest run, and what takes long is not run often."""

from __future__ import annotations

import itertools
from types import SimpleNamespace

import pytest

from pytest_evals.engines.transformers.cpu import tuning


@pytest.mark.parametrize(
    ("runs", "least", "count"),
    [
        # The first one compiles.
        ([4.0, 0.03, 0.02, 0.05, 0.04], 0.02, 5),
        ([0.01] * 5, 0.01, 5),
        ([0.9, 0.8], 0.8, 2),
        ([0.1, 0.1, 0.3], 0.1, 3),
    ],
)
def test_runs_and_the_time_that_counts(
    monkeypatch: pytest.MonkeyPatch, runs: list[float], least: float, count: int
) -> None:
    clock, seconds, calls = itertools.count(), iter(runs), list[int]()
    now = 0.0

    def read() -> float:
        nonlocal now
        if next(clock) % 2:
            now += next(seconds)
        return now

    monkeypatch.setattr(tuning, "time", SimpleNamespace(perf_counter=read))
    assert tuning.least_seconds(lambda: calls.append(1)) == pytest.approx(least)
    assert len(calls) == count
