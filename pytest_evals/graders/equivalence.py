"""``math``: whether the expression that a completion gives is equal to another one, as math-verify tells."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from decimal import Decimal
from fractions import Fraction
from typing import TYPE_CHECKING, Any

from pytest_evals.errors import SuiteError
from pytest_evals.fixtures.context import current_scope
from pytest_evals.fixtures.grader import Fixture, grader_fixture
from pytest_evals.graders.equivalence_process import comparer
from pytest_evals.graders.expressions import candidates
from pytest_evals.graders.templating import check_static, depends_on_case, grading_text, require
from pytest_evals.graders.text import TextVerdict
from pytest_evals.templates.rendering import render
from pytest_evals.text import one_line, quotation

if TYPE_CHECKING:
    import pytest

_SLACK = 5.0
"""Seconds that starting the process may add to a comparison."""


def math(expected: object, *, timeout: float = 10.0, of: str | None = None, run_if: str | None = None) -> Fixture:
    r"""The completion's expression equals ``expected``, however it is written. Needs the extra ``math``.

    math-verify and sympy compare numbers, terms, equations, inequalities, sets, tuples, intervals and matrices, in their own process.

    Args:
        expected: LaTeX (``\frac{\sqrt{2}}{2}``), plain text (``sqrt(2)/2``), a number, a text that announces one of these, or a locator.
        timeout: Seconds for a comparison; after that the completion misses.
        of: A task whose result is graded instead of the completion, or a field of it.
        run_if: An expression over the case. Where it is false, the grader does not apply.

    Raises:
        SuiteError: A setting is wrong, or ``expected`` cannot be read.
    """
    require("math_verify", "math", "math")
    if isinstance(timeout, bool) or not isinstance(timeout, (int, float)) or not 0 < timeout < float("inf"):
        raise SuiteError(f"math: timeout must be a number of seconds above 0, not {timeout!r}")
    check_static(expected, lambda value: check_expected(value, timeout))
    settings = {"expected": expected} if depends_on_case(expected) else {}

    def grade(answer: str, request: pytest.FixtureRequest) -> Any:
        from pytest_evals.grades import Grade

        verdict = equivalent(answer, render(expected, current_scope(request)) if settings else expected, timeout)
        return Grade(verdict.passed, request.fixturename or "", verdict.reason)

    def check(found: Mapping[str, Any]) -> None:
        check_expected(found.get("expected", expected), timeout)

    ready_made = grading_text(grade, of, "math")
    ready_made.__doc__ = "The expression that the completion gives is equal to the expected one."
    seconds = timeout + _SLACK
    return grader_fixture(ready_made, settings=settings, check=check, run_if=run_if, waits=True, seconds=seconds)


def check_expected(value: object, seconds: float) -> str:
    """Return the expression to compare with as LaTeX. Raises `SuiteError` for what is none."""
    found = candidates(_written(value))
    if not found:
        raise SuiteError(f"math needs an expression to compare with, and was given {one_line(repr(value), 60)}")
    if not found[0].isdecimal() and (problem := _problem(found[0], seconds)):
        raise SuiteError(f"math: {one_line(repr(value), 60)} {problem}")
    return found[0]


@functools.lru_cache(maxsize=100_000)
def _problem(latex: str, seconds: float) -> str:
    """Return what is wrong with an expression that others are to be compared with; empty where it equals itself."""
    found = comparer().compare(latex, [latex], seconds)
    if found.unfinished:
        return f"cannot be compared with anything: {found.unfinished}"
    return (
        ""
        if found.gold and found.equal
        else r"is not readable as an expression; write it as LaTeX, a word as \text{word}"
    )


def _written(value: object) -> str:
    if isinstance(value, Fraction):
        return rf"\frac{{{value.numerator}}}{{{value.denominator}}}" if value.denominator > 1 else str(value.numerator)
    if isinstance(value, (str, int, float, Decimal)) and not isinstance(value, bool):
        return str(value)
    raise SuiteError(f"math compares expressions, and was given {type(value).__name__} ({one_line(repr(value), 60)})")


def equivalent(text: str, expected: object, seconds: float) -> TextVerdict:
    """Compare the expression that ``text`` gives with ``expected``."""
    wanted = check_expected(expected, seconds)
    answers = candidates(text)
    shown = f"expected {quotation(wanted, 60)}"
    if not answers:
        return TextVerdict(False, f"{shown}, found no expression in {quotation(text)}")
    if answers[0] == wanted:
        return TextVerdict(True, f"{shown}, found the same in {quotation(text)}")
    found = comparer().compare(wanted, answers, seconds)
    if found.unfinished:
        return TextVerdict(False, f"{shown}, not shown to be equal to {quotation(answers[0], 60)}: {found.unfinished}")
    if not found.found:
        return TextVerdict(False, f"{shown}, {quotation(answers[0], 60)} is not readable as an expression")
    return TextVerdict(found.equal, f"{shown}, found {quotation(answers[0], 60)} in {quotation(text)}")
