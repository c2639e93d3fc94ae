"""The number that a completion gives as its answer."""

from __future__ import annotations

import json
import math
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
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
        ("1,23", 1.23),
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
        "3 + 4 = 7, but\nA: I cannot say",
        "The answer is 5? No: the answer is unknown.",
        "<answer>none of the 3</answer>".replace("3", "three"),
        "答案是\uff1a无法确定",
        "1/0",
        "9" * 5000,
        "1e999",
        "v2",
        "a5",
        "-",
        "$",
        "2^n",
        "x^2",
        "2^10000",
        r"\boxed{9^{9^{9^9}}}",
        "9^{9^{9}}",
        "0^{-1}",
        r"\frac{1}{0}",
        "12.05.2024",
        "1.2.3",
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
        r"\boxed{" + "(" * 90 + "1" + ")" * 90 + "}",
        r"\boxed{" + "2^" * 90 + "1}",
        r"\boxed{" + "-" * 190 + "1}",
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


@pytest.mark.parametrize(
    "text",
    [
        "1,234 / 5 - 6 = " * 60_000,
        "1" * 1_000_000 + "x",
        "- $ " * 250_000,
        r"\boxed{" * 140_000,
        r"\boxed{\text{" * 70_000,
        r"\frac{" * 160_000,
        "#### " * 200_000,
        "the answer is " * 70_000,
        "answer to " * 100_000,
        "A:\n" * 330_000,
        "A: " * 330_000,
        "<answer>" * 120_000,
        "1 234 " * 160_000,
        "2^" * 500_000,
        "1," * 500_000,
        "1." * 500_000,
        "result is " + "1 + 2 = " * 120_000,
        r"\boxed{" + "(" * 1_000_000,
        "{" * 1_000_000,
        " " * 1_000_000,
        "٣" * 1_000_000,
        "3万" * 300_000,
    ],
    ids=lambda text: text[:16],
)
def test_a_completion_of_a_megabyte_is_read_to_its_end(text: str) -> None:
    assert final_number(f"{text}\nSo 7") == 7


# -- the forms of others
DATA = Path(__file__).parent / "data"


def rows(name: str) -> list[Any]:
    return [json.loads(line) for line in (DATA / name).read_text(encoding="utf-8").splitlines()]


@pytest.mark.parametrize("row", rows("numbers.jsonl"), ids=lambda row: row["id"])
def test_answers_that_were_misread_elsewhere(row: dict[str, Any]) -> None:
    assert number(row["completion"], row["answer"]).passed is not row.get("wrong", False)


@pytest.mark.parametrize("row", rows("numbers_written.jsonl"), ids=lambda row: row["completion"])
def test_answers_as_people_and_models_write_them(row: dict[str, Any]) -> None:
    assert final_number(row["completion"]) == pytest.approx(row["answer"], rel=1e-12, abs=0)


@pytest.mark.parametrize(
    ("text", "point", "comma", "auto"),
    [
        ("4,2", 2, 4.2, 4.2),
        ("4.2", 4.2, 4.2, 4.2),
        ("1,234", 1234, 1.234, 1234),
        ("1.234", 1.234, 1234, 1.234),
        ("1234,567", 567, 1234.567, 1234.567),
        ("0,125", 125, 0.125, 0.125),
        ("0.125", 0.125, 0.125, 0.125),
        ("1.234,56", 1234.56, 1234.56, 1234.56),
        ("1,234.56", 1234.56, 1234.56, 1234.56),
        ("1.234.567", 1234567, 1234567, 1234567),
        ("1,234,567", 1234567, 1234567, 1234567),
        ("1,23,456", 123456, 123456, 123456),
        ("1'250,5", 1250.5, 1250.5, 1250.5),
        ("1 250,5", 1250.5, 1250.5, 1250.5),
        ("1,2,3", 3, 3, 3),
    ],
)
def test_the_mark_before_decimals(text: str, point: float, comma: float, auto: float) -> None:
    assert (final_number(text, "."), final_number(text, ","), final_number(text)) == (point, comma, auto)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("Ein Buch kostet 12,50 €, alle zusammen kosten 1.250 €", 1250),
        ("Es sind 1.234,5 kg und 1,234", 1.234),
        ("Die Antwort ist 3.500", 3500),
        ("Die Antwort ist 3.500, denn 7 * 0.5 = 3.5", 3.5),
        ("It weighs 1.5 kg, and costs 12,50 € and 1,234", 1234),
        ("The answer is 3.500", 3.5),
    ],
)
def test_what_a_text_shows_of_its_decimal_mark_decides(text: str, value: float) -> None:
    assert final_number(text) == value


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
        ("123456789012345679", 123456789012345678, False),
        ("1000000001", 1000000000, False),
        ("1000000001", 1e9, False),
        ("0.333333333333", Fraction(1, 3), True),
        ("1/3", Fraction(1, 3), True),
        ("0.33", Fraction(1, 3), False),
        ("0.1", Decimal("0.1"), True),
        ("1,000", Decimal("1E+3"), True),
        ("42", np.int64(42), True),
        ("0.5", np.float32(0.5), True),
        (r"\boxed{4.71238898038}", r"\frac{3\pi}{2}", True),
        ("The profit is 1.3 million", 1_300_000, True),
        ("The profit is 1.3 million", 1.3, True),
        ("The profit is 1.3 million", 1_300, False),
        ("The profit is 1,300,000", "1.3 million", True),
        ("It costs $5k", 5000, True),
        ("It is 5m long", 5_000_000, False),
        ("2 lakh", 200_000, True),
        ("3 crore", 30_000_000, True),
        ("20%", 20, True),
        ("20%", 0.2, False),
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


@pytest.mark.parametrize(
    "expected",
    [
        None,
        True,
        "septante",
        "",
        [72],
        math.nan,
        math.inf,
        10**400,
        Decimal("NaN"),
        Decimal("Infinity"),
        Decimal("1E+999"),
        2j,
    ],
)
def test_what_is_no_number_cannot_be_expected(expected: object) -> None:
    with pytest.raises(SuiteError, match="number needs a number to compare with, and was given"):
        expected_number(expected)


def test_a_mistake_is_found_where_the_grader_is_written() -> None:
    with pytest.raises(SuiteError, match="number needs a number to compare with, and was given 'septante'"):
        graders.number("septante")


@pytest.mark.parametrize("tolerance", [-1, math.nan, math.inf, True, "0.1", None])
def test_a_tolerance_is_a_number_of_at_least_zero(tolerance: Any) -> None:
    with pytest.raises(SuiteError, match="number: tolerance must be a number of at least 0"):
        graders.number(1, tolerance=tolerance)


@pytest.mark.parametrize("decimal", ["comma", None, ";"])
def test_a_decimal_mark_is_a_comma_or_a_point(decimal: Any) -> None:
    with pytest.raises(SuiteError, match=r"number: decimal must be ',', '\.' or 'auto', not"):
        graders.number(1, decimal=decimal)


def test_a_tolerance_is_absolute_or_relative() -> None:
    with pytest.raises(SuiteError, match="number: kind must be 'absolute' or 'relative', not 'percent'"):
        graders.number(1, kind="percent")  # type: ignore[arg-type]  # the mistake is what is tested
