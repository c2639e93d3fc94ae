"""The number that a completion gives as its answer."""

from __future__ import annotations

import math
from typing import Any

import pytest

from pytest_evals import graders
from pytest_evals.errors import SuiteError
from pytest_evals.graders.numbers import expected_number, final_number, number

GSM8K = "Natalia sold 48/2 = <<48/2=24>>24 clips in May.\nAltogether 48+24 = <<48+24=72>>72 clips.\n#### 72"


@pytest.mark.parametrize(
    ("text", "value"),
    [
        # the mark of GSM8K and other announcements
        (GSM8K, 72),
        ("#### 1,234", 1234),
        ("#### $1,000.00", 1000),
        ("#### -3", -3),
        ("#### 5 dollars and 30 cents", 5),
        ("#### 1\nNo, wait.\n#### 2", 2),
        ("Q: 3+4? A: 7", 7),
        ("Q: 1 A: 2 Q: 3 A: 4", 4),
        ("Answer: 18", 18),
        ("**Answer:** 18", 18),
        ("Answer is: **18**", 18),
        ("The correct ANSWER IS 9", 9),
        ("The answer is 12. I also considered 15.", 12),
        ("the answer is 5 (not 6)", 5),
        ("The answer is:\n\n42", 42),
        # calculations after the announcement
        ("The answer is 3 + 4 = 7.", 7),
        ("The answer is 10 - 4 = 6, so 6 of 20 apples", 6),
        ("A: 2 * 3 = 6", 6),
        # LaTeX
        (r"\boxed{42}", 42),
        (r"First \boxed{1}, then \boxed{2}, of 10.", 2),
        (r"The final answer is $\boxed{3}$.", 3),
        (r"The answer is 7. \boxed{8}", 8),
        (r"\boxed{x = 5}", 5),
        (r"\boxed{1{,}000}", 1000),
        (r"\boxed{\$1,250}", 1250),
        (r"\boxed{5\%}", 5),
        (r"\boxed{-\frac{1}{2}}", -0.5),
        (r"\boxed{\dfrac{3}{4}}", 0.75),
        (r"It is $\frac{3}{4}$", 0.75),
        (r"\boxed{\text{none}} so 4", 4),
        # the last number
        ("3 apples and 4", 4),
        ("It costs 5.", 5),
        ("x=5", 5),
        ("5kg", 5),
        ("the 5th", 5),
        ("GPT-4", 4),
        ("(5)", 5),
        ("*5*", 5),
        # thousands, decimals, exponents
        ("12,345.", 12345),
        ("1,234,567.89", 1234567.89),
        ("1\u202f234\u00a0567", 1234567),
        ("1,2,3", 3),
        ("1,23", 23),
        (".5", 0.5),
        ("0.5.", 0.5),
        ("1e5", 1e5),
        ("1.5e-3", 0.0015),
        ("007", 7),
        # currency and percent
        ("$1,234.50", 1234.5),
        ("$5", 5),
        ("5$", 5),
        ("£ 7", 7),
        ("€-3", -3),
        ("-$3", -3),
        ("50%", 50),
        ("50 %.", 50),
        # signs
        ("-5", -5),
        ("\u22125", -5),
        ("- 5", -5),
        ("+5", 5),
        ("(-5)", -5),
        ("answer is -7", -7),
        ("5-3", 3),
        ("between 3-5", 5),
        # fractions
        ("1/2", 0.5),
        ("10 / 4", 2.5),
        ("-1/4", -0.25),
    ],
)
def test_the_final_number_is(text: str, value: float) -> None:
    assert final_number(text) == pytest.approx(value)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "no number",
        "####",
        "#### none of them",
        "There are 5 apples. The answer is unknown.",
        "3 + 4 = 7, but A: I cannot say",
        "1/0",
        "9" * 5000,
        "1e999",
        "v2",
        "a5",
        "-",
        "$",
        "½",
    ],
)
def test_there_is_no_final_number(text: str) -> None:
    assert final_number(text) is None


