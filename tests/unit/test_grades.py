"""A grade: a finite number, a verdict, or a reason why there is neither."""

from __future__ import annotations

import copy
import math
from typing import Any

import pytest
from pydantic import ValidationError

from pytest_evals.errors import AwaitsAnswer, GradeError, NotApplicable
from pytest_evals.grades import Grade, Status

WITHOUT_VALUE: list[tuple[Status, type[Exception]]] = [
    ("not_applicable", NotApplicable),
    ("error", GradeError),
    ("pending", AwaitsAnswer),
]


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, 1e101, -1e300, 10**400, "high", None, [1]])
def test_a_value_that_is_no_finite_number_is_refused(value: Any) -> None:
    with pytest.raises(ValidationError):
        Grade(value)


@pytest.mark.parametrize(("verdict", "value"), [(True, 1.0), (False, 0.0)])
def test_a_bool_is_a_value_and_a_verdict(verdict: bool, value: float) -> None:
    grade = Grade(verdict)
    assert (grade.value, grade.passed, bool(grade)) == (value, verdict, verdict)


@pytest.mark.parametrize("passed", [True, False])
def test_a_verdict_is_the_grade_that_the_constructor_makes(passed: bool) -> None:
    quick, checked = Grade.verdict(passed, "exact", "why"), Grade(passed, "exact", "why")
    for one, other in ((quick, checked), (copy.deepcopy(quick), checked)):
        assert (one, repr(one), bool(one), one.parts) == (other, repr(other), bool(other), other.parts)
        assert (one.model_dump(), one.model_dump_json()) == (other.model_dump(), other.model_dump_json())
        assert (one.__pydantic_extra__, one.model_fields_set) == (other.__pydantic_extra__, other.model_fields_set)
    part = Grade.verdict(True, "exact.part", None)
    assert quick.with_parts({"part": part})["part"] is part
    assert quick.parts == {} == Grade.verdict(True, "other", None).parts
    assert quick.model_copy(update={"grader_key": "other"}) == checked.model_copy(update={"grader_key": "other"})


def test_a_number_has_no_verdict_of_its_own() -> None:
    assert Grade(0.4).passed is None


def test_a_given_verdict_goes_before_that_of_a_bool() -> None:
    assert Grade(True, passed=False).passed is False


@pytest.mark.parametrize(
    ("grade", "truth"),
    [(Grade(0.4), True), (Grade(0), False), (Grade(0.4, passed=False), False), (Grade(0, passed=True), True)],
)
def test_the_truth_of_a_grade_is_its_verdict_or_that_of_its_number(grade: Grade, truth: bool) -> None:
    assert bool(grade) is truth


def test_a_grade_compares_with_numbers() -> None:
    grade = Grade(0.5)
    assert grade == 0.5
    assert grade != 0.6
    assert 0.4 < grade < 0.6
    assert 0.5 <= grade <= 0.5
    assert float(grade) == 0.5
    assert grade != "0.5"
    assert grade == pytest.approx(0.5)


def test_grades_compare_with_each_other() -> None:
    assert Grade(0.4) < Grade(0.5)
    assert Grade(1, "a") == Grade(1, "a", reasoning="another")
    assert Grade(1, "a") != Grade(1, "b")
    assert Grade(1.0) != Grade(True)
    assert max(Grade(0.2, "low"), Grade(0.9, "high")).grader_key == "high"


def test_equal_grades_have_equal_hashes() -> None:
    assert hash(Grade(1)) == hash(1)
    assert len({Grade(1, "a"), Grade(1, "a", "reason")}) == 1


def test_a_grade_cannot_be_changed() -> None:
    with pytest.raises(ValidationError):
        Grade(1).value = 0


def test_a_misspelt_argument_is_refused() -> None:
    with pytest.raises(TypeError, match="reasonin"):
        Grade(1, reasonin="x")  # type: ignore[call-arg]  # the mistake is what is tested


@pytest.mark.parametrize(("status", "error"), WITHOUT_VALUE)
@pytest.mark.parametrize(
    "use", [bool, float, lambda grade: grade > 0, lambda grade: grade == 1, lambda grade: grade <= Grade(1)]
)
def test_asking_a_grade_without_a_value_raises(status: Status, error: type[Exception], use: Any) -> None:
    with pytest.raises(error, match=r"exact .*: no context"):
        use(Grade(None, "exact", "no context", status=status))


def test_grades_without_a_value_compare_with_each_other() -> None:
    assert Grade(None, "a", status="error") == Grade(None, "a", status="error")
    assert Grade(None, "a", status="error") != Grade(None, "a", status="pending")


@pytest.mark.parametrize(("status", "_error"), WITHOUT_VALUE)
@pytest.mark.parametrize("given", [{"value": 1.0}, {"passed": True}])
def test_only_a_graded_one_has_value_or_verdict(status: Status, _error: object, given: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match=f"a grade with status '{status}' has neither value nor verdict"):
        Grade(**given, status=status)


def test_a_graded_one_needs_a_value() -> None:
    with pytest.raises(ValidationError, match="a grade with status 'graded' needs a value"):
        Grade()


def test_an_unknown_status_is_refused() -> None:
    with pytest.raises(ValidationError, match="not_applicable"):
        Grade(1, status="done")  # type: ignore[arg-type]  # the mistake is what is tested


@pytest.mark.parametrize(
    ("grade", "shown"),
    [
        (Grade(True, "exact"), "<exact 1 passed>"),
        (Grade(0.25, "exact", "expected 'a'\ngot 'b'", passed=False), "<exact 0.25 missed: expected 'a' got 'b'>"),
        (Grade(0.123456789), "<grade 0.123457>"),
        (Grade(None, "exact", "no context", status="not_applicable"), "<exact not_applicable: no context>"),
        (Grade(None, "exact", status="error"), "<exact error>"),
        (Grade(1, "exact", "\x1b[2J"), "<exact 1: \\x1b[2J>"),
    ],
)
def test_a_failed_assert_shows_value_verdict_and_reasoning(grade: Grade, shown: str) -> None:
    assert repr(grade) == str(grade) == shown


def test_a_long_reasoning_is_cut_in_a_failed_assert() -> None:
    assert len(repr(Grade(1, "k", "x" * 5000))) < 330


GRADES = [
    Grade(0.1 + 0.2, "k", "r", passed=True, metadata={"a": [1, {"b": None}]}),
    Grade(False, "k"),
    Grade(None, "k", "why", status="error"),
]


@pytest.mark.parametrize("grade", GRADES, ids=["number", "bool", "error"])
def test_a_grade_survives_a_round_trip_through_data_and_json(grade: Grade) -> None:
    assert Grade.model_validate(grade.model_dump()).model_dump() == grade.model_dump()
    assert Grade.model_validate_json(grade.model_dump_json()).model_dump() == grade.model_dump()


def test_a_bool_in_data_is_a_verdict_too() -> None:
    assert Grade.model_validate({"value": True}).passed is True


def test_what_a_later_version_adds_to_a_grade_is_kept() -> None:
    grade = Grade.model_validate({"value": 1.0, "confidence": 0.5})
    assert grade.model_dump()["confidence"] == 0.5


def test_bad_data_is_refused_as_a_bad_call_is() -> None:
    with pytest.raises(ValidationError):
        Grade.model_validate({"value": math.nan})
