"""The JSON value that a text is, however long its numbers are and however deep it is nested.

Python's own reader gives up at integers of some thousand digits and at some hundred levels, and reads ``1e400`` as infinity: all of
them are JSON.
"""

from __future__ import annotations

import json
import math
import re
from decimal import Decimal
from typing import Any, NoReturn

_DIGITS = 4000
"""What Python converts at once, whatever its limit is set to."""
_LARGEST_EXPONENT = 10_000


class LongInteger(int):
    """An integer that is too long for Python to write out: it is shown by its first digits."""

    def __repr__(self) -> str:
        size = abs(self)
        digits = int(self.bit_length() * math.log10(2)) + 1
        digits -= size < 10 ** (digits - 1)
        return f"{'-' if self < 0 else ''}{int(size // 10 ** (digits - 12))}... ({digits} digits)"

    __str__ = __repr__


class DeepList(list[Any]):
    """A list of a value that is nested too deeply for Python to write out."""

    def __repr__(self) -> str:
        return "[...]" if self else "[]"


class DeepObject(dict[str, Any]):
    """An object of a value that is nested too deeply for Python to write out."""

    def __repr__(self) -> str:
        return "{...}" if self else "{}"


def json_value(text: str) -> Any:
    """Return the JSON value that ``text`` is.

    An integer of thousands of digits is a `LongInteger`, a number beyond the range of a float a `LongInteger` or a `Decimal`. Raises
    `ValueError` with the place of the first mistake; NaN and infinities are none of JSON's numbers.
    """
    try:
        return _DECODER.decode(text)
    except RecursionError:
        return _NestedReader(text).read()


def _integer(digits: str) -> int:
    if len(digits) <= _DIGITS:
        return int(digits)
    return LongInteger(_joined(digits.lstrip("-")) * (-1 if digits.startswith("-") else 1))


def _joined(digits: str) -> int:
    """Return the integer that many digits are, by halves: Python refuses to read them all at once."""
    if len(digits) <= _DIGITS:
        return int(digits)
    half = len(digits) // 2
    high: int = _joined(digits[:half]) * 10 ** (len(digits) - half)
    return high + _joined(digits[half:])


def _fraction(written: str) -> float | int | Decimal:
    number = float(written)
    if number not in (float("inf"), float("-inf")):
        return number
    exact = Decimal(written)
    if exact.adjusted() <= _LARGEST_EXPONENT and exact == exact.to_integral_value():
        return LongInteger(exact)
    return exact


def _reject_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


_HOOKS: dict[str, Any] = {"parse_int": _integer, "parse_float": _fraction, "parse_constant": _reject_constant}
_DECODER = json.JSONDecoder(**_HOOKS)


# -- Without recursion: for what is nested too deeply for the reader above, which is many times faster.

_SPACE = re.compile(r"[ \t\n\r]*")


class _NestedReader:
    """Reads one value. Open containers are kept in a list, not on the call stack."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0
        self._open: list[DeepList | DeepObject] = []

    def read(self) -> Any:
        """Return the value that the text is. Raises `json.JSONDecodeError` for anything else."""
        value = self._begun()
        while self._open:
            holder = self._open[-1]
            if self._next() == ("]" if isinstance(holder, DeepList) else "}"):
                self._at += 1
                self._open.pop()
                continue
            if holder:
                self._take(",", "Expecting ',' delimiter")
            if isinstance(holder, DeepList):
                holder.append(self._begun())
            else:
                key = self._key()
                holder[key] = self._begun()
        if self._next():
            raise self._mistake("Extra data")
        return value

    def _begun(self) -> Any:
        """Return the scalar that is next, or the container that opens, empty as yet."""
        opening = self._next()
        if opening and opening in "[{":
            self._open.append(DeepList() if opening == "[" else DeepObject())
            self._at += 1
            return self._open[-1]
        return self._scalar()

    def _key(self) -> str:
        if self._next() != '"':
            raise self._mistake("Expecting property name enclosed in double quotes")
        key = str(self._scalar())
        self._take(":", "Expecting ':' delimiter")
        return key

    def _scalar(self) -> Any:
        value, self._at = _DECODER.raw_decode(self._text, self._at)
        return value

    def _take(self, character: str, mistake: str) -> None:
        if self._next() != character:
            raise self._mistake(mistake)
        self._at += 1

    def _next(self) -> str:
        """Return the next character that is not white space, nothing at the end."""
        found = _SPACE.match(self._text, self._at)
        self._at = found.end() if found else self._at
        return self._text[self._at : self._at + 1]

    def _mistake(self, what: str) -> json.JSONDecodeError:
        return json.JSONDecodeError(what, self._text, self._at)
