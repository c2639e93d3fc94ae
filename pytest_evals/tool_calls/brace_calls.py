"""Calls as Gemma writes them: ``call:name{key:value}``, keys without quotes, texts between marks of their own."""

from __future__ import annotations

import re
from typing import Any

from pytest_evals.tool_calls.reading import CallError, Read, Tools, called, read_json, skip_space

MARKS = ('<|"|>', "<escape>")
"""What surrounds texts: in Gemma 4, in FunctionGemma."""
_HEAD = re.compile(r"\s*call:\s*(?P<name>[^\s{]+)\s*(?=\{)")
_BARE_KEY = re.compile(r"\s*(?P<key>[^\s:,{}\[\]]+)\s*(?=:)")
_LITERAL = re.compile(r"[^,}\]]*")
_CONSTANTS = {"true": True, "false": False, "null": None, "none": None}


def read_braces(text: str, opening: re.Match[str], tools: Tools) -> Read:
    """Read what follows Gemma's mark of a call."""
    head = _HEAD.match(text, opening.end())
    if head is None:
        raise CallError("the call has no name and arguments, or is cut off")
    name = head["name"]
    arguments, end = _Scanner(text).mapping(head.end())
    typed = {
        key: tools.typed(name, key, value) if isinstance(value, str) else value for key, value in arguments.items()
    }
    return [called(name, typed)], end


class _Scanner:
    """Reads values; each method returns one and the position behind it."""

    def __init__(self, text: str) -> None:
        self._text = text

    def mapping(self, position: int) -> tuple[dict[str, Any], int]:
        found: dict[str, Any] = {}
        position = skip_space(self._text, position + 1)
        while not self._text.startswith("}", position):
            key, position = self._key(position)
            found[key], position = self._value(position)
            position = self._next(position, "}")
        return found, position + 1

    def _key(self, position: int) -> tuple[str, int]:
        if self._text.startswith((*MARKS, '"'), position):
            key, position = self._string(position)
        else:
            bare = _BARE_KEY.match(self._text, position)
            if bare is None:
                raise CallError(f"the arguments have no key at {self._text[position : position + 20]!r}")
            key, position = bare["key"], bare.end()
        position = skip_space(self._text, position)
        if not self._text.startswith(":", position):
            raise CallError(f"the key {key!r} has no value")
        return key, skip_space(self._text, position + 1)

    def _value(self, position: int) -> tuple[Any, int]:
        if self._text.startswith("{", position):
            return self.mapping(position)
        if self._text.startswith("[", position):
            return self._sequence(position)
        if self._text.startswith((*MARKS, '"'), position):
            return self._string(position)
        literal = _LITERAL.match(self._text, position)
        written = literal[0].strip() if literal else ""
        end = literal.end() if literal else position
        return _literal(written), end

    def _sequence(self, position: int) -> tuple[list[Any], int]:
        found: list[Any] = []
        position = skip_space(self._text, position + 1)
        while not self._text.startswith("]", position):
            value, position = self._value(position)
            found.append(value)
            position = self._next(position, "]")
        return found, position + 1

    def _string(self, position: int) -> tuple[str, int]:
        for mark in MARKS:
            if self._text.startswith(mark, position):
                start = position + len(mark)
                end = self._text.find(mark, start)
                if end < 0:
                    raise CallError("the call is cut off inside of a text")
                return self._text[start:end], end + len(mark)
        value, end = read_json(self._text, position)
        return value, end

    def _next(self, position: int, closing: str) -> int:
        """Return the position of the next entry, or of the ``closing`` bracket."""
        position = skip_space(self._text, position)
        if self._text.startswith(",", position):
            return skip_space(self._text, position + 1)
        if position >= len(self._text):
            raise CallError("the call is cut off")
        if not self._text.startswith(closing, position):
            raise CallError(f"the arguments have {self._text[position : position + 20]!r} where a comma is due")
        return position


def _literal(written: str) -> Any:
    if written.lower() in _CONSTANTS:
        return _CONSTANTS[written.lower()]
    if re.fullmatch(r"[+-]?\d+", written):
        return int(written)
    if re.fullmatch(r"[+-]?(\d+\.\d*|\.\d+|\d+)([eE][+-]?\d+)?", written):
        number = float(written)
        if number in (float("inf"), float("-inf")):
            raise CallError(f"{written} is too large for a number")
        return number
    return written
