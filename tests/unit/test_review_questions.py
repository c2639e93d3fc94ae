"""Questions for people: what makes one, which answers there are, what they are worth."""

from __future__ import annotations

import re
from typing import Any

import pytest

from pytest_evals.errors import SuiteError
from pytest_evals.questions.declaration import make_question, question
from pytest_evals.questions.question import Question
from pytest_evals.review.layout import DEFAULT, check_layout, filled, locators

RATING = make_question("How good?", "rating", scale=(1, 7), threshold=5)
FORM = make_question(
    "Form", "form", fields={"tone": {"question": "Polite?"}, "n": {"question": "How many?", "kind": "number"}}
)


@pytest.mark.parametrize(
    ("arguments", "worth"),
    [
        ({}, {"yes": True, "no": False}),
        ({"choices": ["bad", "fair", "good"]}, {"bad": 0.0, "fair": 0.5, "good": 1.0}),
        ({"choices": ["a", "b", "c"], "passing": ["a", "b"]}, {"a": True, "b": True, "c": False}),
        ({"choices": {"good": 2, "bad": -1.5, "n/a": None}}, {"good": 2, "bad": -1.5, "n/a": None}),
    ],
)
def test_choices_and_what_they_are_worth(arguments: dict[str, Any], worth: dict[str, object]) -> None:
    question = make_question("Which?", "choice", **arguments)
    assert {label: question.worth(label) for label in worth} == worth
    assert question.problem("other") == f"'other' is not one of {', '.join(worth)}"


@pytest.mark.parametrize(
    ("question", "right", "wrong"),
    [
        (RATING, [1, 7, 4.0], [0, 8, 2.5, True, "3", None, float("nan")]),
        (make_question("How many?", "number", minimum=0), [0, 1.5, 1e9], [-1, "2", float("inf"), [1]]),
        (make_question("Why?", "text"), ["because"], ["", "  ", 3, "x" * 100_001]),
        (
            FORM,
            [{"tone": "yes", "n": 2}],
            [{"tone": "yes"}, {"tone": "yes", "n": "2"}, {"tone": 1, "n": 2}, "yes", None],
        ),
    ],
)
def test_answers_are_checked(question: Question, right: list[Any], wrong: list[Any]) -> None:
    assert [question.problem(answer) for answer in right] == [None] * len(right)
    assert all(question.problem(answer) for answer in wrong)


@pytest.mark.parametrize(
    ("asked", "measure", "codes"),
    [
        (make_question("?", "choice"), "nominal", {"yes": "yes", "no": "no"}),
        (make_question("?", "choice", choices={"a": True, "b": None}), "nominal", {"a": "a", "b": "b"}),
        (make_question("?", "choice", choices=["a", "b", "c"]), "ordinal", {"a": 0, "b": 1, "c": 2}),
        (
            make_question("?", "choice", choices={"good": 2, "bad": -1.5, "n/a": None, "fair": 0}),
            "ordinal",
            {"bad": 0, "fair": 1, "good": 2, "n/a": None},
        ),
        (make_question("?", "choice", choices={"a": 1, "b": 1, "c": 0}), "nominal", {"a": "a"}),
        (make_question("?", "choice", choices=["a", "b", "c"], passing="a"), "nominal", {"c": "c"}),
        (RATING, "ordinal", {7: 7}),
        (make_question("?", "number"), "interval", {2.5: 2.5}),
        (make_question("?", "text"), None, {"because": None}),
        (FORM, None, {}),
    ],
)
def test_how_answers_are_compared(asked: Question, measure: str | None, codes: dict[Any, Any]) -> None:
    assert asked.measure == measure
    assert {answer: asked.code(answer) for answer in codes} == codes


def test_a_question_of_its_own_knows_its_line_and_is_the_same_as_one_written_elsewhere() -> None:
    one = question("Polite?", choices={"yes": True, "no": False}, guidance="Tone only.")
    other = question("Polite?", guidance="Tone only.")
    assert (one, one.digest) == (other, other.digest)
    assert one.digest != question("Polite?").digest
    assert re.fullmatch(r"test_review_questions\.py:\d+", one.place)
    assert one.place != other.place
    assert question("Form", kind="form", fields={"tone": one}).fields == (("tone", one),)
    with pytest.raises(SuiteError, match="question: kind is one of choice"):
        question("Well?", kind="riddle")  # type: ignore[arg-type]  # the mistake
    with pytest.raises(SuiteError, match="question: guidance is text"):
        question("Well?", guidance=3)  # type: ignore[arg-type]  # the mistake


@pytest.mark.parametrize(
    "question",
    [
        RATING,
        FORM,
        make_question("Which?", "choice", choices={"a": 1, "b": None}),
        make_question("Which?", "choice", guidance="Look twice."),
    ],
)
def test_a_question_is_the_same_after_a_way_through_json(question: Question) -> None:
    assert Question.from_data(question.to_data()) == question
    assert Question.from_data({**question.to_data(), "text": "Otherwise?"}).digest != question.digest


