"""A gate with ``baseline`` on its right side, finished cases and the same cases of an earlier run -> its verdict.

Cases are compared one by one. The gate passes when the estimate meets its bound; it has regressed when it does not and
that can hardly be chance: the p value, adjusted by Holm for all such gates of the run, is at most 5 %. Else it is
inconclusive, and says about how many more cases would tell.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from pytest_evals import statistics
from pytest_evals.baselines.comparison import resampled_corpora, rounded_up
from pytest_evals.baselines.pairing import Joined
from pytest_evals.gates.expression import Gate, in_slice
from pytest_evals.gates.judging import GateResult, Verdict, score_of, why_not_judged, why_pending, why_short
from pytest_evals.gates.statistics import percentile_of, samples_of, value_of, why_none
from pytest_evals.scores.records import CaseRecord
from pytest_evals.scores.score import Score
from pytest_evals.statistics.bootstrap import resampled_quantiles
from pytest_evals.statistics.comparison import is_binary, mcnemar_tail, mean_tail
from pytest_evals.text import pluralize

ALPHA = 0.05
"""How often, at most, a run that changed nothing has any gate that regressed."""


@dataclass(frozen=True, slots=True)
class BaselineTest:
    """A gate against a baseline before the other gates are known. ``p`` is `None` where its verdict is already sure.

    ``deviation`` is that of the differences between cases, ``short`` by how much the estimate misses the bound.
    """

    result: GateResult
    p: float | None = None
    deviation: float | None = None
    short: float = 0.0
    cases: int = 0


def compare(
    gate: Gate,
    suite: str,
    model: str,
    name: str,
    records: Sequence[CaseRecord],
    joined: Joined,
    *,
    missing: int,
    floor: bool,
    budget: bool = False,
    absent: str = "the baseline has no cases of this suite and model",
) -> BaselineTest:
    """Compare as `judge` judges; ``joined`` is that part of both runs that concerns this suite and model. ``absent``
    says what the baseline has instead of them, if it has none.
    """
    pairs = [pair for pair in joined.pairs if in_slice(pair.after[0], gate.slice)]
    now = score_of(suite, model, name, [each for pair in pairs for each in pair.after], budget=budget)
    was = score_of(suite, model, name, [each for pair in pairs for each in pair.before], budget=budget)
    value, before = value_of(now, gate.statistic), value_of(was, gate.statistic)

    def sure(verdict: Verdict, reason: str) -> BaselineTest:
        return BaselineTest(GateResult(gate.text, suite, model, verdict, value, now.n, now.applicable, reason, before))

    chosen = [record for record in records if in_slice(record, gate.slice)]
    untold = why_not_judged(gate, records, chosen, missing) or why_pending(now)
    if untold or not pairs:
        return sure("not judged", untold or _no_pairs(joined, absent))
    lost = why_short(gate, now, floor=floor)
    if lost:
        return sure("failed", f"{lost}; nothing is compared")
    if value is None:
        return sure("failed", why_none(now, gate.statistic))
    if before is None:
        return sure("not judged", f"in the baseline, {why_none(was, gate.statistic)}")
    return _estimated(gate, _matched(now, was), suite=suite, model=model, left=_left_out(joined, len(pairs), gate))


def not_compared(
    gate: Gate, suite: str, model: str, name: str, records: Sequence[CaseRecord], *, budget: bool = False
) -> BaselineTest:
    """Return the verdict where there is no baseline yet, as in the first run: there is nothing to judge."""
    chosen = [record for record in records if in_slice(record, gate.slice)]
    score = score_of(suite, model, name, chosen, budget=budget)
    value = value_of(score, gate.statistic)
    found = "" if value is None else f", {value:.4g} now"
    return BaselineTest(
        GateResult(gate.text, suite, model, "not judged", value, score.n, score.applicable, f"{NO_BASELINE}{found}")
    )


NO_BASELINE = "no baseline to compare with yet"


def _matched(now: Score, was: Score) -> tuple[Score, Score]:
    """Return both scores over the cases that have a grade in both."""
    after, before = ({case.case_id: case for case in score.cases} for score in (now, was))
    both = [case_id for case_id in after if case_id in before]
    return now.of_cases([after[case_id] for case_id in both]), was.of_cases([before[case_id] for case_id in both])


def _estimated(gate: Gate, scores: tuple[Score, Score], *, suite: str, model: str, left: str) -> BaselineTest:
    now, was = scores
    value, before = value_of(now, gate.statistic), value_of(was, gate.statistic)
    if value is None or before is None:
        reason = f"no case has a grade in both runs{left}"
        return BaselineTest(GateResult(gate.text, suite, model, "not judged", value, now.n, now.applicable, reason))
    found = f"{value:.4g} against {before:.4g}"
    if gate.meets(value, before):
        reason = f"{found}: {value - before:+.4g} (n={len(now.cases)}{left})"
        return BaselineTest(
            GateResult(gate.text, suite, model, "passed", value, now.n, now.applicable, reason, before), p=1.0
        )
    reason = f"{found}: {value - before:+.4g}, not {gate.comparison} {gate.bound_text} (n={len(now.cases)}{left})"
    result = GateResult(gate.text, suite, model, "inconclusive", value, now.n, now.applicable, reason, before)
    short = abs(value - gate.bound(before))
    if gate.statistic == "corpus" or percentile_of(gate.statistic) is not None:
        return BaselineTest(result, *_resampled(gate, now, was), short, len(now.cases))
    after, former = _per_case(now, gate.statistic), _per_case(was, gate.statistic)
    p = _p(gate, former, after, now.clusters)
    if _allows(gate, before):
        # Who falls short of an allowance falls short of none: it can only be harder to show.
        p = max(p, _p(replace(gate, number=0.0, factor=1.0), former, after, now.clusters))
    estimate = statistics.estimate_mean(_differences(gate, former, after), now.clusters)
    error = estimate.stderr if estimate else None
    return BaselineTest(result, p, None if error is None else error * math.sqrt(len(after)), short, len(after))


def _p(gate: Gate, before: Sequence[float], after: Sequence[float], clusters: Sequence[str] | None) -> float:
    """Return the one-sided p that the bound is met: of McNemar's exact test where cases are right or wrong and the bound is what
    the baseline has, else of the t test of what each case is above its bound.
    """
    below = gate.comparison.startswith(">")
    if gate.factor == 1 and gate.number == 0 and is_binary(before, after, clusters):
        better = sum(new > old for old, new in zip(before, after, strict=True))
        worse = sum(new < old for old, new in zip(before, after, strict=True))
        return mcnemar_tail(better, worse) if below else mcnemar_tail(worse, better)
    return mean_tail(_differences(gate, before, after), clusters, "below" if below else "above")


def _allows(gate: Gate, before: float) -> bool:
    """Tell whether the bound is easier to meet than what the baseline has."""
    return gate.bound(before) < before if gate.comparison.startswith(">") else gate.bound(before) > before


def _differences(gate: Gate, before: Sequence[float], after: Sequence[float]) -> list[float]:
    """Return by how much each case is above what the bound asks of it: the gate is that their mean is not below 0."""
    return [new - gate.bound(old) for old, new in zip(before, after, strict=True)]


def _per_case(score: Score, statistic: str) -> list[float]:
    samples = samples_of(statistic)
    if samples:
        kind, k = samples
        compute = statistics.pass_at_k if kind == "@" else statistics.pass_hat_k
        return [compute(sum(case.verdicts), len(case.verdicts), k) or 0.0 for case in score.cases]
    if statistic == "pass_rate":
        return [sum(case.verdicts) / len(case.verdicts) for case in score.cases]
    return [case.mean for case in score.cases]


def _resampled(gate: Gate, now: Score, was: Score) -> tuple[float, float | None]:
    """Return p value and deviation of a percentile or a corpus-level metric, for which there is no formula: cases (or
    clusters) are drawn anew, the same ones for both runs.
    """
    labels = now.clusters or [case.case_id for case in now.cases]
    if len(set(labels)) < 2:
        return 1.0, None
    if gate.statistic == "corpus":
        drawn = resampled_corpora([[case.parts for case in score.cases] for score in (now, was)], labels)
    else:
        runs = [[case.values for case in score.cases] for score in (now, was)]
        drawn = resampled_quantiles(runs, percentile_of(gate.statistic) or 0.0, labels)
    excess = drawn[:, 0] - gate.number - gate.factor * drawn[:, 1]
    upwards = gate.comparison.startswith(">")

    def met(above: Any) -> int:
        return int((above >= 0).sum() if upwards else (above <= 0).sum())

    most = met(excess)
    before = value_of(was, gate.statistic)
    if before is not None and _allows(gate, before):
        most = max(most, met(drawn[:, 0] - drawn[:, 1]))
    return (most + 1) / (len(drawn) + 1), float(excess.std()) * math.sqrt(len(now.cases))


def _no_pairs(joined: Joined, absent: str) -> str:
    if not joined.pairs and not joined.changed and not joined.gone:
        return absent
    if joined.pairs:
        return "the baseline has no case of this slice"
    return f"the baseline has no case with the same row: {'; '.join(joined.notes())}"


def _left_out(joined: Joined, compared: int, gate: Gate) -> str:
    """Say what was not compared, after the number of what was."""
    counts = {"new": len(joined.new), "changed": len(joined.changed), "gone": len(joined.gone)}
    if gate.slice:
        counts["new"] = sum(in_slice(case[0], gate.slice) for case in joined.new)
        counts["changed"] = sum(in_slice(pair.after[0], gate.slice) for pair in joined.changed)
        # Rows of cases that are gone may not be known any more.
        counts["gone"] = 0
    parts = [f"{number} {name}" for name, number in counts.items() if number]
    return f" of {compared}; not compared: {', '.join(parts)}" if parts else ""


def decide(comparisons: Sequence[BaselineTest]) -> list[GateResult]:
    """Return the verdicts, now that all comparisons of the run are known."""
    family = [comparison for comparison in comparisons if comparison.p is not None]
    adjusted = iter(statistics.holm([comparison.p or 0.0 for comparison in family]))
    return [
        comparison.result if comparison.p is None else _verdict(comparison, next(adjusted), len(family))
        for comparison in comparisons
    ]


def _verdict(comparison: BaselineTest, p: float, family: int) -> GateResult:
    result = comparison.result
    if result.verdict == "passed":
        return result
    told = f"p={p:.2g}" + (f" over {family} gates" if family > 1 else "")
    if p <= ALPHA:
        return replace(result, verdict="regressed", p=p, reason=f"{result.reason}; {told}")
    more = _more_cases(comparison, p)
    advice = "more cases would tell" if more is None else f"about {pluralize(more, 'more case')} would tell"
    return replace(result, p=p, more_cases=more, reason=f"{result.reason}; {told}, {advice}")


def _more_cases(comparison: BaselineTest, adjusted: float) -> int | None:
    """Return how many more cases would show a difference of this size with a probability of 80 %."""
    deviation, n = comparison.deviation, comparison.cases
    if deviation is None or not comparison.p:
        return None
    alpha = ALPHA * min(comparison.p / adjusted, 1.0)
    needed = statistics.required_size(deviation, comparison.short, alpha=alpha, sides=1)
    return None if needed is None else rounded_up(max(needed - n, 1))
