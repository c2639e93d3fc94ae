"""The conversation of a case: from a prompt, a template of messages, or the row's own messages."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

from pytest_evals.case import Case
from pytest_evals.completion import Message
from pytest_evals.errors import DatasetError, SuiteError
from pytest_evals.suites.declaration import EvalDeclaration
from pytest_evals.templates.rendering import render, render_text

CONVERSATION = ("messages", "completion")
"""Fields of a row that are the conversation itself; the others describe the case."""
ROLES = ("system", "user", "assistant", "tool", "developer")


def prompt_of(declaration: EvalDeclaration, case: Case) -> tuple[list[Message], str | None]:
    """Return the conversation of the case, or none and why there is none. Raises an `EvalsError` for what is no conversation."""
    if declaration.prompt is not None:
        messages: object = [{"role": "user", "content": render_text(declaration.prompt, case.scope)}]
    elif declaration.messages is not None:
        messages = _render_messages(declaration.messages, case)
    elif case.get("messages") is not None:
        messages = case["messages"]
    else:
        return [], "has no prompt: give cases(..., prompt=...) or messages=, or rows with a 'messages' field"
    checked = check_messages(messages)
    if declaration.system is not None:
        system: Message = {"role": "system", "content": render_text(declaration.system, case.scope)}
        checked = [system, *(message for message in checked if message["role"] != "system")]
    return checked, None


def _render_messages(messages: str | Sequence[Mapping[str, Any]], case: Case) -> object:
    if isinstance(messages, str):
        return render(messages, case.scope)
    rendered = []
    for message in messages:
        if not isinstance(message, Mapping):
            raise SuiteError(f"messages must be a list of {{'role', 'content'}}, found {type(message).__name__}")
        content = message.get("content")
        text = render_text(content, case.scope) if isinstance(content, str) else content
        rendered.append(
            {**render({key: value for key, value in message.items() if key != "content"}, case.scope), "content": text}
        )
    return rendered


def check_messages(messages: object) -> list[Message]:
    """Return the conversation. Raises `DatasetError` unless it is a list of messages with a known role and a text."""
    if not isinstance(messages, (list, tuple)) or not messages:
        raise DatasetError(
            f"messages must be a list of {{'role', 'content'}} with at least one entry, not {messages!r:.80}"
        )
    for number, message in enumerate(messages, start=1):
        if not isinstance(message, Mapping) or not isinstance(message.get("content"), str):
            raise DatasetError(f"message {number} must be an object with 'role' and a text 'content'")
        if message.get("role") not in ROLES:
            raise DatasetError(f"message {number} has the role {message.get('role')!r} (known: {', '.join(ROLES)})")
    return [cast("Message", dict(message)) for message in messages]


def recorded_of(case: Case) -> str | None:
    """Return the completion that the row of a case brings, `None` where it brings none. Raises `DatasetError` for no text."""
    recorded = case.get("completion")
    if recorded is not None and not isinstance(recorded, str):
        raise DatasetError(f"the field 'completion' must be the recorded text, not {type(recorded).__name__}")
    return recorded
