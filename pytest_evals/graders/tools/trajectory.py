"""The calls that a model made for a case."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pytest

from pytest_evals.collection.item import EVAL
from pytest_evals.completion import Completion, Message, ToolCall
from pytest_evals.errors import SuiteError


@dataclass(frozen=True, slots=True)
class MadeCalls:
    """Calls in the order in which the model made them, and why others could not be parsed."""

    calls: tuple[ToolCall, ...]
    problems: tuple[str, ...] = ()

    def with_problems(self, reason: str) -> str:
        """Return the reason of a grade, with what could not be parsed."""
        return "; ".join([reason, *(f"a call that cannot be parsed: {problem}" for problem in self.problems)])


def made_calls(value: object, item: pytest.Item, path: str) -> MadeCalls:
    """Return the calls of a completion, those of earlier turns first; or of what a task gave. Raises `SuiteError` for no calls."""
    if isinstance(value, Completion):
        found = item.stash.get(EVAL, None)
        return _of_completion(value, found.prepared.prompt if found is not None else ())
    if isinstance(value, (list, tuple)) and all(isinstance(each, (ToolCall, Mapping)) for each in value):
        return MadeCalls(tuple(each if isinstance(each, ToolCall) else call_of(each) for each in value))
    raise SuiteError(
        f"{path!r} gave {type(value).__name__}, and this grader reads a completion or a list of calls; let the task return one"
    )


def _of_completion(completion: Completion, prompt: Sequence[Message]) -> MadeCalls:
    turns = list(completion.messages)
    shared = 0
    while shared < min(len(turns), len(prompt)) and turns[shared] == prompt[shared]:
        shared += 1
    made = [call_of(call) for turn in turns[shared:] for call in turn.get("tool_calls") or ()]
    last = [call_of(call) for call in (turns[-1].get("tool_calls") or ())] if turns[shared:] else []
    if not last:
        made.extend(completion.tool_calls)
    problem = completion.tool_call_error
    return MadeCalls(tuple(made), (problem,) if problem else ())


def call_of(call: Mapping[str, Any]) -> ToolCall:
    """Return a call that is written as in a message, or as a name and arguments. Raises `SuiteError` for what is none."""
    function = call.get("function", call)
    arguments = function.get("arguments", {}) if isinstance(function, Mapping) else None
    if isinstance(arguments, str):
        try:
            arguments = json.loads(arguments)
        except ValueError:
            arguments = None
    if (
        not isinstance(function, Mapping)
        or not isinstance(function.get("name"), str)
        or not isinstance(arguments, Mapping)
    ):
        raise SuiteError(f"no call of a tool: {str(call)[:120]}; it has a 'name' and an object of 'arguments'")
    return ToolCall(function["name"], arguments, call.get("id"))
