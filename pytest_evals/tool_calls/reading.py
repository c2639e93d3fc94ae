"""What readers of calls have in common: what they return, and how values are read."""

from __future__ import annotations

import ast
import json
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

from pytest_evals.completion import ToolCall
from pytest_evals.text import one_line
from pytest_evals.tools import parameters_of, tool_name


class CallError(Exception):
    """A call that cannot be parsed; the message says why."""


@dataclass(frozen=True, slots=True)
class ParsedCalls:
    """A reply without its calls. ``text`` is what is outside of them, and the calls that cannot be parsed: ``errors`` has the
    reason for each.
    """

    text: str
    calls: tuple[ToolCall, ...] = ()
    errors: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class BadCall:
    """One of several calls that cannot be parsed, while others can: as it is written, and why."""

    written: str
    reason: str


Read = tuple[list[ToolCall | BadCall], int]
"""Calls, and the position in the text behind them."""
Reader = Callable[[str, re.Match[str], "Tools"], Read]
"""Reads calls behind an opening mark. Raises `CallError`."""


class Tools:
    """The tools that were offered: their names, and the types of their arguments."""

    def __init__(self, schemas: Sequence[Mapping[str, Any]] = ()) -> None:
        self._parameters = {tool_name(schema): parameters_of(schema) for schema in schemas}

    @property
    def names(self) -> Sequence[str]:
        """The names, in the order in which the tools were offered."""
        return tuple(self._parameters)

    def position(self, tool: str, index: int) -> str:
        """Return the name of the argument at a position. Raises `CallError` where it is unknown."""
        names = list(self._parameters.get(tool, ()))
        if index >= len(names):
            raise CallError(f"{tool}: argument {index + 1} has no name")
        return names[index]

    def typed(self, tool: str, argument: str, raw: str) -> Any:
        """Return the value of an argument that was written as text: of the type that the tool declares, where it can be."""
        return _typed(raw, self._parameters.get(tool, {}).get(argument, {}))


def called(name: object, arguments: object, id: object = None) -> ToolCall:  # noqa: A002 - the name of the field
    """Return the call. Raises `CallError` for a name or arguments that are none."""
    if not isinstance(name, str) or not name.strip():
        raise CallError("the call names no function" if name is None else f"{name!r} is not a function's name")
    if isinstance(arguments, str) and arguments.strip().startswith("{"):
        # Some models write the object as text.
        arguments = load_json(arguments, f"the arguments of {name}")
    if arguments is None or arguments == "":
        arguments = {}
    if not isinstance(arguments, dict):
        raise CallError(f"the arguments of {name} are not an object: {one_line(json.dumps(arguments), 60)}")
    return ToolCall(name.strip(), arguments, None if id is None else str(id))


# -- JSON


def _not_finite(written: str) -> NoReturn:
    raise ValueError(f"{written} is not a JSON number")


def _finite(written: str) -> float:
    value = float(written)
    if not math.isfinite(value):
        _not_finite(written)
    return value


_DECODER = json.JSONDecoder(parse_constant=_not_finite, parse_float=_finite)
_SPACE = re.compile(r"\s*")


def read_json(text: str, start: int, what: str = "the call") -> tuple[Any, int]:
    """Return the JSON value that begins at ``start``, white space aside, and the position behind it. Raises `CallError`."""
    start = skip_space(text, start)
    if start == len(text):
        raise CallError(f"{what} is cut off")
    try:
        return _DECODER.raw_decode(text, start)
    except json.JSONDecodeError as error:
        cut = error.pos >= len(text.rstrip()) or error.msg.startswith("Unterminated string")
        reason = (
            "is cut off"
            if cut
            else f"is not valid JSON: {error.msg} at {one_line(repr(text[error.pos : error.pos + 20]), 40)}"
        )
        raise CallError(f"{what} {reason}") from error
    except (ValueError, RecursionError) as error:
        raise CallError(f"{what} is not valid JSON: {error}") from error


def load_json(text: str, what: str) -> Any:
    """Return the JSON value that the whole text is. Raises `CallError`."""
    value, end = read_json(text, 0, what)
    if skip_space(text, end) != len(text):
        raise CallError(f"{what} goes on behind its end: {one_line(text[end:].strip(), 40)}")
    return value


def skip_space(text: str, position: int) -> int:
    """Return the position of the next character that is not white space."""
    found = _SPACE.match(text, position)
    return found.end() if found else position


# -- Values that were written as text


def _typed(raw: str, schema: Any) -> Any:
    for kind in _kinds(schema):
        try:
            return _READERS[kind](raw.strip())
        except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
            continue
    if isinstance(schema, Mapping) and "type" not in schema and isinstance(schema.get("enum"), list):
        return next((value for value in schema["enum"] if str(value) == raw.strip()), raw)
    return raw


def _kinds(schema: Any) -> list[str]:
    """Return the types that a schema allows, texts last: anything is a text."""
    if not isinstance(schema, Mapping):
        return []
    declared = schema.get("type", [])
    kinds = [declared] if isinstance(declared, str) else list(declared)
    for union in ("anyOf", "oneOf"):
        kinds += [kind for member in schema.get(union, ()) for kind in _kinds(member)]
    if schema.get("nullable"):
        kinds.append("null")
    return [kind for kind in kinds if kind in _READERS]


def _integer(raw: str) -> int:
    try:
        return int(raw)
    except ValueError:
        number = _finite(raw)
        if not number.is_integer():
            raise
        return int(number)


def _number(raw: str) -> float:
    return int(raw) if re.fullmatch(r"[+-]?\d+", raw) else _finite(raw)


def _boolean(raw: str) -> bool:
    if raw.lower() not in ("true", "1", "false", "0"):
        _no_value(raw)
    return raw.lower() in ("true", "1")


def _no_value(raw: str) -> NoReturn:
    raise ValueError(f"{raw!r} is not a value of this type")


def _null(raw: str) -> None:
    if raw not in ("null", "None"):
        _no_value(raw)


def _container(kind: type) -> Callable[[str], Any]:
    def read(raw: str) -> Any:
        try:
            value = _DECODER.decode(raw)
        except ValueError:
            value = json.loads(json.dumps(ast.literal_eval(raw), allow_nan=False))
        return value if isinstance(value, kind) else _no_value(raw)

    return read


_READERS: Mapping[str, Callable[[str], Any]] = {
    "integer": _integer,
    "number": _number,
    "float": _number,
    "boolean": _boolean,
    "null": _null,
    "object": _container(dict),
    "array": _container(list),
}
