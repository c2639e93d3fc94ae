"""Graders of answers from documents: what is judged, one call a part, and what the shares are of."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from pytest_evals.errors import SuiteError
from pytest_evals.graders.rag import answer_relevancy, context_relevancy, faithfulness, read_claims, sentences

from .judging import Graded, Handle

Making = Callable[[Callable[[], Any]], Graded]
DOCUMENTS = {"documents": ["Paris is the capital of France.", {"text": "Lyon lies on the Rhone."}]}


@pytest.fixture
def grading(monkeypatch: pytest.MonkeyPatch) -> Making:
    return lambda make: Graded(make, monkeypatch)


def says_yes_to(*texts: str) -> Callable[[list[dict[str, Any]]], str]:
    def reply(talk: list[dict[str, Any]]) -> str:
        part = talk[-1]["content"].split(
            "[BEGIN STATEMENT" if "STATEMENT" in talk[-1]["content"] else "[BEGIN DOCUMENT"
        )[-1]
        return "YES" if any(text in part for text in texts) else "NO"

    return reply


def test_faithfulness_is_the_share_of_statements_that_the_documents_support(grading: Making) -> None:
    handle = Handle(says_yes_to("capital"))
    grade = grading(lambda: faithfulness(threshold=0.5))(handle, "Paris is the capital. It has 9 rivers.", DOCUMENTS)
    assert (grade.value, grade.passed) == (0.5, True)
    assert grade.metadata["parts"] == [
        {"text": "Paris is the capital.", "verdict": "YES"},
        {"text": "It has 9 rivers.", "verdict": "NO"},
    ]
    assert len(handle.asked) == 2
    assert all("[2] Lyon lies" in talk[-1]["content"] for talk in handle.asked)


def test_claims_may_be_listed_by_the_judge(grading: Making) -> None:
    def reply(talk: list[dict[str, Any]]) -> str:
        return '{"claims": ["Paris is a capital.", "Paris is red."]}' if "List the" in talk[1]["content"] else "YES"

    grade = grading(lambda: faithfulness(claims="model"))(Handle(reply, able=["json_schema"]), "x", DOCUMENTS)
    assert (grade.value, len(grade.metadata["parts"])) == (1.0, 2)
    lost = grading(lambda: faithfulness(claims="model"))(Handle(["", ""]), "x", DOCUMENTS)
    assert (lost.status, lost.metadata["replies"]) == ("error", ["", ""])


def test_an_answer_that_states_nothing_does_not_apply(grading: Making) -> None:
    assert grading(faithfulness)(Handle(), "...", DOCUMENTS).status == "not_applicable"
    assert grading(answer_relevancy)(Handle(), "").status == "not_applicable"


def test_a_part_without_a_verdict_is_an_error_of_the_whole(grading: Making) -> None:
    handle = Handle(
        lambda talk: "hm" if "9 rivers" in talk[-1]["content"] or "I could not" in talk[-1]["content"] else "YES"
    )
    grade = grading(faithfulness)(handle, "Paris is the capital. It has 9 rivers.", DOCUMENTS)
    assert grade.status == "error"
    assert "1 of 2 parts" in grade.reasoning


def test_relevancy_is_judged_by_sentence_and_by_document(grading: Making) -> None:
    answer = grading(answer_relevancy)(Handle(says_yes_to("Paris")), "Paris. I like cheese.")
    assert answer.value == 0.5
    handle = Handle(says_yes_to("capital of France"))
    context = grading(lambda: context_relevancy(question="item.question"))
    assert context(handle, None, {**DOCUMENTS, "question": "Which city?"}).value == 0.5
    assert "completion" not in context.function.__signature__.parameters
    assert all("Which city?" in talk[-1]["content"] for talk in handle.asked)


def test_what_they_need_is_checked(grading: Making) -> None:
    graded = grading(faithfulness)
    assert graded.settings["settings"] == {"context": "item.documents"}
    with pytest.raises(SuiteError, match="claims must be"):
        faithfulness(claims="words")  # type: ignore[arg-type]
    with pytest.raises(SuiteError, match="unknown option 'examples'"):
        answer_relevancy(examples=[])
    with pytest.raises(SuiteError, match="there is no question"):
        grading(answer_relevancy)(Handle(), None, completion=None)


@pytest.mark.parametrize(
    ("reply", "claims", "problem"),
    [
        ("1. A is B.\n- C is D.", ["A is B.", "C is D."], None),
        ('["A is B."]', ["A is B."], None),
        ("NONE", [], None),
        ("", None, "empty"),
        ('{"claims": [1]}', None, "not a list of claims"),
        ("\n".join(f"claim {n}" for n in range(51)), None, "51 claims"),
    ],
)
def test_claims_are_read_from_json_and_from_lines(reply: str, claims: list[str] | None, problem: str | None) -> None:
    found, wrong = read_claims(reply)
    assert found == claims
    assert (problem is None) if wrong is None else (str(problem) in wrong)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("One. Two! Three?", ["One.", "Two!", "Three?"]),
        ("Dr. Smith met Mr. J. Doe, e.g. in May. He left.", ["Dr. Smith met Mr. J. Doe, e.g. in May.", "He left."]),
        ("It costs 3.5 dollars. Really.", ["It costs 3.5 dollars.", "Really."]),
        ("# Title\n- one thing\n2. another. And more\n```\n\n---", ["one thing", "another.", "And more"]),
        ('She said "Go." Then she went.', ['She said "Go."', "Then she went."]),
        ("No end", ["No end"]),
        ("...\n!!", []),
        (
            "\u3053\u308c\u306f\u672c\u3002\u305d\u308c\u3060\u3002",
            ["\u3053\u308c\u306f\u672c\u3002", "\u305d\u308c\u3060\u3002"],
        ),
        ("", []),
    ],
)
def test_sentences(text: str, expected: list[str]) -> None:
    assert sentences(text) == expected
