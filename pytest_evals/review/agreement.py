"""How far the people who answered agree with each other: a line a question."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pytest_evals.review.answers import Answer, Place
from pytest_evals.review.questions import Question
from pytest_evals.statistics.agreement import krippendorff_alpha

Asked = Mapping[Place, Question]


@dataclass(frozen=True, slots=True)
class Agreement:
    """Of one question: ``cases`` that several people answered, the share of pairs of answers that are the same, and
    Krippendorff's alpha (nominal for choices, interval for numbers; `None` where it is not defined).
    """

    grader: str
    reviewers: tuple[str, ...]
    cases: int
    same: float
    alpha: float | None

    def to_data(self) -> dict[str, Any]:
        """Return plain data."""
        return {
            "grader": self.grader,
            "reviewers": list(self.reviewers),
            "cases": self.cases,
            "same": self.same,
            "alpha": self.alpha,
        }

    def __str__(self) -> str:
        alpha = "not defined" if self.alpha is None else f"{self.alpha:.2f}"
        return (
            f"{self.grader}: {' and '.join(self.reviewers)} gave the same answer in {self.same:.0%} of pairs "
            f"({self.cases} cases; Krippendorff's alpha {alpha})"
        )


def agreements(asked: Asked, answers: Iterable[Answer]) -> list[Agreement]:
    """Return the agreement about each question that several people answered in the same case; a form's fields each."""
    units: dict[str, dict[str, dict[str, Any]]] = {}
    kinds: dict[str, str] = {}
    for answer in answers:
        question = asked.get((answer.sample, answer.grader))
        if question is None or answer.value is None or answer.question != question.digest:
            continue
        for name, field, value in _parts(answer.grader, question, answer.value):
            if field.kind != "text":
                kinds[name] = field.kind
                units.setdefault(name, {}).setdefault(answer.sample, {})[answer.reviewer] = value
    found = (
        _agreement(name, [unit for unit in of.values() if len(unit) > 1], kinds[name]) for name, of in units.items()
    )
    return [agreement for agreement in found if agreement is not None]


def _parts(grader: str, question: Question, value: Any) -> list[tuple[str, Question, Any]]:
    if question.kind != "form":
        return [(grader, question, value)]
    return [(f"{grader}.{name}", field, value[name]) for name, field in question.fields if name in value]


def _agreement(grader: str, units: Sequence[Mapping[str, Any]], kind: str) -> Agreement | None:
    if not units:
        return None
    reviewers = tuple(dict.fromkeys(name for unit in units for name in unit))
    pairs = [
        (one, other)
        for unit in units
        for index, one in enumerate(list(unit.values()))
        for other in list(unit.values())[index + 1 :]
    ]
    labels = [[unit.get(name) for name in reviewers] for unit in units]
    categories = sorted({label for unit in labels for label in unit if label is not None})
    alpha = krippendorff_alpha(labels, categories, "nominal" if kind == "choice" else "interval")
    return Agreement(grader, reviewers, len(units), sum(one == other for one, other in pairs) / len(pairs), alpha.value)
