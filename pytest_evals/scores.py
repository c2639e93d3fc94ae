"""Grades of many cases -> one score a suite, model and grader, with its denominator and its uncertainty.

Every sample of a suite stands in exactly one count of each of its graders: graded, not applicable, error, pending or
not run. A case that ran several times is one unit: means are over cases, and so are their errors; a case whose rows
belong together with others (``cluster``) counts with them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from pytest_evals import corpus, statistics
from pytest_evals.statistics.repeats import Spread

Outcome = Literal["passed", "missed", "failed", "errored", "skipped"]


@dataclass(frozen=True, slots=True)
class GradeRecord:
    """What a score needs of a grade."""

    grader_key: str
    value: float | None
    passed: bool | None
    status: str
    part: corpus.Part | None = None
    """What the case adds to a corpus-level metric."""


@dataclass(frozen=True, slots=True)
class CaseRecord:
    """What scores, gates and ledger need of a finished case."""

    suite: str
    model: str
    case_id: str
    outcome: Outcome
    grades: tuple[GradeRecord, ...]
    fields: Mapping[str, Any] = field(default_factory=dict)
    """The row, for slices."""
    finish_reason: str | None = None
    repeat: int = 1
    """Which of the case's samples this is, from 1."""
    content: Mapping[str, str] = field(default_factory=dict)
    """Digests of the prompt and of what else ``fields`` do not tell: see `pytest_evals.baseline.content`."""
    cluster: str | None = None
    """What the case shares with those that belong together with it (``cases(cluster=...)``)."""
    label: Mapping[str, float] = field(default_factory=dict)
    """By grader, what people's label is worth on its scale (``cases(label=...)``)."""
    tokens: int | None = None
    """Tokens of the completion."""
    prompt_tokens: int | None = None
    latency: float | None = None
    """Seconds."""


@dataclass(frozen=True, slots=True)
class CaseGrades:
    """What one grader said of the samples of one case; at least one is graded."""

    case_id: str
    values: tuple[float, ...]
    verdicts: tuple[bool, ...]
    cluster: str | None = None
    parts: tuple[corpus.Part, ...] = ()
    """What its samples add to a corpus-level metric."""

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
        """Graded samples of the case that has the fewest, 0 of nothing."""
        return min((len(case.values) for case in self.cases), default=0)

    @property
    def clusters(self) -> list[str] | None:
        """What each case belongs to; `None` where each stands for itself."""
        if all(case.cluster is None for case in self.cases):
            return None
        return [case.case_id if case.cluster is None else case.cluster for case in self.cases]

    @property
    def estimate(self) -> statistics.Estimate | None:
        """Mean over cases of the mean over samples, with its error; `None` of nothing."""
        return statistics.estimate_repeated([case.values for case in self.cases], self.clusters)

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
    def interval(self) -> statistics.Interval | None:
        """The mean's interval at 95 %: Wilson's for right and wrong (at the effective number of samples, where some
        belong together), Student's for other values; `None` where there are too few.
        """
        estimate = self.estimate
        if estimate is None:
            return None
        return statistics.wilson_clustered(estimate, self.n) if set(self.values) <= {0, 1} else estimate.interval()

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
        return Score(self.suite, self.model, self.grader, values, verdicts, 0, 0, 0, corpus=whole, cases=tuple(cases))

    def to_row(self) -> dict[str, Any]:
        """Return the score as plain data: a line of `EvaluationArtifact.scores`."""
        interval, repeats = self.interval, self.repeats
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
            "errors": self.errors,
            "not_applicable": self.not_applicable,
            "pending": self.pending,
        }


def grades_of(record: CaseRecord, grader: str) -> list[GradeRecord]:
    """Return the grades of one grader. A grader that failed before it could name its entries failed for each of them."""
    own = [grade for grade in record.grades if grade.grader_key == grader]
    return own or [grade for grade in record.grades if _failed_before(grade, grader)]


def _failed_before(grade: GradeRecord, grader: str) -> bool:
    return grade.status != "graded" and grader.startswith(f"{grade.grader_key}.")


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
    if values and all(verdict is None for verdict in verdicts) and set(values) <= {0.0, 1.0}:
        # A grader that returns 1 and 0 means right and wrong.
        verdicts = [value == 1 for value in values]
    known = tuple(verdict for verdict in verdicts if verdict is not None)
    lost = (counts["not_applicable"], counts["error"], counts["pending"])
    parts = [grade.part for _, grade, _ in graded if grade.part]
    whole = corpus.combine(parts) if len(parts) == len(graded) else None
    cases = _cases(
        (record, value, verdict, grade.part) for (record, grade, value), verdict in zip(graded, verdicts, strict=True)
    )
    return Score(suite, model, grader, values, known, *lost, corpus=whole, cases=cases)


def _cases(
    samples: Iterable[tuple[CaseRecord, float, bool | None, corpus.Part | None]],
) -> tuple[CaseGrades, ...]:
    grouped: dict[str, list[tuple[CaseRecord, float, bool | None, corpus.Part | None]]] = {}
    for sample in samples:
        grouped.setdefault(sample[0].case_id, []).append(sample)
    return tuple(
        CaseGrades(
            case_id,
            tuple(value for _, value, _, _ in repeats),
            tuple(verdict for _, _, verdict, _ in repeats if verdict is not None),
            repeats[0][0].cluster,
            tuple(part for _, _, _, part in repeats if part is not None),
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
