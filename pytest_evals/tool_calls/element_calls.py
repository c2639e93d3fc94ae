"""Calls written as elements, each argument in one of its own: Qwen3-Coder, GLM, MiniMax, DeepSeek V3.2."""

from __future__ import annotations

import re
from typing import Any

from pytest_evals.tool_calls.json_calls import read_objects
from pytest_evals.tool_calls.reading import CallError, Read, Tools, called, load_json, read_json, skip_space


def read_tool_call(text: str, opening: re.Match[str], tools: Tools) -> Read:
    """Read what follows ``<tool_call>``: JSON (Qwen, Hermes, Granite), elements of a function (Qwen3-Coder) or of keys and values
    (GLM).
    """
    start = skip_space(text, opening.end())
    if text.startswith("<function=", start):
        function = _FUNCTION.match(text, start)
        if function is None:
            raise CallError("the call is cut off")
        return read_function(text, function, tools)
    keys = _KEYS.match(text, start)
    if keys and (keys["arguments"] or "\n" in keys[0] or keys["name"] in tools.names):
        return _read_keys(text, start, tools)
    return read_objects(text, opening, tools)


# -- Qwen3-Coder: ``<function=name><parameter=key>value</parameter></function>``; Llama 3.1's own functions have JSON inside.

FUNCTION = r"<function=(?P<name>[^>\n]+)>"
_FUNCTION = re.compile(FUNCTION)
_PARAMETER = re.compile(
    r"\s*<parameter=(?P<key>[^>\n]+)>(?P<value>.*?)(?:</parameter>|(?=\s*<parameter=|\s*</function>))", re.DOTALL
)
_FUNCTION_END = re.compile(r"\s*</function>")


def read_function(text: str, opening: re.Match[str], tools: Tools) -> Read:
    """Read what follows ``<function=name>``."""
    name, position = opening["name"].strip(), opening.end()
    if text.startswith("{", skip_space(text, position)):
        arguments, position = read_json(text, position, f"the arguments of {name}")
    else:
        arguments = {}
        while parameter := _PARAMETER.match(text, position):
            key = parameter["key"].strip()
            arguments[key] = tools.typed(name, key, _unwrapped(parameter["value"]))
            position = parameter.end()
    end = _FUNCTION_END.match(text, position)
    if end is None and not isinstance(arguments, dict):
        raise CallError(f"the arguments of {name} are not an object")
    if (
        end is None
        and skip_space(text, position) != len(text)
        and not text[position:].lstrip().startswith("</tool_call>")
    ):
        raise CallError(f"the call of {name} has something between its arguments, or is cut off")
    return [called(name, arguments)], end.end() if end else position


def read_function_or_json(text: str, opening: re.Match[str], tools: Tools) -> Read:
    """Read what follows ``<function=name>``, or ``<tool_call>``."""
    return read_tool_call(text, opening, tools) if opening["name"] is None else read_function(text, opening, tools)


def _unwrapped(value: str) -> str:
    """Return a value without the line breaks around it."""
    return value.removeprefix("\n").removesuffix("\n")


# -- GLM: ``name<arg_key>key</arg_key><arg_value>value</arg_value>``

_KEYS = re.compile(r"(?P<name>[^\s<{\[]+)\s*(?:(?=(?P<arguments><arg_key>))|(?=</tool_call>))")
_KEY = re.compile(r"\s*<arg_key>(?P<key>.*?)</arg_key>\s*<arg_value>(?P<value>.*?)</arg_value>", re.DOTALL)


def _read_keys(text: str, start: int, tools: Tools) -> Read:
    found = _KEYS.match(text, start)
    if found is None:
        raise CallError("the call names no function")
    name, position = found["name"], found.end()
    arguments: dict[str, Any] = {}
    while key := _KEY.match(text, position):
        argument = key["key"].strip()
        arguments[argument] = tools.typed(name, argument, _unwrapped(key["value"]))
        position = key.end()
    if text[skip_space(text, position) :].startswith("<arg_"):
        raise CallError(f"the call of {name} is cut off")
    return [called(name, arguments)], position


# -- MiniMax and DeepSeek V3.2: ``<invoke name="..."><parameter name="...">value</parameter></invoke>``

_PREFIX = r"(?:｜DSML｜|minimax:|\w+:)?"  # noqa: RUF001 - DeepSeek's mark
INVOKE = rf'<{_PREFIX}invoke\s+name="?(?P<name>[^">]+)"?\s*>'
_INVOKED = re.compile(
    rf'\s*<{_PREFIX}parameter\s+name="?(?P<key>[^">]+?)"?(?:\s+string="(?P<string>true|false)")?\s*>(?P<value>.*?)</{_PREFIX}parameter>',
    re.DOTALL,
)
_INVOKE_END = re.compile(rf"\s*</{_PREFIX}invoke>")


def read_invoke(text: str, opening: re.Match[str], tools: Tools) -> Read:
    """Read what follows ``<invoke name="...">``."""
    name, position = opening["name"].strip(), opening.end()
    arguments: dict[str, Any] = {}
    while parameter := _INVOKED.match(text, position):
        key, value = parameter["key"].strip(), _unwrapped(parameter["value"])
        if parameter["string"] == "false":
            arguments[key] = load_json(value, f"the argument {key} of {name}")
        else:
            arguments[key] = tools.typed(name, key, value)
        position = parameter.end()
    end = _INVOKE_END.match(text, position)
    if end is None:
        raise CallError(f"the call of {name} has something between its arguments, or is cut off")
    return [called(name, arguments)], end.end()
