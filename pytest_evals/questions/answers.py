"""What those who were asked about a case answered: kept in the metadata of a grade, read from there for agreement.

``asks`` is the question as its author wrote it, with its key: graders that have the same one answer the same question, be they
people or models. ``answers`` are those of each person (``reviewer``) or model (``judge``), ``answer`` is what those of
models amount to.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from sys import intern
from typing import Any

from pytest_evals.errors import SuiteError
from pytest_evals.questions.question import Question, QuestionKind

Code = float | str


@dataclass(frozen=True, slots=True)
class RecordedAnswers:
    """The answers to a question about a case, as they are compared (`Question.code`), with who gave each; a model that was
    asked several times has several. ``decided`` is what they amount to, if the grader says so. ``key`` tells questions apart.
    """

    key: str
    text: str
    kind: QuestionKind
    measure: Any
    answers: tuple[tuple[str, Code], ...]
    people: bool
    decided: Code | None = None


def question_metadata(question: Question) -> dict[str, Any]:
    """Return what a grade's metadata says of its question."""
    return {"asks": {"key": question.digest, **question.to_data()}}


def answer_metadata(judges: Iterable[tuple[str, Any]], decided: Any) -> dict[str, Any]:
    """Return what a grade's metadata says about the answers of models, and what they amount to (`None` where that is not a
    single answer).
    """
    said: dict[str, Any] = {"answers": [{"judge": model, "value": value} for model, value in judges]}
    return said if decided is None else {**said, "answer": decided}


def said_of(metadata: Mapping[str, Any] | None) -> RecordedAnswers | None:
    """Return what was answered; `None` where no model was asked, and for questions whose answers cannot be compared.

    Metadata may be a user's: what only looks like a question is none.
    """
    asks, answers = (metadata or {}).get("asks"), (metadata or {}).get("answers", ())
    if not isinstance(asks, Mapping) or not isinstance(asks.get("key"), str) or not isinstance(answers, list):
        return None
    try:
        question = Question.from_data(asks)
    except SuiteError:
        return None
    if question.measure is None:
        return None
    found = [_coded(question, answer) for answer in answers]
    people = "shown" in (metadata or {}) or "of" in (metadata or {})
    decided = (metadata or {}).get("answer")
    return RecordedAnswers(
        intern(asks["key"]),
        intern(question.text),
        question.kind,
        question.measure,
        tuple(each for each in found if each is not None),
        people,
        None if question.problem(decided) is not None else question.code(decided),
    )


def _coded(question: Question, answer: Any) -> tuple[str, Code] | None:
    if not isinstance(answer, Mapping) or question.problem(answer.get("value")) is not None:
        return None
    code = question.code(answer["value"])
    return None if code is None else (intern(str(answer.get("reviewer", answer.get("judge", "")))), code)
