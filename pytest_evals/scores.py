"""Grades of many cases -> one score a suite, model and grader, with its denominator.

Every case of a suite stands in exactly one count of each of its graders: graded, not applicable, error, pending or not
run.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from pytest_evals import corpus, statistics

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
    tokens: int | None = None
    """Tokens of the completion."""
    prompt_tokens: int | None = None
    latency: float | None = None
    """Seconds."""


@dataclass(frozen=True, slots=True)
class Score:
    """The grades of one grader over the cases of one suite and model. ``values`` are those of graded cases, in order."""

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

    @property
    def n(self) -> int:
        """Graded cases: the denominator of every statistic."""
        return len(self.values)

    @property
    def applicable(self) -> int:
        """Cases that should have a grade."""
        return self.n + self.errors + self.pending

    @property
    def mean(self) -> float | None:
        """Mean value of graded cases."""
        return statistics.mean(self.values)

    @property
    def stderr(self) -> float | None:
        """Standard error of the mean."""
        return statistics.standard_error(self.values)

    @property
    def pass_rate(self) -> float | None:
        """Share of graded cases that passed; `None` unless every graded case has a verdict."""
        return sum(self.verdicts) / self.n if self.n and len(self.verdicts) == self.n else None

    @property
    def coverage(self) -> float | None:
        """Share of applicable cases that are graded."""
        return self.n / self.applicable if self.applicable else None

    def to_row(self) -> dict[str, Any]:
        """Return the score as plain data: a line of `EvaluationArtifact.scores`."""
        return {
            "suite": self.suite,
            "model": self.model,
            "grader": self.grader,
            "n": self.n,
            "mean": self.mean,
            "stderr": self.stderr,
            "pass_rate": self.pass_rate,
            "min": min(self.values, default=None),
            "max": max(self.values, default=None),
            "median": statistics.median(self.values),
            "coverage": self.coverage,
            "corpus": self.corpus,
            "errors": self.errors,
            "not_applicable": self.not_applicable,
            "pending": self.pending,
        }


def compute_score(suite: str, model: str, grader: str, grades: Iterable[GradeRecord]) -> Score:
    """Sum up the grades of one grader."""
    graded: list[float] = []
    verdicts: list[bool | None] = []
    parts: list[corpus.Part] = []
    counts = {"not_applicable": 0, "error": 0, "pending": 0}
    for grade in grades:
        if grade.status == "graded" and grade.value is not None:
            graded.append(grade.value)
            verdicts.append(grade.passed)
            parts += [grade.part] if grade.part else []
        else:
            counts[grade.status] += 1
    if graded and all(verdict is None for verdict in verdicts) and set(graded) <= {0.0, 1.0}:
        # A grader that returns 1 and 0 means right and wrong.
        verdicts = [value == 1 for value in graded]
    known = tuple(verdict for verdict in verdicts if verdict is not None)
    lost = (counts["not_applicable"], counts["error"], counts["pending"])
    whole = corpus.combine(parts) if len(parts) == len(graded) else None
    return Score(suite, model, grader, tuple(graded), known, *lost, corpus=whole)


def compute_scores(records: Sequence[CaseRecord]) -> list[Score]:
    """Return a score for each suite, model and grader, in the order of their first appearance."""
    grouped: dict[tuple[str, str, str], list[GradeRecord]] = {}
    for record in records:
        for grade in record.grades:
            grouped.setdefault((record.suite, record.model, grade.grader_key), []).append(grade)
    # By suite, then model, then grader, each as first seen.
    suites = list(dict.fromkeys(key[0] for key in grouped))
    models = list(dict.fromkeys(key[1] for key in grouped))
    order = sorted(grouped, key=lambda key: (suites.index(key[0]), models.index(key[1])))
    return [compute_score(*key, grouped[key]) for key in order]
