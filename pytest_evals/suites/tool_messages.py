"""Calls of tools and their results in a conversation: each result belongs to a call that stands before it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from pytest_evals.errors import DatasetError


def check_tool_messages(messages: Sequence[Mapping[str, Any]]) -> None:
    """Raise `DatasetError` for calls that are none, and for a tool's message that no call asked for."""
    waiting: list[str | None] = []
    for number, message in enumerate(messages, start=1):
        if message.get("role") == "tool":
            _take(waiting, message, number)
            continue
        calls = message.get("tool_calls")
        if calls is None:
            waiting = []
            continue
        if message.get("role") != "assistant":
            raise DatasetError(f"message {number} has tool_calls, which only an assistant's message has")
        if not isinstance(calls, (list, tuple)):
            raise DatasetError(f"message {number}: tool_calls must be a list, not {calls!r:.80}")
        waiting = [_checked_call(call, f"message {number}: tool call {index}") for index, call in enumerate(calls, start=1)]


def _take(waiting: list[str | None], message: Mapping[str, Any], number: int) -> None:
    """Take the call that a tool's message is the result of from those that wait for one."""
    wanted = message.get("tool_call_id")
    if wanted is not None and not isinstance(wanted, str):
        raise DatasetError(f"message {number}: tool_call_id must be a text, not {wanted!r:.40}")
    if not waiting:
        raise DatasetError(
            f"message {number} is the result of a tool, and no call of an assistant's message before it waits for one; give that "
            "message its 'tool_calls'"
        )
    if wanted and any(waiting):
        if wanted not in waiting:
            known = ", ".join(each for each in waiting if each)
            raise DatasetError(f"message {number} is the result of the call {wanted!r}; those that wait for one are {known}")
        waiting.remove(wanted)
        return
    waiting.pop(0)


def _checked_call(call: object, where: str) -> str | None:
    """Return the id of a call."""
    function = call.get("function") if isinstance(call, Mapping) else None
    if not isinstance(call, Mapping) or not isinstance(function, Mapping) or not isinstance(function.get("name"), str):
        raise DatasetError(
            f"{where} must be {{'id', 'type': 'function', 'function': {{'name', 'arguments'}}}}, not {call!r:.120}"
        )
    arguments = function.get("arguments", {})
    if isinstance(arguments, str):
        try:
            arguments = json.loads(arguments or "{}")
        except ValueError as error:
            raise DatasetError(f"{where}: its arguments are no JSON: {error}") from error
    if not isinstance(arguments, Mapping):
        raise DatasetError(f"{where}: its arguments must be an object, not {type(arguments).__name__}")
    identity = call.get("id")
    if identity is not None and not isinstance(identity, str):
        raise DatasetError(f"{where}: its id must be a text, not {identity!r:.40}")
    return identity
