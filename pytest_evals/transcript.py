"""Conversations as people read them: each message as one text, calls of tools in it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any


def written_call(name: str, arguments: Mapping[str, Any] | str) -> str:
    """Return a call as ``get_weather(city="Paris")``. Arguments that are no object stand there as they are."""
    if isinstance(arguments, str):
        try:
            arguments = json.loads(arguments)
        except ValueError:
            return f"{name}({arguments})"
    if not isinstance(arguments, Mapping):
        return f"{name}({json.dumps(arguments, ensure_ascii=False, default=str)})"
    given = (f"{key}={json.dumps(value, ensure_ascii=False, default=str)}" for key, value in arguments.items())
    return f"{name}({', '.join(given)})"


def written_calls(calls: Iterable[Mapping[str, Any]]) -> list[str]:
    """Return calls, each as `written_call` writes it: those of a message, or of a completion in an artifact."""
    functions = (call.get("function", call) for call in calls)
    return [
        written_call(str(function.get("name")), function.get("arguments") or {})
        for function in functions
        if isinstance(function, Mapping)
    ]


def written_message(message: Mapping[str, Any]) -> str:
    """Return what a message says, its calls of tools in lines of their own below it."""
    content = message.get("content")
    if not isinstance(content, str):
        content = "" if content is None else _parts(content)
    calls = [f"-> {call}" for call in written_calls(message.get("tool_calls") or ())]
    return "\n".join([*([content] if content or not calls else []), *calls])


def speaker(message: Mapping[str, Any]) -> str:
    """Return who speaks: the role, and of a tool its name."""
    name = message.get("name")
    return f"{message.get('role')} {name}" if message.get("role") == "tool" and name else str(message.get("role"))


def is_answer(message: Mapping[str, Any], text: str) -> bool:
    """Tell whether the last message of a conversation is the answer of this text, which is shown by itself."""
    return message.get("role") == "assistant" and (message.get("content") or "") == text


def _parts(content: Any) -> str:
    if not isinstance(content, list) or not all(isinstance(part, Mapping) and part.get("type") for part in content):
        return json.dumps(content, ensure_ascii=False, indent=2, default=str)
    return "\n".join(str(part["text"]) if part["type"] == "text" else f"[{part['type']}]" for part in content)
