"""The number that a completion gives as its answer."""

from __future__ import annotations

import math
import numbers
from decimal import Decimal
from typing import Literal

from pytest_evals.errors import SuiteError
from pytest_evals.graders.answers import final_numeral
from pytest_evals.graders.numerals import Number, Numeral
from pytest_evals.graders.separators import DecimalMark
from pytest_evals.graders.text import TextVerdict
from pytest_evals.text import one_line, quotation

Tolerance = Literal["absolute", "relative"]
DECIMAL_MARKS = (",", ".", "auto")


def final_number(text: str, decimal: DecimalMark = "auto") -> Number | None:
    r"""Return the number that ``text`` gives as its answer, `None` when there is none.

    That is what the last announcement gives: a ``\boxed{}``, an ``<answer>`` tag, ``####``, "answer is", "Answer:", ``A:`` at the
    start of a line. An announced answer without a number is none. Without an announcement, it is the last number.
    ``decimal``: the mark before decimals; ``auto`` decides it by the rule in docs/graders.md.
    """
    found = final_numeral(text, decimal)
    return None if found is None else found.value


def number(
    text: str,
    expected: object,
    *,
    tolerance: float = 0.0,
    kind: Tolerance = "absolute",
    decimal: DecimalMark = "auto",
) -> TextVerdict:
    """Compare the final number of ``text`` with ``expected``, a number or a text whose final number counts.

    ``tolerance`` is a distance, or with ``kind="relative"`` a share of the expected value. Without one, integers are equal
    exactly, and others up to the rounding of a float (relative 1e-9). Where a word as "million" follows a number, it counts
    or not, whichever is equal.
    """
    wanted = _expected(expected, decimal)
    found = final_numeral(text, decimal)
    margin = f" within {tolerance:g}{' relative' if kind == 'relative' else ''}" if tolerance else ""
    if found is None:
        return TextVerdict(False, f"expected {_shown(wanted.value)}{margin}, found no number in {quotation(text)}")
    passed = any(
        _equal(ours, theirs, tolerance * abs(theirs) if kind == "relative" else tolerance)
        for ours in _readings(found)
        for theirs in _readings(wanted)
    )
    return TextVerdict(
        passed, f"expected {_shown(wanted.value)}{margin}, found {_shown(found.value)} in {quotation(text)}"
    )


def _readings(numeral: Numeral) -> tuple[Number, ...]:
    return (numeral.value,) if numeral.factor == 1 else (numeral.value, numeral.value * numeral.factor)


def _equal(found: Number, wanted: Number, allowed: float) -> bool:
    if abs(found - wanted) <= allowed:
        return True
    exact = isinstance(found, int) and isinstance(wanted, int)
    return not exact and math.isclose(found, wanted, rel_tol=1e-9, abs_tol=1e-12)


def _shown(value: Number) -> str:
    return str(value) if isinstance(value, int) else f"{value:.12g}"


def expected_number(value: object, decimal: DecimalMark = "auto") -> Number:
    """Return the number to compare with: ``value`` (an int, a float, a `Decimal`, a `Fraction`, a number of NumPy), or when it is
    a text the final number of it.

    Raises `SuiteError` for anything else; NaN, infinities and what is too large for a float among it.
    """
    return _expected(value, decimal).value


def _expected(value: object, decimal: DecimalMark) -> Numeral:
    if isinstance(value, str):
        found = final_numeral(value, decimal)
    else:
        exact = _exact(value)
        found = None if exact is None else Numeral(exact, 0, 0)
    if found is None:
        raise SuiteError(f"number needs a number to compare with, and was given {one_line(repr(value), 60)}")
    return found


def _exact(value: object) -> Number | None:
    """Return an integer as one, another number as a float; `None` for what is not a finite number."""
    found: Number
    try:
        if isinstance(value, bool):
            return None
        if isinstance(value, numbers.Rational):
            found = int(value.numerator) if value.denominator == 1 else float(value)
        elif isinstance(value, Decimal) and value.is_finite() and value == value.to_integral_value():
            found = int(value)
        elif isinstance(value, (numbers.Real, Decimal)):
            nearest = float(value)
            found = int(nearest) if nearest.is_integer() else nearest
        else:
            return None
        return found if math.isfinite(float(found)) else None
    except (OverflowError, ValueError):
        return None