@pytest.mark.parametrize(
    "text",
    [
        "2024-01-15",
        "12/25/2024",
        "version 1.2.3",
        "192.168.0.1",
        "12:30:05",
        "1/2/3",
        "+1 (555) 010-9999",
        "1..2",
        "...",
        "1e",
        "1e5e5",
        "\\boxed{",
        "\\frac{a}{b}",
        "\\boxed{\\boxed{5}}",
        "1,,000",
        "٣",
        "\ud800 5",
    ],
)
def test_odd_text_gives_a_finite_number_or_none(text: str) -> None:
    found = final_number(text)
    assert found is None or math.isfinite(found)


def test_a_long_completion_takes_no_noticeable_time() -> None:
    assert final_number("1,234 / 5 - 6 = " * 20_000 + "7") == 7
    assert final_number("1" * 50_000 + "x") is None
    assert final_number("- $ " * 50_000 + "3") == -3


# -- comparison


@pytest.mark.parametrize(
    ("text", "expected", "passed"),
    [
        ("72", 72, True),
        ("72.0", 72, True),
        ("72", "72", True),
        ("72", GSM8K, True),
        ("#### 1,000", "1000", True),
        ("0.1 + 0.2 = 0.3", 0.1 + 0.2, True),
        ("0", 0, True),
        ("0.0000001", 0, False),
        ("71.9", 72, False),
        ("-72", 72, False),
        ("123456789012345678", 123456789012345678, True),
    ],
)
def test_without_a_tolerance_equal_means_equal(text: str, expected: object, passed: bool) -> None:
    assert number(text, expected).passed is passed


@pytest.mark.parametrize(
    ("text", "expected", "tolerance", "kind", "passed"),
    [
        ("10.5", 10, 0.5, "absolute", True),
        ("10.6", 10, 0.5, "absolute", False),
        ("9.5", 10, 0.5, "absolute", True),
        ("105", 100, 0.05, "relative", True),
        ("106", 100, 0.05, "relative", False),
        ("-105", -100, 0.05, "relative", True),
        ("0.01", 0, 0.5, "relative", False),
    ],
)
def test_a_tolerance_is_a_distance_or_a_share(
    text: str, expected: float, tolerance: float, kind: Any, passed: bool
) -> None:
    assert number(text, expected, tolerance=tolerance, kind=kind).passed is passed


@pytest.mark.parametrize(
    ("text", "options", "reason"),
    [
        ("It is 71.", {}, "expected 72, found 71 in 'It is 71.'"),
        ("none", {}, "expected 72, found no number in 'none'"),
        ("70", {"tolerance": 1}, "expected 72 within 1, found 70 in '70'"),
        ("70", {"tolerance": 0.01, "kind": "relative"}, "expected 72 within 0.01 relative, found 70 in '70'"),
    ],
)
def test_the_reason_shows_both_numbers(text: str, options: dict[str, Any], reason: str) -> None:
    assert number(text, 72, **options).reason == reason


@pytest.mark.parametrize("expected", [None, True, "seventy", "", [72], math.nan, math.inf, 10**400])
def test_what_is_no_number_cannot_be_expected(expected: object) -> None:
    with pytest.raises(SuiteError, match="number needs a number to compare with, and was given"):
        expected_number(expected)


def test_a_mistake_is_found_where_the_grader_is_written() -> None:
    with pytest.raises(SuiteError, match="number needs a number to compare with, and was given 'seventy'"):
        graders.number("seventy")


@pytest.mark.parametrize("tolerance", [-1, math.nan, math.inf, True, "0.1", None])
def test_a_tolerance_is_a_number_of_at_least_zero(tolerance: Any) -> None:
    with pytest.raises(SuiteError, match="number: tolerance must be a number of at least 0"):
        graders.number(1, tolerance=tolerance)


def test_a_tolerance_is_absolute_or_relative() -> None:
    with pytest.raises(SuiteError, match="number: kind must be 'absolute' or 'relative', not 'percent'"):
        graders.number(1, kind="percent")  # type: ignore[arg-type]  # the mistake is what is tested
