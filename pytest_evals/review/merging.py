"""Answers of several people -> the status, value and verdict of one grade. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from pytest_evals.questions.question import Question
from pytest_evals.review.answers import HumanAnswer
from pytest_evals.text import one_line

_LONGEST = 300


@dataclass(frozen=True, slots=True)
class Merged:
    """What a grade needs; ``status`` is as in `pytest_evals.grades.Grade`."""

    status: str
    value: float | None = None
    passed: bool | None = None
    reasoning: str = ""
    answers: list[dict[str, Any]] = field(default_factory=list)


def merge(question: Question, answers: Sequence[HumanAnswer], shown: str, reviewers: int = 1) -> Merged:
    """Merge the answers to one question of a case.

    Answers to another question, or to a case that showed something else, do not count. A choice is decided by the majority
    and stays open on a tie; numbers are averaged. Fewer than ``reviewers`` answers leave it open.
    """
    given = [answer for answer in answers if answer.value is not None]
    current = [answer for answer in given if answer.question == question.digest and answer.shown == shown]
    valid = [answer for answer in current if question.problem(answer.value) is None]
    records = [_record(answer) for answer in valid]
    if len(valid) < reviewers:
        return Merged("pending", reasoning=_waiting(given, valid, question, reviewers), answers=records)
    reasoning = "; ".join(_said(answer) for answer in valid)
    if question.kind == "text":
        return Merged("not_applicable", reasoning=reasoning, answers=records)
    if question.kind == "choice":
        return _choice(question, valid, reasoning, records)
    value = sum(float(answer.value) for answer in valid) / len(valid)
    passed = None if question.threshold is None else value >= question.threshold
    return Merged("graded", value, passed, reasoning, records)


def _choice(
    question: Question, answers: Sequence[HumanAnswer], reasoning: str, records: list[dict[str, Any]]
) -> Merged:
    counts = Counter(answer.value for answer in answers).most_common()
    if len(counts) > 1 and counts[0][1] == counts[1][1]:
        return Merged("pending", reasoning=f"the reviewers disagree: {reasoning}", answers=records)
    worth = question.worth(counts[0][0])
    if worth is None:
        return Merged("not_applicable", reasoning=reasoning, answers=records)
    return Merged("graded", float(worth), worth if isinstance(worth, bool) else None, reasoning, records)


def _waiting(given: Sequence[HumanAnswer], valid: Sequence[HumanAnswer], question: Question, reviewers: int) -> str:
    if valid:
        return f"waits for {reviewers - len(valid)} more of {reviewers} reviewers"
    if not given:
        return "waits for an answer: pytest-evals annotate"
    changed = "the question" if any(answer.question != question.digest for answer in given) else "what the case shows"
    names = ", ".join(dict.fromkeys(answer.reviewer for answer in given))
    return f"answered by {names}, but {changed} changed since; ask again with pytest-evals annotate"


def _said(answer: HumanAnswer) -> str:
    comment = f" ({one_line(answer.comment, _LONGEST)})" if answer.comment else ""
    return f"{answer.reviewer}: {one_line(str(answer.value), _LONGEST)}{comment}"


def _record(answer: HumanAnswer) -> dict[str, Any]:
    data: dict[str, Any] = {"reviewer": answer.reviewer, "value": answer.value, "at": answer.at}
    if answer.comment:
        data["comment"] = answer.comment
    return {**data, "flagged": True} if answer.flagged else data
