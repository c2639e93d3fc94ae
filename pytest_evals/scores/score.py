"""One score: what a grader said of the cases of a suite and model, with its denominator and its uncertainty.

Every sample of a suite is in exactly one count of each of its graders: graded, not applicable, error, pending or
not run. A case that ran several times is one unit: means are over cases, and so are their errors; a case whose rows
belong together with others (``cluster``) counts with them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

from pytest_evals import statistics
from pytest_evals.hashing import of_last
from pytest_evals.scores import corpus
from pytest_evals.scores.records import CaseRecord, GradeRecord, grades_of
from pytest_evals.statistics.means import Spread

if TYPE_CHECKING:
    from pytest_evals.statistics.prediction_powered import CorrectedMean

IntervalKind = Literal["Wilson", "bounded", "t"]
"""Wilson's (1927) for shares, `pytest_evals.statistics.intervals` and Student's for other means."""


@dataclass(frozen=True, slots=True)
class CaseGrades:
    """What one grader said of the samples of one case; at least one is graded."""

    case_id: str
    values: tuple[float, ...]
    verdicts: tuple[bool, ...]
    cluster: str | None = None
    parts: tuple[corpus.CorpusPart, ...] = ()
    """What its samples add to a corpus-level metric."""
    label: float | None = None
    """What people's label is worth on the grader's scale."""

    @property
    def mean(self) -> float:
        """Mean over samples."""
        return sum(self.values) / len(self.values)

    @property
    def flaky(self) -> bool:
        """Tell whether samples disagree: in their verdicts, or in their values where there are none."""
        return len(set(self.verdicts or self.values)) > 1


@dataclass(frozen=True, slots=True)
class Score:
    """The grades of one grader over the cases of one suite and model. ``values`` are those of graded samples, in order."""

    suite: str
    model: str
    grader: str
    values: tuple[float, ...]
    verdicts: tuple[bool, ...]
    not_applicable: int
    errors: int
    pending: int
    corpus: float | None = None
    """The corpus-level metric; `None` unless every graded case brings its part of it."""
    cases: tuple[CaseGrades, ...] = ()
    bounds: statistics.Bounds | None = None
    """Between what the values can be, see `common_bounds`."""

    @property
    def n(self) -> int:
        """Graded samples (cases, where each ran once): the denominator of every statistic."""
        return len(self.values)

    @property
    def applicable(self) -> int:
        """Samples that should have a grade."""
        return self.n + self.errors + self.pending

    @property
    def repeats(self) -> int:
        """Graded samples of the case that has the fewest, 0 without cases."""
        return min((len(case.values) for case in self.cases), default=0)

    @property
    def clusters(self) -> list[str] | None:
        """What each case belongs to; `None` where each stands for itself."""
        if all(case.cluster is None for case in self.cases):
            return None
        return [case.case_id if case.cluster is None else case.cluster for case in self.cases]

    @property
    def estimate(self) -> statistics.Estimate | None:
        """Mean over cases of the mean over samples, with its error; `None` without samples."""
        return _estimate(self)

    @property
    def mean(self) -> float | None:
        """Mean value over cases."""
        estimate = self.estimate
        return estimate.mean if estimate else None

    @property
    def stderr(self) -> float | None:
        """Standard error of the mean; `None` below two cases (or clusters)."""
        estimate = self.estimate
        return estimate.stderr if estimate else None

    @property
    def interval_kind(self) -> IntervalKind:
        """Which interval the mean has: Wilson's for right and wrong, else by whether the bounds of the values are known."""
        if self.bounds is None or not math.isfinite(self.bounds[1]):
            return "t"
        return "Wilson" if self.bounds == (0, 1) and set(self.values) <= {0, 1} else "bounded"

    @property
    def interval(self) -> statistics.Interval | None:
        """The mean's interval at 95 %, over cases (or clusters).

        Wilson's is at the effective number of samples, where some belong together. Student's is `None` below two cases
        and where all are equal, since then nothing tells how far others may be; it ends at a bound that is known.
        """
        estimate = self.estimate
        if estimate is None:
            return None
        if self.interval_kind == "Wilson":
            return statistics.wilson_clustered(estimate, self.n)
        if self.interval_kind == "bounded" and self.bounds:
            return statistics.bounded_interval([case.mean for case in self.cases], self.bounds, self.clusters)
        found = estimate.interval()
        return statistics.Interval(max(found.low, self.bounds[0]), found.high) if found and self.bounds else found

    @property
    def corrected(self) -> CorrectedMean | None:
        """The mean of people's labels over all graded cases, predicted from the labels of some and the grades of all; `None` below
        two labels, and where every case has one.
        """
        labelled = [case for case in self.cases if case.label is not None]
        if len(labelled) < 2 or len(labelled) == len(self.cases):
            return None
        # Most runs have no labels.
        from pytest_evals.statistics.prediction_powered import Labels, corrected_mean

        others = [case for case in self.cases if case.label is None]
        together = self.clusters is not None
        found = Labels(
            [case.label for case in labelled if case.label is not None],
            [case.mean for case in labelled],
            [case.mean for case in others],
            [case.cluster or case.case_id for case in labelled] if together else None,
            [case.cluster or case.case_id for case in others] if together else None,
        )
        return corrected_mean(found, bounds=self.bounds)

    @property
    def has_verdicts(self) -> bool:
        """Tell whether every graded sample passed or failed."""
        return self.n > 0 and len(self.verdicts) == self.n

    @property
    def pass_rate(self) -> float | None:
        """Share of samples that passed, over cases; `None` unless every graded sample has a verdict."""
        return (
            statistics.mean([sum(case.verdicts) / len(case.verdicts) for case in self.cases])
            if self.has_verdicts
            else None
        )

    @property
    def min_case(self) -> float | None:
        """The lowest mean of a case."""
        return min((case.mean for case in self.cases), default=None)

    def pass_at(self, k: int) -> statistics.Estimate | None:
        """Return pass@k, over cases: that one of ``k`` samples passes; `None` where a case has fewer samples or no verdicts."""
        return self._over_cases(statistics.pass_at_k, k)

    def pass_hat(self, k: int) -> statistics.Estimate | None:
        """Return pass^k, over cases: that all of ``k`` samples pass; `None` as for `pass_at`."""
        return self._over_cases(statistics.pass_hat_k, k)

    def _over_cases(self, compute: Callable[[int, int, int], float | None], k: int) -> statistics.Estimate | None:
        if not self.has_verdicts:
            return None
        found = [compute(sum(case.verdicts), len(case.verdicts), k) for case in self.cases]
        known = [value for value in found if value is not None]
        return statistics.estimate_mean(known, self.clusters) if len(known) == len(found) else None

    @property
    def spread(self) -> Spread:
        """Variance between cases and between samples of one case."""
        return statistics.spread([case.values for case in self.cases])

    @property
    def coverage(self) -> float | None:
        """Share of applicable samples that are graded."""
        return self.n / self.applicable if self.applicable else None

    def of_cases(self, cases: Sequence[CaseGrades]) -> Score:
        """Return the score of some of its cases; nothing of theirs is missing."""
        values = tuple(value for case in cases for value in case.values)
        verdicts = tuple(verdict for case in cases for verdict in case.verdicts)
        parts = [part for case in cases for part in case.parts]
        whole = corpus.combine(parts) if self.corpus is not None else None
        return replace(
            self,
            values=values,
            verdicts=verdicts,
            not_applicable=0,
            errors=0,
            pending=0,
            corpus=whole,
            cases=tuple(cases),
        )

    def to_row(self) -> dict[str, Any]:
        """Return the score as plain data: a line of `EvaluationArtifact.scores`."""
        interval, repeats, corrected = self.interval, self.repeats, self.corrected
        at, hat = (self.pass_at(repeats), self.pass_hat(repeats)) if repeats > 1 else (None, None)
        return {
            "suite": self.suite,
            "model": self.model,
            "grader": self.grader,
            "n": self.n,
            "cases": len(self.cases),
            "mean": self.mean,
            "stderr": self.stderr,
            "ci_low": interval.low if interval else None,
            "ci_high": interval.high if interval else None,
            "interval": self.interval_kind if interval else None,
            "bounds": list(self.bounds) if self.bounds and math.isfinite(self.bounds[1]) else None,
            "pass_rate": self.pass_rate,
            "min": min(self.values, default=None),
            "max": max(self.values, default=None),
            "median": statistics.median(self.values),
            "p05": statistics.quantile(self.values, 0.05),
            "p95": statistics.quantile(self.values, 0.95),
            "repeats": repeats,
            "pass_at_k": at.mean if at else None,
            "pass_hat_k": hat.mean if hat else None,
            "min_case": self.min_case,
            "coverage": self.coverage,
            "corpus": self.corpus,
            "corrected": corrected.mean if corrected else None,
            "corrected_low": corrected.interval.low if corrected else None,
            "corrected_high": corrected.interval.high if corrected else None,
            "errors": self.errors,
            "not_applicable": self.not_applicable,
            "pending": self.pending,
        }


