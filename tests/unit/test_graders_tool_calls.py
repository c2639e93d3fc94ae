"""Calls that a model made, compared with those that are expected."""

from __future__ import annotations

from typing import Any

import pytest

from pytest_evals.completion import ToolCall
from pytest_evals.errors import SuiteError
from pytest_evals.graders.tools.matching import Arguments, Order, compare, expected_calls, same


def call(name: str, **arguments: Any) -> dict[str, Any]:
    return {"name": name, "arguments": arguments}


def made(*calls: dict[str, Any]) -> list[ToolCall]:
    return [ToolCall(each["name"], each["arguments"]) for each in calls]


A, B, C = call("a", x=1), call("b", y="z"), call("c")


@pytest.mark.parametrize(
    ("expected", "calls", "order", "value", "passed"),
    [
        ([A, B], [A, B], "exact", 1.0, True),
        ([A, B], [A, B], "in_order", 1.0, True),
        ([A, B], [A, B], "any", 1.0, True),
        ([A, B], [B, A], "exact", 0.0, False),
        ([A, B], [B, A], "in_order", 0.5, False),
        ([A, B], [B, A], "any", 1.0, True),
        ([A, B], [A, C, B], "exact", 0.4, False),
        ([A, B], [A, C, B], "in_order", 0.8, False),
        ([A, B], [A, C, B], "any", 0.8, False),
        ([A, B, C], [A], "any", 0.5, False),
        ([A], [A, A], "any", 2 / 3, False),
        ([A, A], [A], "any", 2 / 3, False),
        ([A], [B], "any", 0.0, False),
        ([A], [], "any", 0.0, False),
        ([], [A], "any", 0.0, False),
        ([], [], "exact", 1.0, True),
    ],
)
def test_the_value_is_the_f1_of_the_calls(
    expected: list[Any], calls: list[Any], order: Order, value: float, passed: bool
) -> None:
    result = compare(expected_calls(expected), made(*calls), order, "equal")
    assert result.value == pytest.approx(value)
    assert result.passed is passed
    precision, recall = result.precision, result.recall
    if precision + recall and expected and calls:
        assert result.value == pytest.approx(2 * precision * recall / (precision + recall))


def test_calls_beyond_those_expected_may_be_allowed() -> None:
    result = compare(expected_calls([A, B]), made(A, C, B), "in_order", "equal", allow_extra=True)
    assert (result.value, result.passed) == (1.0, True)
    result = compare(expected_calls([A, B]), made(A, C), "in_order", "equal", allow_extra=True)
    assert (result.value, result.passed) == (0.5, False)
    assert "further calls: c()" in result.reason


@pytest.mark.parametrize(
    ("expected", "given", "how", "matches"),
    [
        ({"x": 5}, {"x": 5.0}, "equal", True),
        ({"x": 1}, {"x": True}, "equal", False),
        ({"x": True}, {"x": True}, "equal", True),
        ({"x": "5"}, {"x": 5}, "equal", False),
        ({"x": None}, {}, "equal", False),
        ({"x": [1, {"y": 2.0}]}, {"x": [1.0, {"y": 2}]}, "equal", True),
        ({"x": [1, 2]}, {"x": [2, 1]}, "equal", False),
        ({"x": 1}, {"x": 1, "y": 2}, "equal", False),
        ({"x": 1}, {"x": 1, "y": 2}, "subset", True),
        ({"x": 1, "y": 2}, {"x": 1}, "subset", False),
        ({"x": {"a": 1}}, {"x": {"a": 1, "b": 2}}, "subset", False),
        ({}, {"x": 1}, "subset", True),
        ({"x": 1}, {"z": 9}, "ignore", True),
        ({"x": [10, "ten"]}, {"x": 10.0}, "any_of", True),
        ({"x": [10], "unit": ["cm", ""]}, {"x": 10}, "any_of", True),
        ({"x": [10], "unit": ["cm", ""]}, {"x": 10, "unit": "m"}, "any_of", False),
        ({"x": [10], "unit": ["cm"]}, {"x": 10}, "any_of", False),
        ({"x": [10]}, {"x": 10, "more": 1}, "any_of", False),
        ({"x": [[1, 2]]}, {"x": [1, 2]}, "any_of", True),
    ],
)
def test_arguments(expected: dict[str, Any], given: dict[str, Any], how: Arguments, matches: bool) -> None:
    wanted = expected_calls([{"name": "f", "arguments": expected}], how)
    assert compare(wanted, [ToolCall("f", given)], "any", how).passed is matches


def test_a_call_that_matches_several_goes_to_the_one_that_no_other_matches() -> None:
    wanted = expected_calls([call("f"), call("f", x=1)], "subset")
    calls = [ToolCall("f", {"x": 1}), ToolCall("f", {"x": 2})]
    assert compare(wanted, calls, "any", "subset").passed
    assert compare(list(reversed(wanted)), list(reversed(calls)), "any", "subset").passed


def test_the_longest_common_subsequence_is_found() -> None:
    def names(text: str) -> list[dict[str, Any]]:
        return [call(letter) for letter in text]

    result = compare(expected_calls(names("abcbdab")), made(*names("bdcaba")), "in_order", "equal")
    assert len(result.pairs) == 4


def test_a_name_alone_says_nothing_of_arguments() -> None:
    result = compare(expected_calls(["f", "g"]), [ToolCall("g", {"x": 1}), ToolCall("f", {})], "any", "equal")
    assert result.passed


def test_the_reason_names_what_is_missing_and_what_is_too_much() -> None:
    result = compare(expected_calls([A, "d"]), made(A, B), "any", "equal")
    assert result.reason == '1 of 2 expected calls were made; missing d(...); not expected: b(y="z")'
    assert result.details() == {"matched": 1, "expected": 2, "made": 2, "precision": 0.5, "recall": 0.5}


@pytest.mark.parametrize(
    "entry",
    [
        call("f", x=1),
        {"function": {"name": "f", "arguments": {"x": 1}}},
        {"id": "c", "type": "function", "function": {"name": "f", "arguments": '{"x": 1}'}},
        ToolCall("f", {"x": 1}),
    ],
)
def test_an_expected_call_is_written_in_several_ways(entry: Any) -> None:
    (found,) = expected_calls(entry)
    assert (found.name, found.arguments) == ("f", {"x": 1})


@pytest.mark.parametrize(
    ("value", "how", "message"),
    [
        ([3], "equal", "an expected call is"),
        ([{"arguments": {}}], "equal", "an expected call is"),
        ("", "equal", "an expected call is"),
        ([{"name": "f", "arguments": [1]}], "equal", "must be an object"),
        ([{"name": "f", "arguments": "{"}], "equal", "are not valid JSON"),
        ([call("f", x=1)], "any_of", "each expected argument is a list of values, and 'x' of 'f' is none"),
    ],
)
def test_what_is_no_expected_call_is_refused(value: Any, how: Arguments, message: str) -> None:
    with pytest.raises(SuiteError, match=message):
        expected_calls(value, how)


def test_a_boolean_is_no_number() -> None:
    assert same(1, 1.0)
    assert not same(1, True)
    assert not same(0, False)
    assert same({"a": [None]}, {"a": (None,)})
