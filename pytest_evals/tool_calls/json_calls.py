"""Calls written as JSON objects: between marks, behind one, or with the function's name before the object."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from pytest_evals.completion import ToolCall
from pytest_evals.tool_calls.reading import BadCall, CallError, Read, Tools, called, read_json, skip_space

_NEXT_OBJECT = re.compile(r"\s*[,;]?\s*(?=\{)")
_ARGUMENTS = ("arguments", "parameters", "args")


def read_objects(text: str, opening: re.Match[str], _tools: Tools) -> Read:
    """Read an object with a name and arguments, a list of such, or several one after another."""
    value, end = read_json(text, opening.end())
    calls = calls_of(value)
    while following := _NEXT_OBJECT.match(text, end):
        value, end = read_json(text, following.end())
        calls += calls_of(value)
    return calls, end


def calls_of(value: Any) -> list[ToolCall | BadCall]:
    """Return the calls that a JSON value is. Raises `CallError` where none of it is a call."""
    if not isinstance(value, list):
        return [_call_of(value)]
    found: list[ToolCall | BadCall] = []
    for each in value:
        try:
            found.append(_call_of(each))
        except CallError as error:
            found.append(BadCall(json.dumps(each, ensure_ascii=False), str(error)))
    if found and not any(isinstance(each, ToolCall) for each in found):
        raise CallError(next(each.reason for each in found if isinstance(each, BadCall)))
    return found


def _call_of(value: Any) -> ToolCall:
    if not isinstance(value, Mapping):
        raise CallError(f"the call is {type(value).__name__}, not an object with 'name' and 'arguments'")
    if isinstance(value.get("function"), Mapping):
        value = {"id": value.get("id"), **value["function"]}
    name = next((value[key] for key in ("name", "tool_name", "function") if key in value), None)
    arguments = next((value[key] for key in _ARGUMENTS if key in value), None)
    return called(name, arguments, next((value[key] for key in ("id", "tool_call_id") if value.get(key)), None))


def looks_like_a_call(value: Any, names: Sequence[str]) -> bool:
    """Tell whether a JSON object in a text is meant as a call: of one of the functions ``names``, or of any where there are none."""
    if not isinstance(value, Mapping) or not any(key in value for key in _ARGUMENTS):
        return False
    name = value.get("name", value.get("function"))
    return isinstance(name, str) and (not names or name in names)


# -- Mistral: ``[TOOL_CALLS][{"name": ..., "arguments": ...}]``, and since its 11th tokenizer ``[TOOL_CALLS]name[ARGS]{...}``.

_NAMED = re.compile(r"\s*(?P<name>[\w.\-/:]+)\s*(?:\[CALL_ID\]\s*(?P<id>\w+)\s*)?(?:\[ARGS\])?\s*(?=\{)")


def read_mistral(text: str, opening: re.Match[str], tools: Tools) -> Read:
    """Read what follows ``[TOOL_CALLS]``."""
    start = skip_space(text, opening.end())
    if text[start : start + 1] in ("[", "{", ""):
        return read_objects(text, opening, tools)
    found = _NAMED.match(text, start)
    if found is None:
        raise CallError("[TOOL_CALLS] is followed by neither a list of calls nor a name with arguments")
    arguments, end = read_json(text, found.end(), f"the arguments of {found['name']}")
    return [called(found["name"], arguments, found["id"])], end


# -- DeepSeek V3, R1 (with a fence around the arguments) and V3.1

_DEEPSEEK = re.compile(
    r"\s*(?:function<｜tool▁sep｜>(?P<fenced>[^\n<]+)\s*```(?:json)?|(?P<plain>[^\n<]+)<｜tool▁sep｜>)\s*"  # noqa: RUF001 - DeepSeek's marks
)
_FENCE = re.compile(r"\s*```")


def read_deepseek(text: str, opening: re.Match[str], _tools: Tools) -> Read:
    """Read what follows DeepSeek's mark of a call."""
    found = _DEEPSEEK.match(text, opening.end())
    if found is None:
        raise CallError("the call has no name and arguments, or is cut off")
    name = (found["fenced"] or found["plain"]).strip()
    arguments, end = read_json(text, found.end(), f"the arguments of {name}")
    fence = _FENCE.match(text, end) if found["fenced"] else None
    return [called(name, arguments)], fence.end() if fence else end


# -- Kimi K2: the id is the name with a number

_KIMI = re.compile(r"\s*(?P<id>(?:functions\.)?(?P<name>[^\s<:]+)(?::\d+)?)\s*<\|tool_call_argument_begin\|>")


def read_kimi(text: str, opening: re.Match[str], tools: Tools) -> Read:
    """Read what follows Kimi's mark of a call."""
    found = _KIMI.match(text, opening.end())
    if found is None:
        raise CallError("the call has no name and arguments, or is cut off")
    name = found["name"]
    if name.isdigit() and len(tools.names) == 1:
        # Nothing but the number of the call: of the one tool that there is.
        name = tools.names[0]
    arguments, end = read_json(text, found.end(), f"the arguments of {name}")
    return [called(name, arguments, found["id"])], end
