"""``--evals-stop-early``: when are the gates of a suite settled?

The cases of a suite run in a random order that was drawn before, so that those which ran are a random sample, without
replacement, of all. After each case a test that may be looked at at any time (`settling`) tells of each gate whether *all*
cases meet it.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from pytest_evals import statistics
from pytest_evals.gates import Gate, in_slice
from pytest_evals.gates.judging import score_of
from pytest_evals.gates.statistics import percentile_of, samples_of
from pytest_evals.scores.records import CaseRecord
from pytest_evals.scores.score import Score
from pytest_evals.settling import CountOf, ExtremeOf, MeanOf, QuantileOf, SettlingTest

ALPHA = 0.05
"""The probability that some gate of a run is settled on the wrong side."""
_MEANS = ("mean", "pass_rate", "coverage", "rate")
_EXTREMES = ("min", "max", "min_case")


def visiting_order(case_ids: Iterable[str], suite: str, seed: int) -> list[str]:
    """Return the cases in the order in which they run: it depends on nothing but the cases, the suite and the seed."""
    order = sorted(case_ids)
    random.Random(f"{seed}/{suite}").shuffle(order)  # noqa: S311 - a draw that can be repeated
    return order


def why_unsettleable(gate: Gate, *, budget: bool) -> str | None:
    """Say why a gate cannot be settled before all cases ran; `None` when it can."""
    statistic = gate.statistic
    if gate.relative:
        return "it compares with a baseline"
    if gate.comparison == "==":
        return "that a value is exactly this one is known only of all cases"
    if statistic in ("stderr", "ci_low", "ci_high", "corpus"):
        return f"{statistic} is no mean, percentile, extreme or count, and what it will be of all cases is not known before"
    if budget and statistic == "mean":
        return "nobody knows how much the most expensive case will take"
    if budget and gate.target.rpartition(".")[2] == "latency" and statistic not in _EXTREMES:
        return "how long a case takes depends on when it runs"
    return None


@dataclass(slots=True)
class GateWatch:
    """One gate on one suite and model. ``population``: the cases that it is about, those that have not run among them.

    ``lost`` is why it cannot be settled any more.
    """

    gate: Gate
    grader: str
    population: int
    alpha: float
    repeats: int = 1
    budget: bool = False
    lost: str | None = None
    seen: int = 0
    _test: SettlingTest | None = None
    _bounds: statistics.Bounds | None = None

    def add(self, records: Sequence[CaseRecord]) -> None:
        """Take a case: all its repeats."""
        if self.lost or not in_slice(records[0], self.gate.slice):
            return
        score = score_of(records[0].suite, records[0].model, self.grader, records, budget=self.budget)
        values = self._values(score, len(records))
        if not values or self.lost:
            return
        if self._test is None:
            self._test = self._make_test()
        self.seen += 1
        self._test.add(values)

    def _values(self, score: Score, samples: int) -> Sequence[float]:
        """Return what the case adds: its own value, or those of its samples where the statistic is about samples."""
        statistic = self.gate.statistic
        if statistic == "coverage" and not score.not_applicable:
            return [score.coverage or 0.0]
        if score.errors or score.pending:
            self.lost = "some cases have no grade"
        elif statistic in ("count", *_EXTREMES):
            # Where the grader does not apply, nothing is added to them.
            return [case.mean for case in score.cases] if statistic == "min_case" else score.values
        elif score.n < samples:
            self.lost = "its grader does not apply to some cases"
        elif percentile_of(statistic) is not None:
            return score.values
        else:
            return self._one_value(score)
        return ()

    def _one_value(self, score: Score) -> Sequence[float]:
        drawn = samples_of(self.gate.statistic)
        if drawn:
            kind, k = drawn
            estimate = score.pass_at(k) if kind == "@" else score.pass_hat(k)
            value, bounds = estimate.mean if estimate else None, (0.0, 1.0)
        elif self.gate.statistic == "pass_rate":
            value, bounds = score.pass_rate, (0.0, 1.0)
        elif score.bounds is None:
            self.lost = "between what its grades can be is not known (bounds= of the grader says it)"
            return ()
        else:
            value, bounds = score.mean, score.bounds
        if value is None:
            self.lost = "some grades have no verdict"
        elif self._bounds not in (None, bounds):
            self.lost = "its grades have other bounds in some cases"
        self._bounds = bounds
        return () if value is None else [value]

    def _make_test(self) -> SettlingTest:
        gate = self.gate
        if gate.statistic in _EXTREMES:
            return ExtremeOf(gate)
        if gate.statistic == "count":
            return CountOf(gate, self.population * self.repeats)
        if percentile_of(gate.statistic) is not None:
            return QuantileOf(gate, self.population, self.alpha, self.repeats)
        return MeanOf(gate, self.population, self.alpha, self._bounds or (0.0, 1.0))

    @property
    def settled(self) -> bool:
        """Tell whether all cases are shown to meet the gate or not, and what ran so far does alike, so that the gate is
        judged accordingly.
        """
        met = self._test.met if self._test else None
        return (
            not self.lost and self._test is not None and met is not None and self.gate.meets(self._test.so_far) == met
        )


@dataclass(slots=True)
class SuiteWatch:
    """All gates of one suite and model. ``repeats``: samples of each case; a case counts once it has all of them."""

    gates: list[GateWatch]
    repeats: int = 1
    _open: dict[str, list[CaseRecord]] = field(default_factory=dict)

    def add(self, record: CaseRecord) -> None:
        """Take a finished sample."""
        records = self._open.setdefault(record.case_id, [])
        records.append(record)
        if len(records) == self.repeats:
            del self._open[record.case_id]
            for watch in self.gates:
                watch.add(records)

    @property
    def settled(self) -> bool:
        """Tell whether nothing more is to be learnt: every gate is settled, and no case has only some of its repeats."""
        return bool(self.gates) and not self._open and all(watch.settled for watch in self.gates)

    def lost(self) -> list[str]:
        """Say of each gate that can no longer be settled, why."""
        return [f"{watch.gate.text!r}: {watch.lost}" for watch in self.gates if watch.lost]
