"""``@grader``: which functions it takes."""

from __future__ import annotations

import inspect
from typing import Any

import pytest

from pytest_evals.errors import SuiteError
from pytest_evals.fixtures.declaration import grader_of
from pytest_evals.fixtures.grader import grader


def test_a_class_is_no_grader() -> None:
    with pytest.raises(SuiteError, match="@grader takes a function, not type"):
        grader(int)


def test_a_grader_that_yields_is_refused_by_name() -> None:
    def half() -> Any:
        yield True

    with pytest.raises(SuiteError, match="grader 'half' yields; a grader returns its grade"):
        grader(half)


def test_pytest_finds_the_function_that_its_author_wrote() -> None:
    async def judged(case: object) -> bool:
        return bool(case)

    def sync(case: object) -> bool:
        return bool(case)

    # A sync grader asks for no request of its own: pytest would make one for each case.
    for function, asked in ((judged, ["case", "request"]), (sync, ["case"])):
        fixture = grader(function)
        assert inspect.unwrap(fixture._get_wrapped_function()) is function
        assert list(inspect.signature(fixture._get_wrapped_function()).parameters) == asked


def test_an_ordinary_function_is_no_grader() -> None:
    assert grader_of(len) is None
