"""Judges that are given a question: what they are told, what their verdicts say in its terms, and what they refuse."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import Any

import pytest

from pytest_evals.errors import SuiteError
from pytest_evals.graders.judges import judge
from pytest_evals.questions.answers import said_of
from pytest_evals.questions.declaration import question
from pytest_evals.questions.question import Question

from .judging import Graded, Handle

Making = Callable[[Callable[[], Any]], Graded]
RUDE = question("Is it rude to {{item.who}}?", choices={"no": True, "yes": False, "n/a": None}, guidance="Tone only.")
WARM = question("How warm is it?", kind="rating", scale=(1, 3), ends=("cold", "warm"), threshold=2)
TONE = question("Which tone?", choices=["harsh", "plain", "kind"])
FORM = question("Form", kind="form", fields={"rude": RUDE, "brief": {"question": "Is it brief?"}})


@pytest.fixture
def grading(monkeypatch: pytest.MonkeyPatch) -> Making:
    return lambda make: Graded(make, monkeypatch)


def asked_in(handle: Handle, call: int = 0) -> str:
    return str(handle.asked[call][-1]["content"])


def answers(grade: Any) -> tuple[str, list[Any], Any]:
    """Return which question a grade answers, with what; and what that comes to."""
    metadata = grade.metadata
    return metadata["asks"]["key"], [each["value"] for each in metadata["answers"]], metadata.get("answer")


@pytest.mark.parametrize(("reply", "value", "choice"), [("PASS", 1.0, "no"), ("FAIL", 0.0, "yes"), ("NA", None, "n/a")])
def test_a_verdict_is_the_choice_that_is_worth_it(
    grading: Making, reply: str, value: float | None, choice: str
) -> None:
    handle = Handle([reply])
    graded = grading(lambda: judge.binary(RUDE))
    grade = graded(handle, row={"who": "guests"})
    assert grade.value == value
    assert answers(grade) == (RUDE.digest, [choice], choice)
    told = "Question: Is it rude to guests?\nTone only.\nPASS: the answer to the question is 'no'\nFAIL: the answer to"
    assert told in asked_in(handle)
    assert set(graded.settings["settings"]) == {"criterion", "guidance"}
    said = said_of(grade.metadata)
    assert said is not None
    assert (said.answers, said.decided, said.people) == ((("judge", choice),), choice, False)


def test_labels_and_scales_take_the_question_s_own(grading: Making) -> None:
    grade = grading(lambda: judge.labels(TONE))(Handle(["plain"]))
    assert (grade.value, answers(grade)) == (0.5, (TONE.digest, ["plain"], "plain"))
    handle = Handle(["2"])
    grade = grading(lambda: judge.scale(WARM))(handle)
    assert (grade.value, grade.passed, answers(grade)) == (2.0, True, (WARM.digest, [2], 2))
    assert "How warm is it?\n1: cold\n3: warm" in asked_in(handle)
    # An expected score of 2.4 is nearest to 2, also where the grade is from 0 to 1; so is the threshold.
    logprobs = {"1": math.log(0.2), "2": math.log(0.2), "3": math.log(0.6)}
    likely = Handle(able=["likelihoods"], logprobs=logprobs)
    grade = grading(lambda: judge.scale(WARM, normalize=True))(likely)
    assert (grade.value, grade.passed, answers(grade)[1:]) == (pytest.approx(0.7), True, ([2], 2))


@pytest.mark.parametrize("calls", ["one", "each"])
def test_criteria_of_a_rubric_may_be_questions(grading: Making, calls: Any) -> None:
    one = ['{"rude": "NA", "brief": "PASS"}']
    handle = Handle(one if calls == "one" else ["NA", "PASS"])
    grades = grading(lambda: judge.rubric(FORM, calls=calls))(handle, row={"who": "us"})
    assert (grades[""].value, grades["brief"].value, grades["rude"].status) == (1.0, 1.0, "not_applicable")
    assert answers(grades["rude"]) == (RUDE.digest, ["n/a"], "n/a")
    assert answers(grades["brief"]) == (dict(FORM.fields)["brief"].digest, ["yes"], "yes")
    shown = (
        "rude: Is it rude to us?\nTone only. (PASS: no, FAIL: yes, NA: n/a)" if calls == "one" else "PASS: the answer"
    )
    assert shown in asked_in(handle)
    mixed = grading(lambda: judge.rubric({RUDE: 3, "is brief": 1}))(Handle(["FAIL", "PASS"]), row={"who": "us"})
    assert mixed[""].value == 0.25
    assert list(mixed) == ["", "is_it_rude_to_item", "is_brief"]
    assert "asks" not in mixed["is_brief"].metadata, "nobody else answers it"


def test_a_panel_without_a_question_is_compared_and_votes_are_one_answer_of_their_model(grading: Making) -> None:
    others = {name: Handle([reply], name=name) for name, reply in (("a", "PASS"), ("b", "FAIL"), ("c", "?"))}
    others["c"] = Handle(["?", "?"], name="c")
    panel = grading(lambda: judge.binary("names the city", model=["a", "b", "c"]))
    grade = panel(Handle(name="none", others=others))
    assert grade.status == "error"
    said = said_of(grade.metadata)
    assert said is not None
    assert (said.answers, said.decided) == ((("a", "PASS"), ("b", "FAIL")), None), "what could be read was said"
    votes = grading(lambda: judge.binary(RUDE, votes=3))(Handle(["PASS", "FAIL", "PASS"]), row={"who": "us"})
    assert answers(votes)[1:] == (["no", "yes", "no"], "no")
    assert "asks" not in grading(lambda: judge.binary("names the city"))(Handle(["PASS"])).metadata


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: judge.binary(WARM), "is of the kind 'rating': judge.scale(question) answers it"),
        (lambda: judge.scale(TONE), "is of the kind 'choice': judge.labels(question)"),
        (lambda: judge.labels(FORM), "is of the kind 'form': judge.rubric(question) answers a form of yes-or-no"),
        (lambda: judge.rubric([WARM]), "judge.rubric: the question of test_judges_questions.py:"),
        (lambda: judge.rubric(question("F", kind="form", fields={"a": TONE})), "is not a yes-or-no question"),
        (lambda: judge.binary(TONE), "is not a yes-or-no question: it needs one choice that is True"),
        (lambda: judge.binary(RUDE, not_applicable=False), "says already what not_applicable is"),
        (lambda: judge.labels(TONE, ["a", "b"]), "says already what labels is; leave labels out"),
        (lambda: judge.scale(WARM, low=0), "says already what low is"),
        (lambda: judge.scale(WARM, threshold=1), "says already what threshold is"),
        (lambda: judge.scale(question("How?", kind="rating", scale=(-2, 2))), "goes from -2: a judge's scale starts at 0"),
        (lambda: judge.labels(question("Which?", choices=["a", "A"])), "two labels differ in nothing but case"),
    ],
)  # fmt: skip
def test_what_a_judge_cannot_answer_is_refused_where_it_is_written(make: Callable[[], Any], said: str) -> None:
    with pytest.raises(SuiteError, match=re.escape(said)):
        make()


def test_a_question_is_a_value() -> None:
    assert {RUDE: 1}[Question.from_data(RUDE.to_data())] == 1
