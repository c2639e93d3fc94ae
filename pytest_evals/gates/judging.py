"""A gate and finished cases -> its verdict."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from pytest_evals.gates.expression import Gate, in_slice
from pytest_evals.gates.statistics import value_of, why_none
from pytest_evals.scores.records import CaseRecord, GradeRecord
from pytest_evals.scores.score import Score, compute_score
from pytest_evals.text import pluralize

Verdict = Literal["passed", "failed", "not judged", "regressed", "inconclusive"]


@dataclass(frozen=True, slots=True)
class GateResult:
    """A gate on one suite and model, judged. ``n`` of ``applicable`` cases were graded; ``reason`` says why in words.

    The rest is of gates against a baseline: what the baseline has over the same cases, the p value of "not worse than
    the bound" (adjusted for the number of such gates), and how many more cases would probably tell.
    """

    gate: str
    suite: str
    model: str
    verdict: Verdict
    value: float | None
    n: int
    applicable: int
    reason: str
    baseline: float | None = None
    p: float | None = None
    more_cases: int | None = None
    strict: bool = False
    """Tells that this gate fails the build where it is inconclusive."""

    @property
    def fails(self) -> bool:
        """Tell whether the build fails because of this gate."""
        return self.verdict in ("failed", "regressed") or (self.verdict == "inconclusive" and self.strict)


def judge(
    gate: Gate,
    suite: str,
    model: str,
    name: str,
    records: Sequence[CaseRecord],
    *,
    missing: int,
    floor: bool,
    budget: bool = False,
) -> GateResult:
    """Judge one gate with a number on the finished cases of one suite and model. ``name`` is its grader or ``budget``.

    ``missing`` is the number of declared cases that did not run: with any, the gate is *not judged*. Cases without a
    grade because something broke make it fail, unless ``floor`` says that another gate already watches over them: one
    on the coverage of the same grader, or on errors.
    """
    chosen = [record for record in records if in_slice(record, gate.slice)]
    score = score_of(suite, model, name, chosen, budget=budget)

    def result(verdict: Verdict, value: float | None, reason: str) -> GateResult:
        return GateResult(gate.text, suite, model, verdict, value, score.n, score.applicable, reason)

    untold = why_not_judged(gate, records, chosen, missing) or why_pending(score)
    if untold:
        return result("not judged", None, untold)
    value = value_of(score, gate.statistic)
    if value is None:
        return result("failed", None, why_none(score, gate.statistic))
    lost = why_short(gate, score, floor=floor)
    if lost:
        return result("failed", value, f"{lost}; over the rest it is {value:.4g}")
    size = f"n={score.n}" if score.n == len(score.cases) else f"n={len(score.cases)}, {pluralize(score.n, 'sample')}"
    if gate.meets(value):
        return result("passed", value, f"{value:.4g} ({size})")
    reason = f"{value:.4g}, not {gate.comparison} {gate.number:g} ({size}){_out_of_reach(gate, score)}"
    return result("failed", value, reason)


def _out_of_reach(gate: Gate, score: Score) -> str:
    """Say it where no grades could ever meet the gate, since its number is beyond what values can be."""
    if score.bounds is None or gate.statistic in ("stderr", "corpus", "count"):
        return ""
    low, high = score.bounds
    if low <= gate.number <= high if gate.comparison == "==" else gate.meets(low) or gate.meets(high):
        return ""
    if gate.number <= low:
        return f": no value is below {low:g}"
    meant = f"; is {gate.number:g}% meant?" if high == 1 < gate.number <= 100 else ""
    return f": no value is above {high:g}{meant}"


def score_of(suite: str, model: str, name: str, records: Sequence[CaseRecord], *, budget: bool) -> Score:
    """Return the score that a gate is on."""
    return budget_score(suite, model, name, records) if budget else compute_score(suite, model, name, records)


def why_not_judged(gate: Gate, records: Sequence[CaseRecord], chosen: Sequence[CaseRecord], missing: int) -> str | None:
    """Say why there is nothing to judge; `None` when there is."""
    if missing:
        return f"{missing} of {pluralize(missing + len(records), 'case')} did not run"
    if chosen:
        return None
    return f"--evals-limit leaves no case in the slice {gate.slice[0]}={gate.slice[1]}" if gate.slice else "no case ran"


def why_pending(score: Score) -> str | None:
    """Say how many cases wait for people to grade them; `None` where none does, or where something broke beside them."""
    if not score.pending or score.errors:
        return None
    return f"{score.pending} of {score.applicable} cases wait for an answer (pytest-evals annotate)"


def why_short(gate: Gate, score: Score, *, floor: bool) -> str | None:
    """Say which cases lack a grade because something broke; `None` when none does or another gate watches over them."""
    if gate.statistic == "coverage" or floor or score.n == score.applicable:
        return None
    broken = f"{pluralize(score.errors, 'error')}, {score.pending} pending"
    return f"{score.applicable - score.n} of {score.applicable} cases have no grade ({broken})"


# -- What cases cost, as scores: tokens, latency, errors. The same statistics, intervals and slices as those of graders.

_MEASURES: Mapping[str, Callable[[CaseRecord], float | None]] = {
    "tokens": lambda record: record.tokens,
    "prompt_tokens": lambda record: record.prompt_tokens,
    "latency": lambda record: record.latency,
    "cost": lambda record: record.cost,
    "errors": lambda record: None if record.outcome == "skipped" else float(broke(record)),
}


def budget_score(suite: str, model: str, budget: str, records: Iterable[CaseRecord]) -> Score:
    """Return the score of a budget. A case that broke before it cost anything is an error of it, as of a grader."""
    measure = _MEASURES[budget]
    return compute_score(
        suite, model, budget, [replace(each, grades=(_grade(budget, measure, each),)) for each in records]
    )


def _grade(budget: str, measure: Callable[[CaseRecord], float | None], record: CaseRecord) -> GradeRecord:
    value = measure(record)
    if value is not None:
        # A token is not a right answer: one of each case says nothing of right and wrong.
        bounds = None if budget == "errors" else (0.0, math.inf)
        return GradeRecord(budget, float(value), None, "graded", bounds=bounds)
    return GradeRecord(budget, None, None, "error" if broke(record) else "not_applicable")


def broke(record: CaseRecord) -> bool:
    """Tell whether something broke in the case: the model, a grader, the test itself."""
    return record.outcome == "errored" or any(grade.status == "error" for grade in record.grades)
