"""Ids of calls: what tells the calls of a conversation apart, where the model gives none."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from pytest_evals.completion import ToolCall


def calls_in(messages: Iterable[Mapping[str, Any]]) -> int:
    """Return how many calls are in a conversation."""
    return sum(len(message.get("tool_calls") or ()) for message in messages)


def numbered(calls: Iterable[ToolCall], before: int) -> tuple[ToolCall, ...]:
    """Return the calls, each with an id. ``before`` is the number of calls before them in the conversation, so that ids
    differ. Those made here have nine letters and digits, which Mistral's templates insist on.
    """
    return tuple(
        ToolCall(call.name, call.arguments, call.id or f"call{before + index:05d}") for index, call in enumerate(calls)
    )