@of_last
def _estimate(score: Score) -> statistics.Estimate | None:
    # Mean, error and interval of a score are asked for one after another.
    return statistics.estimate_repeated([case.values for case in score.cases], score.clusters)


# -- Grades of many cases -> one score a suite, model and grader.


def compute_score(suite: str, model: str, grader: str, records: Iterable[CaseRecord]) -> Score:
    """Sum up what one grader said of the cases of one suite and model."""
    graded: list[tuple[CaseRecord, GradeRecord, float]] = []
    counts = {"not_applicable": 0, "error": 0, "pending": 0}
    for record in records:
        for grade in grades_of(record, grader):
            if grade.status == "graded" and grade.value is not None:
                graded.append((record, grade, grade.value))
            else:
                counts[grade.status] += 1
    values = tuple(value for _, _, value in graded)
    verdicts = [grade.passed for _, grade, _ in graded]
    unsaid = all(grade.passed is None and grade.bounds is None and not _is_loss(grade) for _, grade, _ in graded)
    if values and unsaid and set(values) <= {0.0, 1.0}:
        # A grader that returns 1 and 0, and says no more about them, means right and wrong.
        verdicts = [value == 1 for value in values]
    known = tuple(verdict for verdict in verdicts if verdict is not None)
    lost = (counts["not_applicable"], counts["error"], counts["pending"])
    parts = [grade.part for _, grade, _ in graded if grade.part]
    whole = corpus.combine(parts) if len(parts) == len(graded) else None
    cases = _cases(
        grader,
        (
            (record, value, verdict, grade.part)
            for (record, grade, value), verdict in zip(graded, verdicts, strict=True)
        ),
    )
    bounds = common_bounds([grade for _, grade, _ in graded])
    return Score(suite, model, grader, values, known, *lost, corpus=whole, cases=cases, bounds=bounds)


