"""The number that a completion gives as its answer."""

from __future__ import annotations

import math
import re
import sys
from typing import Literal

from pytest_evals.errors import SuiteError
from pytest_evals.graders.text import TextVerdict
from pytest_evals.text import one_line, quoted

Tolerance = Literal["absolute", "relative"]

# What announces a final answer: GSM8K's mark, "A:", "Answer:" and the like, "the answer is".
_ANNOUNCED = re.compile(r"####|\bA[*_]*:|\b(?:[Aa]nswer|ANSWER)[*_]*(?:\s+[Ii]s\b|\s*:)[*_:]*")
_BOXED = re.compile(r"\\boxed\s*\{([^{}]*)\}")
# Currency and percent signs, LaTeX's dollar, thin spaces: what may stand beside a number without being part of it.
_FRACTION = re.compile(r"\\d?frac\s*\{([^{}]+)\}\s*\{([^{}]+)\}")
_NUMBER = re.compile(
    r"(?<![\w.])(?P<sign>[-+\u2212])?\s?[$\u20ac\u00a3\u00a5\u20b9]?\s?(?P<sign2>[-+\u2212])?"
    r"(?P<digits>\d{1,3}(?:[,\u202f\u00a0]\d{3})+(?!\d)(?:\.\d+)?|\d+(?:\.\d+)?|\.\d+)"
    r"(?P<exponent>[eE][-+]?\d{1,3}\b)?(?:\s?/\s?(?P<denominator>\d+(?:\.\d+)?)(?![\d/]))?"
)


def final_number(text: str) -> float | None:
    r"""Return the number that ``text`` gives as its answer, `None` when there is none.

    That is the content of the last ``\boxed{}``; else what follows the last ``####``, ``A:`` or "answer is" (the first
    number there, or with a calculation the one after its last ``=``); else the last number of the text. An announced
    answer without a number is none. Thousands separators, currency and percent signs, a trailing full stop and ``a/b``
    are understood; a percent sign does not divide by 100.
    """
    cleaned = text.replace("\\$", "$").replace("\\%", "%").replace("{,}", ",").replace("\\,", "")
    cleaned = _FRACTION.sub(r"\1/\2", cleaned)
    boxed = _BOXED.findall(cleaned)
    if boxed and (numbers := _numbers(boxed[-1])):
        return numbers[-1]
    announced = list(_ANNOUNCED.finditer(cleaned))
    if announced:
        return _announced_number(cleaned[announced[-1].end() :])
    numbers = _numbers(cleaned)
    return numbers[-1] if numbers else None


def _announced_number(text: str) -> float | None:
    line = text.lstrip().partition("\n")[0]
    numbers = _numbers(line.rpartition("=")[2]) or _numbers(line) or _numbers(text)
    return numbers[0] if numbers else None


def _numbers(text: str) -> list[float]:
    values = [_value(match) for match in _NUMBER.finditer(text)]
    return [value for value in values if math.isfinite(value)]


def _value(match: re.Match[str]) -> float:
    digits = re.sub("[,\u202f\u00a0]", "", match["digits"])
    value = float(digits + (match["exponent"] or ""))
    if match["denominator"]:
        denominator = float(match["denominator"])
        value = value / denominator if denominator else math.nan
    negative = (match["sign"] or match["sign2"] or "") in ("-", "\u2212")
    return -value if negative else value


def number(text: str, expected: object, *, tolerance: float = 0.0, kind: Tolerance = "absolute") -> TextVerdict:
    """Compare the final number of ``text`` with ``expected``, a number or a text whose final number counts.

    ``tolerance`` is a distance, or with ``kind="relative"`` a share of the expected value. Without one, equal means
    equal up to the rounding of a float (relative 1e-9).
    """
    wanted = expected_number(expected)
    found = final_number(text)
    if found is None:
        return TextVerdict(False, f"expected {wanted:g}, found no number in {quoted(text)}")
    allowed = tolerance * abs(wanted) if kind == "relative" else tolerance
    passed = abs(found - wanted) <= allowed or math.isclose(found, wanted, rel_tol=1e-9, abs_tol=1e-12)
    margin = f" within {tolerance:g}{' relative' if kind == 'relative' else ''}" if tolerance else ""
    return TextVerdict(passed, f"expected {wanted:.12g}{margin}, found {found:.12g} in {quoted(text)}")


def expected_number(value: object) -> float:
    """Return the number to compare with: ``value``, or when it is a text the final number of it.

    Raises `SuiteError` for anything else; NaN, infinities and what is too large for a float among it.
    """
    if isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) <= sys.float_info.max:
        return float(value)
    found = final_number(value) if isinstance(value, str) else None
    if found is None:
        raise SuiteError(f"number needs a number to compare with, and was given {one_line(repr(value), 60)}")
    return found
