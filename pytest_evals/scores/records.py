"""What scores, gates and comparisons need of a finished case, and of its grades."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from pytest_evals import statistics
from pytest_evals.questions.answers import RecordedAnswers
from pytest_evals.scores import corpus

Outcome = Literal["passed", "missed", "failed", "errored", "skipped"]


@dataclass(frozen=True, slots=True)
class GradeRecord:
    """What a score needs of a grade."""

    grader_key: str
    value: float | None
    passed: bool | None
    status: str
    part: corpus.CorpusPart | None = None
    """What the case adds to a corpus-level metric."""
    said: RecordedAnswers | None = None
    """What those who were asked answered, where the grade is that of a question."""
    bounds: statistics.Bounds | None = None
    """The lowest and the highest value that the grader can give, where it says so."""
    by_probability: bool = False
    """Whether the value is a probability, or made of some."""
    abstained: bool = False
    """Whether the grade does not apply because a probability was too near to the middle."""


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
    """Digests of the prompt and of what else ``fields`` do not tell: see `pytest_evals.scores.content`."""
    cluster: str | None = None
    """What the case shares with those that belong together with it (``cases(cluster=...)``)."""
    label: Mapping[str, float] = field(default_factory=dict)
    """By grader, what people's label is worth on its scale (``cases(label=...)``)."""
    tokens: int | None = None
    """Tokens of the completion."""
    prompt_tokens: int | None = None
    latency: float | None = None
    """Seconds."""
    cost: float | None = None
    """Of the completion and of calls, in the unit of ``evals_prices``."""
    unfinished: bool = False
    """Whether the completion is nothing but reasoning."""


def grades_of(record: CaseRecord, grader: str) -> list[GradeRecord]:
    """Return the grades of one grader. A grader that failed before it could name its entries failed for each of them."""
    own = [grade for grade in record.grades if grade.grader_key == grader]
    return own or [grade for grade in record.grades if _failed_before(grade, grader)]


def _failed_before(grade: GradeRecord, grader: str) -> bool:
    return grade.status != "graded" and grader.startswith(f"{grade.grader_key}.")
