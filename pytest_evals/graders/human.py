"""A grader that asks people: the grade is pending until a person answers, see `pytest_evals.review`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Unpack

import pytest

from pytest_evals.errors import SuiteError
from pytest_evals.fixtures.context import current_scope
from pytest_evals.fixtures.grader import Fixture, grader_fixture
from pytest_evals.graders.templating import grading_text
from pytest_evals.hashing import content_hash
from pytest_evals.questions.answers import question_metadata
from pytest_evals.questions.declaration import DeclaredQuestion, make_question
from pytest_evals.questions.question import Question
from pytest_evals.review.answers import HumanAnswer
from pytest_evals.review.layout import DEFAULT, check_layout, filled, locators
from pytest_evals.review.merging import merge
from pytest_evals.templates.rendering import render


def human(
    question: str | Question,
    *,
    layout: Mapping[str, Any] | None = None,
    queue: str = "default",
    required: bool = True,
    reviewers: int = 1,
    of: str | None = None,
    run_if: str | None = None,
    **terms: Unpack[DeclaredQuestion],
) -> Fixture:
    """A person answers a question about the case, in ``pytest-evals annotate``. The grade is pending until then.

    Args:
        question: The question, a template; or a `question`, which brings its own ``terms``.
        layout: What the page shows, and how: ``{"direction": "row", "children": [{"data": "item.source", "label": "Source"},
            {"data": "completion"}]}``. ``data`` is a locator, ``conversation`` or ``completion``. A child may be a layout.
        queue: The queue that the question belongs to. Questions of a queue are answered together.
        required: `False` makes the grade not applicable, instead of pending, until there is an answer.
        reviewers: How many people must answer, from 1 to 100. The majority decides a choice (a tie is pending); numbers are averaged.
        of: A task whose result is graded instead of the completion.
        run_if: An expression over the case. Where it is false, the grader does not apply.
        terms: How it may be answered, as for `question`.

    Raises:
        SuiteError: A setting is wrong.
    """
    asked = _asked(question, terms)
    plan = DEFAULT if layout is None else layout
    check_layout(plan)
    if not isinstance(queue, str) or not queue.strip():
        raise SuiteError(f"human: queue is the name of a queue, not {queue!r:.60}")
    if type(reviewers) is not int or not 1 <= reviewers <= 100:
        raise SuiteError(f"human: reviewers is how many people must answer, from 1 to 100, not {reviewers!r:.60}")
    wanted = {"queue": queue, "required": required, "reviewers": reviewers}
    settings = {"question": [asked.text, asked.guidance], "parts": locators(plan)}

    def grade(text: str, request: pytest.FixtureRequest) -> Any:
        scope = current_scope(request)
        put = _put(asked, *render(settings["question"], scope))
        parts = dict(zip(settings["parts"], render(settings["parts"], scope), strict=True))
        shown = filled(plan, parts.__getitem__)
        return _grades(request, asked, put, {**wanted, "layout": shown}, text)

    ready_made = grading_text(grade, of, "human")
    ready_made.__doc__ = "People are asked; pending until they answered."
    return grader_fixture(ready_made, settings=settings, run_if=run_if)


def _asked(question: object, terms: DeclaredQuestion) -> Question:
    if not isinstance(question, Question):
        return make_question(question, **terms)
    double = [name for name, value in terms.items() if value is not None]
    if double:
        raise SuiteError(
            f"human: the question of {question.place or 'question(...)'} says already what {double[0]} is; leave {double[0]} "
            "out, or make another question(...)"
        )
    return question


def _put(question: Question, text: object, guidance: object) -> Question:
    """Return the question with its templates rendered for a case."""
    return replace(question, text=str(text), guidance=str(guidance))


def _grades(
    request: pytest.FixtureRequest, asked: Question, question: Question, terms: Mapping[str, Any], text: str
) -> Any:
    """Return the grade, or one for each field of a form: with the answers that are known, else pending."""
    key = request.fixturename or ""
    shown = content_hash([text, terms["layout"]])
    answers = known_answers(request, key)
    data = {"question": question.to_data(), **terms, "shown": shown}
    if question.kind != "form":
        return _grade(question, answers, shown, terms, {**data, "digest": question.digest, **question_metadata(asked)})
    grades: dict[str, Any] = {}
    for name, field in question.fields:
        mine = [_of_field(answer, name, field, question) for answer in answers]
        more = {**data, "digest": question.digest, "field": name} if not grades else {"field": name, "of": key}
        grades[name] = _grade(field, mine, shown, terms, {**more, **question_metadata(field)})
    return grades


def _of_field(answer: HumanAnswer, name: str, field: Question, form: Question) -> HumanAnswer:
    value = answer.value.get(name) if isinstance(answer.value, Mapping) else None
    return replace(answer, value=value, question=field.digest if answer.question == form.digest else answer.question)


def _grade(
    question: Question, answers: Sequence[HumanAnswer], shown: str, terms: Mapping[str, Any], data: Mapping[str, Any]
) -> Any:
    from pytest_evals.grades import Grade

    merged = merge(question, answers, shown, terms["reviewers"])
    status: Any = "not_applicable" if merged.status == "pending" and not terms["required"] else merged.status
    details = {**data, "answers": merged.answers}
    return Grade(merged.value, "", merged.reasoning, merged.passed, status, details, _bounds(question))


def _bounds(question: Question) -> tuple[float, float] | None:
    """Return between what answers are worth: the ends of a scale, the lowest and the highest choice."""
    worth = [float(value) for _, value in question.choices if value is not None]
    ends = [question.low, question.high, *([min(worth), max(worth)] if worth else [])]
    known = [end for end in ends if end is not None]
    return (known[0], known[1]) if len(known) == 2 and known[0] < known[1] else None


def known_answers(request: pytest.FixtureRequest, key: str) -> list[HumanAnswer]:
    """Return what people said of this case; nothing unless a run with answers is graded again."""
    from pytest_evals.review.replay import ANSWERS, sample_of

    known = request.config.stash.get(ANSWERS, None)
    return [] if known is None else known.get((sample_of(request.node), key), [])
