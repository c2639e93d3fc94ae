"""The JSON value that a text is, however long its numbers are and however deep it is nested.

Python's own reader gives up at integers of some thousand digits and at some hundred levels, and reads ``1e400`` as infinity: all of
them are JSON.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from decimal import Decimal
from json.decoder import scanstring
from typing import Any, NoReturn

_DIGITS = 4000
"""What Python converts at once, whatever its limit is set to."""
_LARGEST_EXPONENT = 10_000


class LongInteger(int):
    """An integer that is too long for Python to write out: it is shown by its first digits."""

    def __repr__(self) -> str:
        digits = int(self.bit_length() * 0.30103) + 1
        first = abs(self) // 10 ** max(digits - 20, 0)
        return f"{'-' if self < 0 else ''}{str(int(first))[:12]}... (about {digits} digits)"

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
        return _nested_value(text)


def _integer(digits: str) -> int:
    if len(digits) <= _DIGITS:
        return int(digits)
    return LongInteger(_joined(digits.lstrip("-")) * (-1 if digits.startswith("-") else 1))


def _joined(digits: str) -> int:
    """Return the integer that many digits are, by halves: Python refuses to read them all at once."""
    if len(digits) <= _DIGITS:
        return int(digits)
    half = len(digits) // 2
    return _joined(digits[:half]) * 10 ** (len(digits) - half) + _joined(digits[half:])


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
_SCALAR = re.compile(r"-?[0-9][^,\]}\s]*|[A-Za-z-]+")


def _nested_value(text: str) -> Any:
    """Return the value of a text; containers that are open stand in a list, not on the stack of calls."""
    holder: list[Any] = []
    open_containers: list[list[Any] | dict[str, Any]] = [holder]
    tokens = _tokens(text)
    key: str | None = None
    for kind, value, position in tokens:
        container = open_containers[-1]
        if kind == "close":
            open_containers.pop()
            continue
        if kind == "key":
            key = value
            continue
        if isinstance(container, dict):
            container[_known(key, text, position)] = value
        else:
            container.append(value)
        if kind == "open":
            open_containers.append(value)
    return holder[0]


def _known(key: str | None, text: str, position: int) -> str:
    if key is None:
        raise json.JSONDecodeError("Expecting property name enclosed in double quotes", text, position)
    return key


def _tokens(text: str) -> Iterator[tuple[str, Any, int]]:
    """Yield ``open``, ``close``, ``key`` and ``value``, each where the grammar of JSON allows it.

    Raises `json.JSONDecodeError` for anything else.
    """
    closers: list[str] = []
    position = _after_space(text, 0)
    expected = "value"
    while True:
        character = text[position : position + 1]
        if expected in ("value", "value or ]"):
            if character == "]" and expected == "value or ]":
                position, expected = position, "more"
                continue
            if character and character in "[{":
                yield "open", DeepList() if character == "[" else DeepObject(), position
                closers.append("]" if character == "[" else "}")
                expected = "value or ]" if character == "[" else "key or }"
                position = _after_space(text, position + 1)
                continue
            value, position = _scalar(text, position)
            yield "value", value, position
            expected = "more"
        elif expected in ("key", "key or }"):
            if character == "}" and expected == "key or }":
                expected = "more"
                continue
            if character != '"':
                raise json.JSONDecodeError("Expecting property name enclosed in double quotes", text, position)
            key, position = scanstring(text, position + 1, True)
            yield "key", key, position
            position = _after_space(text, position)
            if text[position : position + 1] != ":":
                raise json.JSONDecodeError("Expecting ':' delimiter", text, position)
            position, expected = _after_space(text, position + 1), "value"
            continue
        elif not closers:
            if character:
                raise json.JSONDecodeError("Extra data", text, position)
            return
        elif character == closers[-1]:
            closers.pop()
            yield "close", None, position
            position += 1
        elif character == ",":
            position, expected = position + 1, "value" if closers[-1] == "]" else "key"
        else:
            raise json.JSONDecodeError("Expecting ',' delimiter", text, position)
        position = _after_space(text, position)


def _scalar(text: str, position: int) -> tuple[Any, int]:
    if text[position : position + 1] == '"':
        return scanstring(text, position + 1, True)
    found = _SCALAR.match(text, position)
    if found is None:
        raise json.JSONDecodeError("Expecting value", text, position)
    try:
        return _DECODER.decode(found[0]), found.end()
    except json.JSONDecodeError as error:
        raise json.JSONDecodeError(error.msg, text, position + error.pos) from None


def _after_space(text: str, position: int) -> int:
    found = _SPACE.match(text, position)
    return found.end() if found else position
