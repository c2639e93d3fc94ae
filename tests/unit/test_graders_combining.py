"""Combined grades: what leaves, what stays an error, and which grader is meant."""

from __future__ import annotations

import asyncio
import math
import sys
from collections.abc import Callable
from typing import Any

import pytest

from pytest_evals import graders
from pytest_evals.errors import GradeError, SuiteError
from pytest_evals.fixtures.declaration import declaration_of
from pytest_evals.fixtures.grader import grader_fixture
from pytest_evals.graders.combining import all_of, any_of, first, majority, part_names, weigh, weighted
from pytest_evals.grades import Grade

YES, NO = Grade(True, "yes"), Grade(False, "no")
NA = Grade(None, "na", status="not_applicable")
PENDING = Grade(None, "human", status="pending")


def call(fixture: Any, **grades: Any) -> Any:
    declaration = declaration_of(fixture._get_wrapped_function())
    assert declaration is not None
    result = declaration.function(**grades)
    return asyncio.run(result) if declaration.is_async else result


def test_weights_renormalise_when_a_grader_does_not_apply() -> None:
    weights = {"a": 3.0, "b": 1.0, "c": 6.0}
    assert weigh({"a": YES, "b": NO, "c": NA}, weights).value == pytest.approx(0.75)
    assert weigh({"a": YES, "b": NO, "c": NA}, weights, "sum").value == pytest.approx(7.5)
    assert weigh({"a": YES, "b": NO, "c": YES}, weights, "sum").value == pytest.approx(9)
    assert weigh({"a": YES, "b": NO, "c": NA}, weights, threshold=0.8).passed is False
    assert weigh({"a": NA}, {"a": 1.0}).status == "not_applicable"
    assert weigh({"a": YES, "b": PENDING}, {"a": 1.0, "b": 1.0}).status == "pending"


@pytest.mark.parametrize(
    ("make", "grades", "expected"),
    [
        (all_of, (YES, YES, NA), True),
        (all_of, (YES, NO, NA), False),
        (any_of, (NO, YES, NA), True),
        (any_of, (NO, NO, NA), False),
        (majority, (YES, YES, NO), True),
        (majority, (YES, NO, NA), False),
    ],
)
def test_verdicts_of_those_that_apply(make: Callable[..., Any], grades: tuple[Grade, ...], expected: bool) -> None:
    grade = call(make("a", "b", "c"), **dict(zip("abc", grades, strict=True)))
    assert grade.passed is expected
    assert call(make("a"), a=NA).status == "not_applicable"
    assert call(make("a"), a=PENDING).status == "pending"
    with pytest.raises(GradeError, match="without a verdict"):
        call(make("a"), a=Grade(0.5, "a"))
    with pytest.raises(GradeError, match="builds on the grader 'a', which failed: broken"):
        call(make("a"), a=Grade(None, "a", "broken", status="error"))


def test_entries_of_graders_that_give_several() -> None:
    style = {"tone": YES, "length": Grade(3, "style.length")}
    assert call(weighted({"style.length": 1}), style=style).value == 3
    rubric = Grade(0.5, "rubric").with_parts({"clear": NO})
    assert call(weighted({"rubric": 1}), rubric=rubric).value == 0.5
    assert call(weighted({"rubric.clear": 1}), rubric=rubric).value == 0
    for key, message in (
        ("style", "gives several grades"),
        ("style.ton", "did you mean 'tone'"),
        ("rubric.x", "no entry"),
    ):
        with pytest.raises(GradeError, match=message):
            call(weighted({key: 1}), style=style, rubric=rubric)
    with pytest.raises(GradeError, match="x is not a grader: it gave str"):
        call(all_of("x"), x="text")


NAMED = graders.contains("x")
CALLED = grader_fixture(lambda: True, name="called")


def test_a_grader_is_known_by_the_variable_that_holds_it() -> None:
    local = graders.contains("y")
    assert part_names("weighted", ["by_name", NAMED, CALLED, local], sys._getframe()) == [
        "by_name",
        "NAMED",
        "called",
        "local",
    ]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: weighted({"a": 0}), "must be a number above 0"),
        (lambda: weighted({"a": math.nan}), "must be a number above 0"),
        (lambda: weighted({}), "at least one grader"),
        (lambda: weighted(["a"]), "a mapping of graders to weights"),  # type: ignore[arg-type]
        (lambda: weighted({"a": 1}, how="max"), "how must be"),  # type: ignore[arg-type]
        (lambda: weighted({graders.contains("x"): 1}), "made in place has no name"),
        (lambda: all_of("not a name"), "is not the name of a grader"),
        (lambda: all_of(3), "3 is not a grader"),
        (lambda: any_of("a", "a"), "is listed twice"),
        (majority, "at least one grader"),
        (lambda: first("a"), "two graders or more"),
        (lambda: first("a", "b", until="x"), "until must be"),  # type: ignore[arg-type]
    ],
)
def test_what_makes_no_sense_is_refused_where_it_is_written(make: Callable[[], Any], message: str) -> None:
    with pytest.raises(SuiteError, match=message):
        make()


def test_the_expensive_grader_runs_only_when_it_is_needed() -> None:
    ran: list[str] = []

    async def expensive(case: str) -> bool:
        ran.append(case)
        return True

    judged = grader_fixture(expensive)
    grader = first("cheap", judged)
    sure = call(grader, cheap=YES, case="one")
    assert (sure[""].passed, sure["judged"].status, ran) == (True, "not_applicable", [])
    unsure = call(grader, cheap=NO, case="two")
    assert (unsure[""].passed, unsure["judged"].passed, ran) == (True, True, ["two"])
    assert call(grader, cheap=NA, case="three")[""].passed
    # Until one applies: a miss is an answer too.
    assert call(first("cheap", judged, until="graded"), cheap=NO, case="four")[""].passed is False
    assert ran == ["two", "three"]
    in_place = first("cheap", grader_fixture(expensive))
    assert set(call(in_place, cheap=NO, case="five")) == {"", "step2"}


def test_the_last_grade_counts_when_none_can_tell() -> None:
    async def unsure() -> None:
        return None

    assert call(first("a", grader_fixture(unsure)), a=NO)[""].status == "not_applicable"
    assert call(first("a", "b"), a=NA, b=NO)[""].passed is False
