"""Calls without marks, as Llama 3 writes them: JSON objects one after another, or a list in Python."""

from __future__ import annotations

import json
import re
from typing import Any

from pytest_evals.completion import ToolCall
from pytest_evals.tool_calls.json_calls import calls_of, looks_like_a_call
from pytest_evals.tool_calls.python_calls import read_expression
from pytest_evals.tool_calls.reading import BadCall, CallError, ParsedCalls, Read, Tools, skip_space

_SEPARATORS = re.compile(r"[\s;,]*")
_PRINTED = re.compile(r"print\((.*)\)")
_FENCE = re.compile(r"\A\s*```(?:json|python|tool_code|tool_call)?\s*\n(.*?)\n?\s*```\s*\Z", re.DOTALL)


def read_bare(text: str, tools: Tools) -> ParsedCalls:
    """Return the calls of a reply that has no marks.

    A reply that begins with a call, or is one in a code fence, calls whatever it names; in the middle of a text only the tools that
    were offered are called.
    """
    fenced = _FENCE.match(text)
    body = fenced[1] if fenced else text
    if fenced and (lines := _lines_of_code(body, tools)):
        body = f"[{', '.join(lines)}]"
    calls: list[ToolCall] = []
    errors: list[str] = []
    kept: list[str] = []
    position = skip_space(body, 0)
    first = True
    while (start := _next_start(body, position, tools, anything=first)) is not None:
        kept.append(body[position:start])
        try:
            found, end = _read_at(body, start, tools, anything=first and start == position)
        except CallError as error:
            end = _after(body, start)
            kept.append(body[start:end])
            if first and start == position and _meant(body, start):
                errors.append(str(error))
            found = []
        for each in found:
            if isinstance(each, BadCall):
                errors.append(each.reason)
                kept.append(each.written)
            else:
                calls.append(each)
        first = bool(found) and _SEPARATORS.fullmatch(body[position:start]) is not None
        position = _skip_separators(body, end) if found else end
    kept.append(body[position:])
    if not calls:
        return ParsedCalls(text, (), tuple(errors))
    return ParsedCalls("".join(kept).strip(), tuple(calls), tuple(errors))


def _lines_of_code(body: str, tools: Tools) -> list[str]:
    """Return the calls that the lines of a block of code are, printed or not, as Gemma 3 writes them; none where it is other code."""
    lines = []
    for line in filter(None, map(str.strip, body.splitlines())):
        printed = _PRINTED.fullmatch(line)
        call = printed[1] if printed else line
        if not call.endswith(")") or call.partition("(")[0].strip() not in tools.names:
            return []
        lines.append(call)
    return lines


def _next_start(text: str, position: int, tools: Tools, *, anything: bool) -> int | None:
    """Return where the next call may begin."""
    if anything and re.compile(r"\{|\[\s*[\w.{]").match(text, position):
        return position
    names = "|".join(re.escape(name) for name in tools.names)
    if not names:
        return None
    found = re.compile(rf"\{{|\[\s*(?:{names})\s*\(|\[\s*\{{").search(text, position)
    return found.start() if found else None


def _read_at(text: str, start: int, tools: Tools, *, anything: bool) -> Read:
    if text[start] == "[" and not re.compile(r"\[\s*[\[{]").match(text, start):
        return read_expression(text, start, tools)
    try:
        value, end = json.JSONDecoder().raw_decode(text, start)
    except (ValueError, RecursionError) as error:
        raise CallError(f"the call is not valid JSON: {error}") from error
    values: list[Any] = value if isinstance(value, list) else [value]
    if not values or not all(looks_like_a_call(each, () if anything else tools.names) for each in values):
        raise CallError("an object, and no call")
    return calls_of(value), end


def _meant(text: str, start: int) -> bool:
    """Tell whether what cannot be read looks as though it was meant as a call."""
    return (
        re.compile(r"\[?\s*\{\s*[\"'](?:name|function|type)[\"']\s*:|\[\s*[\w.]+\(").match(text, start) is not None
        and re.search(r"[\"'](?:parameters|arguments)[\"']|\(", text[start:]) is not None
    )


def _after(text: str, start: int) -> int:
    """Return the position behind a value that is not a call, as far as it can be told."""
    try:
        return json.JSONDecoder().raw_decode(text, start)[1]
    except (ValueError, RecursionError):
        return start + 1


def _skip_separators(text: str, position: int) -> int:
    found = _SEPARATORS.match(text, position)
    return found.end() if found else position
