"""``--evals-stop-early``: when are the gates of a suite settled?

The cases of a suite run in a random order that was drawn before, so that those which ran are a random sample, without
replacement, of all. After each case a test that may be looked at at any time (`statistics.sequential`) tells of each gate on
which side of its number the mean of *all* cases is.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from pytest_evals.gates import Gate, in_slice
from pytest_evals.records import CaseRecord
from pytest_evals.scoring import compute_score
from pytest_evals.statistics.sequential import MeanTest

ALPHA = 0.05
"""The probability that some gate of a run is settled on the wrong side."""
SETTLEABLE = ("mean", "pass_rate", "coverage")
_MEANS_LARGE_IS_MET = (">=", ">")


def visiting_order(case_ids: Iterable[str], suite: str, seed: int) -> list[str]:
    """Return the cases in the order in which they run: it depends on nothing but the cases, the suite and the seed."""
    order = sorted(case_ids)
    random.Random(f"{seed}/{suite}").shuffle(order)  # noqa: S311 - a draw that can be repeated
    return order


def why_unsettleable(gate: Gate, *, budget: bool) -> str | None:
    """Say why a gate cannot be settled before all cases ran; `None` when it can."""
    if gate.relative:
        return "it compares with a baseline"
    if budget or gate.statistic not in SETTLEABLE or gate.comparison == "==":
        return "only a mean, a pass rate or a coverage can be settled, by >=, >, <= or <"
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
    lost: str | None = None
    total: float = 0.0
    seen: int = 0
    _test: MeanTest = field(init=False)

    def __post_init__(self) -> None:
        self._test = MeanTest(self.gate.number, self.alpha, self.population)

    def add(self, records: Sequence[CaseRecord]) -> None:
        """Take a case: all its repeats."""
        if self.lost or not in_slice(records[0], self.gate.slice):
            return
        value = self._value(records)
        if value is None:
            return
        self.total += value
        self.seen += 1
        self._test.add(value)

    def _value(self, records: Sequence[CaseRecord]) -> float | None:
        score = compute_score(records[0].suite, records[0].model, self.grader, records)
        if score.not_applicable or score.n + score.errors + score.pending < len(records):
            self.lost = "its grader does not apply to some cases"
        elif self.gate.statistic == "coverage":
            return score.coverage
        elif score.n < len(records):
            self.lost = "some cases have no grade"
        else:
            value = score.mean if self.gate.statistic == "mean" else score.pass_rate
            if value is not None and all(0 <= each <= 1 for each in score.values):
                return value
            self.lost = "grades are not between 0 and 1"
        return None

    @property
    def settled(self) -> bool:
        """Tell whether the side is shown, and what ran so far is on it too, so that the gate is judged accordingly."""
        side = self._test.verdict
        if self.lost or side is None or not self.seen:
            return False
        large_is_met = self.gate.comparison in _MEANS_LARGE_IS_MET
        return self.gate.meets(self.total / self.seen) == ((side == "above") == large_is_met)


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
