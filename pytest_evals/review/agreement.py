"""How far the people who answered so far agree, while more answers come."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from pytest_evals.review.answers import Answer
from pytest_evals.review.questions import Question
from pytest_evals.review.work import Asked, ReviewCase
from pytest_evals.trust.agreement import Agreement, Unit, agree
from pytest_evals.trust.said import Code


def agreements(cases: Sequence[ReviewCase], answers: Iterable[Answer]) -> list[Agreement]:
    """Return the agreement about each question of each suite that several people answered in the same case; a form's
    fields each.
    """
    given: dict[tuple[str, str], list[Answer]] = {}
    for answer in answers:
        given.setdefault((answer.sample, answer.grader), []).append(answer)
    units: dict[tuple[str, str], list[Unit]] = {}
    questions: dict[tuple[str, str], Question] = {}
    for case in cases:
        for asked in case.asked:
            for grader, question, codes in _coded(asked, given.get(asked.place, ())):
                questions[case.suite, grader] = question
                units.setdefault((case.suite, grader), []).append(Unit(case.case_id, codes))
    found = (
        agree(units[suite, grader], question.measure, suite, question.text, grader)
        for (suite, grader), question in questions.items()
        if question.measure is not None
    )
    return [agreement for agreement in found if agreement is not None]


def _coded(asked: Asked, answers: Iterable[Answer]) -> Iterator[tuple[str, Question, dict[str, Code]]]:
    """Yield each question with the answers of people: the one that was asked, or the fields of a form."""
    question, grader = asked.question, asked.place[1]
    valid = [each for each in answers if each.value is not None and each.question == question.digest]
    parts: list[tuple[str, Question, dict[str, Any]]] = [
        (grader, question, {each.reviewer: each.value for each in valid})
    ]
    if question.kind == "form":
        parts = [
            (f"{grader}.{name}", field, {each.reviewer: each.value[name] for each in valid if name in each.value})
            for name, field in question.fields
        ]
    for name, each, values in parts:
        codes = {who: each.code(value) for who, value in values.items()}
        yield name, each, {who: code for who, code in codes.items() if code is not None}
