"""What a grader returns -> grades."""

from __future__ import annotations

import math
from collections import OrderedDict
from decimal import Decimal
from fractions import Fraction
from types import MappingProxyType
from typing import Any

import numpy
import pytest

from pytest_evals.errors import GradeError
from pytest_evals.fixtures.conversion import given_to_test, returned_failure, to_grades
from pytest_evals.grades import Grade


def only(value: Any, threshold: float | None = None) -> Grade:
    grades = to_grades(value, "k", threshold)
    assert list(grades) == [""]
    return grades[""]


@pytest.mark.parametrize("value", [True, False, numpy.True_, numpy.False_, numpy.bool_(True)])
def test_a_bool_is_right_or_wrong(value: Any) -> None:
    grade = only(value)
    assert (grade.value, grade.passed, grade.grader_key) == (float(value), bool(value), "k")


@pytest.mark.parametrize(
    ("value", "number"),
    [
        (0, 0.0),
        (-3, -3.0),
        (0.25, 0.25),
        (Fraction(1, 4), 0.25),
        (Decimal("0.25"), 0.25),
        (numpy.float64(0.25), 0.25),
        (numpy.float32(0.25), 0.25),
        (numpy.float16(0.25), 0.25),
        (numpy.int64(7), 7.0),
        (numpy.uint8(7), 7.0),
        (numpy.array(0.25), 0.25),
    ],
)
def test_a_number_is_a_value_without_a_verdict(value: Any, number: float) -> None:
    grade = only(value)
    assert grade == Grade(number, "k")
    assert type(grade.value) is float


@pytest.mark.parametrize(("value", "passed"), [(0.5, True), (0.49, False), (1, True), (True, True)])
def test_a_threshold_gives_a_number_its_verdict(value: float, passed: bool) -> None:
    assert only(value, threshold=0.5).passed is passed


def test_a_threshold_leaves_a_grade_as_it_is() -> None:
    assert only(Grade(0.9), threshold=0.5).passed is None


def test_none_does_not_apply() -> None:
    assert only(None).status == "not_applicable"


def test_a_grade_gets_the_graders_key_and_keeps_the_rest() -> None:
    grade = only(Grade(0.5, "other", "why", passed=True, metadata={"a": 1}))
    assert grade.model_dump() == Grade(0.5, "k", "why", passed=True, metadata={"a": 1}).model_dump()


@pytest.mark.parametrize("kind", [dict, OrderedDict, MappingProxyType])
def test_a_dict_gives_a_grade_for_each_name(kind: Any) -> None:
    grades = to_grades(kind({"tone": 0.5, "length": True, "extra": None, "whole": Grade(1, "x")}), "style")
    assert {name: grade.grader_key for name, grade in grades.items()} == {
        "tone": "style.tone",
        "length": "style.length",
        "extra": "style.extra",
        "whole": "style.whole",
    }
    assert grades["extra"].status == "not_applicable"


@pytest.mark.parametrize("name", [1, None, ("a",)])
def test_the_keys_of_a_dict_are_names(name: Any) -> None:
    with pytest.raises(GradeError, match="grader 'k' returned a dict with the key"):
        to_grades({name: 1}, "k")


def test_a_dict_may_hold_the_graders_own_grade_beside_its_parts() -> None:
    grades = to_grades({"": 0.5, "tone": True}, "k")
    assert [grade.grader_key for grade in grades.values()] == ["k", "k.tone"]
    given = given_to_test(grades)
    assert (given.value, given["tone"].passed) == (0.5, True)
    with pytest.raises(KeyError, match="no grade 'ton': k has tone"):
        given["ton"]
    assert given_to_test(to_grades({"tone": True}, "k")).keys() == {"tone"}


def test_a_returned_error_is_a_failure_of_the_grader() -> None:
    failed = returned_failure(to_grades(Grade(None, reasoning="no verdict", status="error"), "k"))
    assert "grader 'k': no verdict" in str(failed)
    assert returned_failure(to_grades(None, "k")) is None


@pytest.mark.parametrize("value", ["yes", "", "1", b"1", [1], (1,), {1}, {"a": {"b": 1}}, object(), 1j, len])
def test_anything_else_is_refused_and_says_what_a_grader_returns(value: Any) -> None:
    with pytest.raises(GradeError, match="a grader returns a bool, a finite number, a Grade, a dict of these, or None"):
        to_grades(value, "k")


def test_an_array_of_several_numbers_is_refused() -> None:
    with pytest.raises(GradeError, match="grader 'k' returned ndarray"):
        to_grades(numpy.array([0.5]), "k")


def test_an_entry_that_is_refused_is_named() -> None:
    with pytest.raises(GradeError, match=r"grader 'k\.tone' returned str \('high'\)"):
        to_grades({"length": 1, "tone": "high"}, "k")


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, numpy.float32("nan"), Decimal("NaN"), Decimal("inf")])
def test_what_is_not_finite_is_refused(value: Any) -> None:
    with pytest.raises(GradeError, match="a grade is a finite number, or None where there is nothing to grade"):
        to_grades(value, "k")


def test_a_number_too_large_for_a_float_is_refused() -> None:
    with pytest.raises(GradeError, match="which is not a number: int too large"):
        to_grades(10**400, "k")