def common_bounds(grades: Iterable[GradeRecord]) -> statistics.Bounds | None:
    """Return between what all values of these graded grades can be; `None` where that is not known of some.

    Zeros and ones without bounds are wrong and right.
    """
    # All of them have the same few pairs.
    found = {
        grade.bounds or ((0.0, 1.0) if grade.value in (0, 1) and not _is_loss(grade) else None) for grade in grades
    }
    known = [each for each in found if each is not None]
    if not known or len(known) < len(found):
        return None
    return min(low for low, _ in known), max(high for _, high in known)


def _is_loss(grade: GradeRecord) -> bool:
    """Tell whether the value is one of a metric where less is better: its 0 and 1 are not wrong and right."""
    return grade.part is not None and corpus.lower_is_better(grade.part.kind)


def _cases(
    grader: str,
    samples: Iterable[tuple[CaseRecord, float, bool | None, corpus.CorpusPart | None]],
) -> tuple[CaseGrades, ...]:
    grouped: dict[str, list[tuple[CaseRecord, float, bool | None, corpus.CorpusPart | None]]] = {}
    for sample in samples:
        grouped.setdefault(sample[0].case_id, []).append(sample)
    return tuple(
        CaseGrades(
            case_id,
            tuple(value for _, value, _, _ in repeats),
            tuple(verdict for _, _, verdict, _ in repeats if verdict is not None),
            repeats[0][0].cluster,
            tuple(part for _, _, _, part in repeats if part is not None),
            repeats[0][0].label.get(grader),
        )
        for case_id, repeats in grouped.items()
    )


def compute_scores(records: Sequence[CaseRecord]) -> list[Score]:
    """Return a score for each suite, model and grader, in the order of their first appearance."""
    parts: dict[tuple[str, str], list[CaseRecord]] = {}
    for record in records:
        parts.setdefault((record.suite, record.model), []).append(record)
    # By suite, then model, then grader, each as first seen.
    suites = list(dict.fromkeys(suite for suite, _ in parts))
    models = list(dict.fromkeys(model for _, model in parts))
    order = sorted(parts, key=lambda key: (suites.index(key[0]), models.index(key[1])))
    return [compute_score(*key, grader, parts[key]) for key in order for grader in _graders(parts[key])]


def _graders(records: Iterable[CaseRecord]) -> list[str]:
    """Return the names that grades have, without those of graders that failed before they could name their entries."""
    grades = [grade for record in records for grade in record.grades]
    named = dict.fromkeys(grade.grader_key for grade in grades)
    graded = {grade.grader_key for grade in grades if grade.status == "graded"}
    entered = {name.rpartition(".")[0] for name in named if "." in name}
    return [name for name in named if name in graded or name not in entered]