@pytest.mark.parametrize("data", [{}, {"text": "x", "kind": "riddle"}, {"text": "x", "kind": "choice", "choices": [1]}])
def test_what_is_no_question_is_refused(data: dict[str, Any]) -> None:
    with pytest.raises(SuiteError):
        Question.from_data(data)


@pytest.mark.parametrize(
    ("kind", "arguments", "said"),
    [
        ("riddle", {}, "kind is one of choice, rating, number, text, form, not 'riddle'"),
        ("ratings", {}, "did you mean 'rating'?"),
        (
            "rating",
            {"choices": ["a", "b"]},
            "choices makes no sense for a question of the kind 'rating' (it takes scale, ends, threshold)",
        ),
        ("choice", {"choices": ["a"]}, "choices is a list of 2 to 50 labels"),
        ("choice", {"choices": ["a", "a"]}, "the labels of choices are different texts"),
        ("choice", {"choices": {"a": float("nan"), "b": 1}}, "the choice 'a' is worth a finite number"),
        ("choice", {"choices": ["a", "b"], "passing": "c"}, "passing names 'c'"),
        ("choice", {"choices": {"a": 1, "b": 0}, "passing": "a"}, "passing goes with a list"),
        ("rating", {"scale": (5, 1)}, "scale is the lowest and the highest whole number"),
        ("rating", {"scale": (0, 100)}, "at most 20 steps"),
        ("rating", {"ends": "good"}, "ends is what the ends of the scale mean"),
        ("number", {"minimum": "0"}, "minimum is a finite number"),
        ("form", {}, "a form has fields"),
        ("form", {"fields": {"a b": {"question": "?"}}}, "is not a name"),
        ("form", {"fields": {"a": "?"}}, "is a question, or a dict with 'question'"),
        (
            "form",
            {"fields": {"a": {"question": "?", "queue": "q"}}},
            "the field 'a' of a form: unknown setting 'queue' (known: kind, ",
        ),
        ("choice", {"choises": ["a", "b"]}, "guidance); did you mean 'choices'?"),
        ("form", {"fields": {"a": {"question": "?", "kind": "form"}}}, "cannot be a form itself"),
    ],
)
def test_mistakes_in_a_question_are_said(kind: str, arguments: dict[str, Any], said: str) -> None:
    with pytest.raises(SuiteError, match=re.escape(said)):
        make_question("Well?", kind, **arguments)


def test_a_question_has_text() -> None:
    with pytest.raises(SuiteError, match="the question is text"):
        make_question(" ", "text")


SEED = {"direction": "column", "children": [{"data": "item.input"}, {"data": "item.files.audio"}]}


def test_a_layout_is_filled_with_the_fields_of_the_case() -> None:
    layout = {
        "children": [
            SEED,
            {"data": "completion", "label": "Answer"},
            {"data": "{{item.a}} and {{item.b}}", "label": "Both"},
        ]
    }
    check_layout(layout)
    check_layout(DEFAULT)
    assert locators(layout) == ["item.input", "item.files.audio", "{{item.a}} and {{item.b}}"]
    values: dict[str, Any] = {
        "item.input": "hello",
        "item.files.audio": {"n": 1},
        "{{item.a}} and {{item.b}}": "x and y",
    }
    assert filled(layout, values.__getitem__) == {
        "direction": "row",
        "children": [
            {
                "direction": "column",
                "children": [{"label": "input", "text": "hello"}, {"label": "audio", "text": '{\n  "n": 1\n}'}],
            },
            {"label": "Answer", "part": "completion"},
            {"label": "Both", "text": "x and y"},
        ],
    }


def deep(levels: int) -> dict[str, Any]:
    return {"children": [deep(levels - 1) if levels else {"data": "completion"}]}


@pytest.mark.parametrize(
    ("layout", "said"),
    [
        ("column", "layout is a dict"),
        ({"direction": "column"}, "a layout has 'children'"),
        ({"direction": "diagonal", "children": [{"data": "x"}]}, "direction is 'row' or 'column', not 'diagonal'"),
        ({"children": []}, "a layout has 'children'"),
        ({"children": [{"data": 3}]}, "a part of the layout is"),
        ({"children": [{"data": "x", "lable": "y"}]}, "a part of the layout is"),
        ({"children": [{"data": "x"}], "gap": 3}, "a layout has 'children'"),
        (deep(9), "at most 8 layouts deep"),
    ],
)
def test_mistakes_in_a_layout_are_said(layout: Any, said: str) -> None:
    with pytest.raises(SuiteError, match=re.escape(said)):
        check_layout(layout)
