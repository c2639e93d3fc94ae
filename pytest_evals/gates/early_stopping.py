"""``--evals-stop-early``: when are the gates of a suite settled?

The cases of a suite run in a random order that was drawn before, so that those which ran are a random sample, without
replacement, of all. After each case a test that may be looked at at any time says for each gate whether *all*
cases meet it.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from pytest_evals import statistics
from pytest_evals.gates import Gate, in_slice
from pytest_evals.gates.judging import score_of
from pytest_evals.gates.statistics import percentile_of, samples_of
from pytest_evals.scores.records import CaseRecord
from pytest_evals.scores.score import Score
from pytest_evals.statistics.sequential import MeanTest

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
    if not _is_settleable(statistic):
        return f"{statistic} is not a mean, percentile, extreme or count, and what it will be of all cases is not known before"
    if budget and statistic == "mean":
        return "it is not known how much the most expensive case will take"
    if budget and gate.target.rpartition(".")[2] == "latency" and statistic not in _EXTREMES:
        return "how long a case takes depends on when it runs"
    return None


def _is_settleable(statistic: str) -> bool:
    """Tell whether there is a test for the statistic. One that is not listed here is not taken for a mean."""
    listed = statistic in (*_MEANS, *_EXTREMES, "count")
    return listed or percentile_of(statistic) is not None or samples_of(statistic) is not None


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
        elif self.gate.statistic not in _MEANS:
            raise ValueError(f"there is no test that settles {self.gate.statistic!r}")
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


# -- When what a gate asks of *all* cases is shown by some of them, drawn at random without replacement.
#
# Each test takes one case after another and tells whether the gate is met by all: `True`, `False`, or `None` while that is
# open. What it tells is certain, or wrong with a probability of at most ``alpha``, however often one looks.

_AT_LEAST = (">=", ">")


class SettlingTest(Protocol):
    """What is asked of a gate."""

    def add(self, values: Sequence[float]) -> None:
        """Take a case: its value, or those of its samples."""
        ...

    @property
    def met(self) -> bool | None:
        """Tell whether all cases meet the gate; `None` while that is open."""
        ...

    @property
    def so_far(self) -> float:
        """The statistic of the cases that were taken, as the gate is judged on them."""
        ...


@dataclass(slots=True)
class MeanOf:
    """A mean over cases of values between ``bounds``; one value a case."""

    gate: Gate
    population: int
    alpha: float
    bounds: tuple[float, float] = (0.0, 1.0)
    _test: MeanTest = field(init=False)
    _total: float = 0.0

    def __post_init__(self) -> None:
        self._test = MeanTest(self._scaled(self.gate.number), self.alpha, self.population)

    def _scaled(self, number: float) -> float:
        return (number - self.bounds[0]) / (self.bounds[1] - self.bounds[0])

    def add(self, values: Sequence[float]) -> None:
        """See `SettlingTest`."""
        for value in values:
            self._total += value
            self._test.add(min(max(self._scaled(value), 0.0), 1.0))

    @property
    def met(self) -> bool | None:
        """See `SettlingTest`."""
        side = self._test.verdict
        return None if side is None else (side == "above") == (self.gate.comparison in _AT_LEAST)

    @property
    def so_far(self) -> float:
        """See `SettlingTest`."""
        return self._total / self._test.seen


@dataclass(slots=True)
class QuantileOf:
    """A percentile of all samples, ``repeats`` of each case; it needs no bounds.

    With at most k of M values below the number, the k-th and all above are not, k being (M - 1) p without its fraction; so the
    percentile is not below it. With two more it is (with one more, where there is no fraction). That is a question about a mean:
    of the share of values that are below.
    """

    gate: Gate
    population: int
    alpha: float
    repeats: int = 1
    _test: MeanTest = field(init=False)
    _values: list[float] = field(default_factory=list)

    def __post_init__(self) -> None:
        samples = self.population * self.repeats
        place = (samples - 1) * self._share
        whole = math.floor(place)
        between = (whole + (0.5 if place == whole else 1)) / samples
        self._test = MeanTest(between, self.alpha, self.population)

    @property
    def _share(self) -> float:
        return percentile_of(self.gate.statistic) or 0.0

    def add(self, values: Sequence[float]) -> None:
        """See `SettlingTest`."""
        self._values += values
        # "at least" and "below" ask for values below the number, "above" and "at most" for those that are not above it.
        strict, number = self.gate.comparison in (">=", "<"), self.gate.number
        below = sum(value < number if strict else value <= number for value in values)
        self._test.add(below / len(values))

    @property
    def met(self) -> bool | None:
        """See `SettlingTest`."""
        side = self._test.verdict
        return None if side is None else (side == "below") == (self.gate.comparison in _AT_LEAST)

    @property
    def so_far(self) -> float:
        """See `SettlingTest`."""
        return statistics.quantile(self._values, self._share) or 0.0


@dataclass(slots=True)
class ExtremeOf:
    """A minimum, which only falls, or a maximum, which only rises: once on the wrong side of the number (or on the right
    one, for ``min <= x``) it stays there.
    """

    gate: Gate
    _extreme: float | None = None

    @property
    def _pick(self) -> Callable[..., float]:
        return max if self.gate.statistic == "max" else min

    def add(self, values: Sequence[float]) -> None:
        """See `SettlingTest`."""
        self._extreme = self._pick(values) if self._extreme is None else self._pick(self._extreme, *values)

    @property
    def met(self) -> bool | None:
        """See `SettlingTest`."""
        if self._extreme is None:
            return None
        met = self.gate.meets(self._extreme)
        rising = self.gate.statistic == "max"
        return met if met == (rising == (self.gate.comparison in _AT_LEAST)) else None

    @property
    def so_far(self) -> float:
        """See `SettlingTest`."""
        return self._extreme or 0.0


@dataclass(slots=True)
class CountOf:
    """A number of samples, which only rises, and by at most as many as are left."""

    gate: Gate
    samples: int
    _count: float = 0.0
    _seen: int = 0

    def add(self, values: Sequence[float]) -> None:
        """See `SettlingTest`."""
        self._count += math.fsum(values)
        self._seen += len(values)

    @property
    def met(self) -> bool | None:
        """See `SettlingTest`."""
        least, most = (self.gate.meets(count) for count in (self._count, self._count + self.samples - self._seen))
        return least if least == most else None

    @property
    def so_far(self) -> float:
        """See `SettlingTest`."""
        return self._count
