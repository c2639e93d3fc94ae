"""Calls written as Python: ``[get_weather(city="Paris"), now()]``. They are parsed, and never run."""

from __future__ import annotations

import ast
import json
import math
import re
from typing import Any

from pytest_evals.completion import ToolCall
from pytest_evals.text import one_line
from pytest_evals.tool_calls.reading import BadCall, CallError, Read, Tools, called, skip_space

_CONSTANTS = {"true": True, "false": False, "null": None}
_PAIRS = {"(": ")", "[": "]", "{": "}"}
_STRING = re.compile(r"'(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\"", re.DOTALL)
_NEXT_LINE = re.compile(r"[ \t]*\n\s*(?=[A-Za-z_][\w.]*\()")
_CALL_HEAD = re.compile(r"[\s,]*[\w.]+\(")


def read_python(text: str, opening: re.Match[str], tools: Tools) -> Read:
    """Read the list of calls, or the one call, that follows a mark."""
    return read_expression(text, skip_space(text, opening.end()), tools)


def read_expression(text: str, start: int, tools: Tools) -> Read:
    """Read the list of calls, or the one call, that begins at ``start``. Raises `CallError` unless there is a good call in it."""
    written, end = _sources(text, start)
    found = [_call_or_error(each, tools) for each in written]
    if found and not any(isinstance(each, ToolCall) for each in found):
        raise CallError(next(each.reason for each in found if isinstance(each, BadCall)))
    return found, end


def _sources(text: str, start: int) -> tuple[list[str], int]:
    """Return the calls as they are written, and the position behind them."""
    try:
        end = _end_of(text, start)
    except CallError:
        if not text.startswith("[", start):
            raise
        return _before_the_break(text, start + 1), len(text)
    source = text[start:end]
    if source.startswith("["):
        return _entries(source), end
    sources = [source]
    # Olmo 3 writes one call a line.
    while following := _NEXT_LINE.match(text, end):
        try:
            after = _end_of(text, following.end())
        except CallError:
            after = len(text)
        sources.append(text[following.end() : after])
        end = after
    return sources, end


def _before_the_break(text: str, position: int) -> list[str]:
    """Return the calls of a list that never ends: those that are whole, and what is left."""
    parts = []
    while head := _CALL_HEAD.match(text, position):
        try:
            end = _end_of(text, head.end() - 1)
            ast.parse(text[position:end].strip(" \n\t,"), mode="eval")
        except (CallError, SyntaxError, ValueError):
            break
        parts.append(text[position:end].strip(" \n\t,"))
        position = end
    return [*parts, text[position:].strip(" \n\t,")]


def _call_or_error(source: str, tools: Tools) -> ToolCall | BadCall:
    try:
        return _call_of(_parsed(source), tools)
    except CallError as error:
        return BadCall(source, str(error))
    except (SyntaxError, ValueError, MemoryError, RecursionError) as error:
        return BadCall(source, f"the call is not valid Python: {error}")


def _parsed(source: str) -> ast.expr:
    try:
        return ast.parse(source, mode="eval").body
    except (SyntaxError, ValueError):
        # Models break lines inside of strings.
        return ast.parse(_STRING.sub(lambda found: _escaped(found[0]), source), mode="eval").body


def _escaped(string: str) -> str:
    return string.replace("\r", "\\r").replace("\n", "\\n").replace("\0", "\\x00")


def _entries(source: str) -> list[str]:
    """Return the entries of a list, each as it is written."""
    inner, parts, begin, position = source[1:-1], [], 0, 0
    while position < len(inner):
        if inner[position] in _PAIRS or inner[position] in "'\"":
            position = _end_of(inner, position, or_end=True)
        elif inner[position] == ",":
            parts.append(inner[begin:position])
            begin = position = position + 1
        else:
            position += 1
    return [part.strip() for part in (*parts, inner[begin:]) if part.strip()]


def _end_of(text: str, start: int, *, or_end: bool = False) -> int:
    """Return the position behind the expression that begins at ``start``: behind the bracket that closes its first one, or behind
    a string. Raises `CallError` where it never ends, unless that is the end.
    """
    expected: list[str] = []
    position = start
    while position < len(text):
        character = text[position]
        if character in "'\"":
            position = _string_end(text, position)
            if not expected:
                return min(position, len(text))
            continue
        if character in _PAIRS:
            expected.append(_PAIRS[character])
        elif expected and character == expected[-1]:
            expected.pop()
            if not expected:
                return position + 1
        elif character in ")]}":
            break
        position += 1
    if or_end:
        return len(text)
    raise CallError("the call is cut off, or its brackets do not match")


def _string_end(text: str, start: int) -> int:
    quote = text[start : start + 3] if text[start : start + 3] in ("'''", '"""') else text[start]
    position = start + len(quote)
    while position < len(text) and not text.startswith(quote, position):
        position += 2 if text[position] == "\\" else 1
    return position + len(quote)


def _call_of(node: ast.expr, tools: Tools) -> ToolCall:
    if not isinstance(node, ast.Call):
        raise CallError(f"{one_line(ast.unparse(node), 40)} is not a function call")
    name = _name_of(node.func)
    arguments: dict[str, Any] = {}
    for index, argument in enumerate(node.args):
        arguments[tools.position(name, index)] = _value_of(argument, name)
    for keyword in node.keywords:
        if keyword.arg is None:
            raise CallError(f"{name}: ** in a call cannot be read")
        arguments[keyword.arg] = _value_of(keyword.value, name)
    return called(name, arguments)


def _name_of(node: ast.expr) -> str:
    """Return a name, perhaps with dots. Llama's built-in tools are called as ``brave_search.call(query=...)``."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        name = f"{_name_of(node.value)}.{node.attr}"
        return name.removesuffix(".call")
    raise CallError(f"{one_line(ast.unparse(node), 40)} is not a function's name")


def _value_of(node: ast.expr, name: str) -> Any:
    """Return a literal, JSON's constants included."""
    for inner in ast.walk(node):
        if isinstance(inner, ast.Name) and inner.id not in _CONSTANTS:
            raise CallError(f"{name}: {one_line(ast.unparse(node), 40)} is not a literal")
    try:
        value = ast.literal_eval(_Constants().visit(node))
        if isinstance(value, float) and not math.isfinite(value):
            raise CallError(f"{name}: {ast.unparse(node)} is not a JSON number")
        return json.loads(json.dumps(value, allow_nan=False))
    except (ValueError, TypeError) as error:
        raise CallError(f"{name}: {one_line(ast.unparse(node), 40)} is not a literal that JSON has") from error


class _Constants(ast.NodeTransformer):
    """Puts Python's constants in the place of JSON's, and lists in that of sets."""

    def visit_Set(self, node: ast.Set) -> ast.expr:
        """JSON has no sets."""
        return ast.copy_location(ast.List([self.visit(each) for each in node.elts], ast.Load()), node)

    def visit_Name(self, node: ast.Name) -> ast.expr:
        return ast.copy_location(ast.Constant(_CONSTANTS[node.id]), node)
