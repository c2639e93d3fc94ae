"""What a script returned becomes the completion: a text, an object with its parts, or a `Completion`."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Any, get_args

from pytest_evals.completion import Completion, FinishReason, ToolCall
from pytest_evals.engines.protocol import Request
from pytest_evals.replies.form import ReplyForm
from pytest_evals.replies.reading import read_reply
from pytest_evals.text import one_line
from pytest_evals.tool_calls.forms import ANY
from pytest_evals.tool_calls.numbering import calls_in, numbered
from pytest_evals.tool_calls.written import written_call

_COUNTS = ("prompt_tokens", "completion_tokens", "reasoning_tokens")
_PARTS = ("text", "reasoning", "tool_calls", "finish_reason", "scores", *_COUNTS)


class ScriptError(Exception):
    """A script returned what is not a completion; the message says what it was."""


def completion_of_script(value: object, request: Request, form: ReplyForm) -> Completion:
    """Return the completion: its parts, without its conversation. Raises `ScriptError` for what is none.

    Counts of tokens and the finish reason are as the script says, where it does. A text is divided as a reply in this ``form``. Calls of tools without an id get one.
    """
    if isinstance(value, str):
        completion = _of_text(value, request, form)
    elif isinstance(value, Completion):
        completion = dataclasses.replace(value, messages=(), model=None, samples=(), likelihoods=None, origin=None)
    elif isinstance(value, Mapping):
        completion = _of_object(value)
    else:
        raise ScriptError(f"returned {type(value).__name__}, and a script returns the completion as str")
    _check(completion)
    if request.params.logprobs and completion.logprobs is None:
        raise ScriptError("was asked for log-probabilities and returned none; it returns a Completion with them")
    if not completion.tool_calls:
        return completion
    calls = numbered(completion.tool_calls, calls_in(request.messages))
    return dataclasses.replace(completion, tool_calls=calls, finish_reason="tool_calls")


def _check(completion: Completion) -> None:
    if not isinstance(completion.text, str):
        raise ScriptError(f"returned a Completion whose text is {type(completion.text).__name__}")
    if completion.finish_reason not in get_args(FinishReason):
        known = ", ".join(get_args(FinishReason))
        raise ScriptError(f"returned the finish_reason {completion.finish_reason!r} (known: {known})")
    for name in _COUNTS:
        count = getattr(completion, name)
        if count is not None and (not isinstance(count, int) or isinstance(count, bool) or count < 0):
            raise ScriptError(f"returned {name}={count!r}; a count of tokens is a whole number of at least 0, or None")


def _of_text(text: str, request: Request, form: ReplyForm) -> Completion:
    offered = request.params.tools if request.params.tool_choice != "none" else ()
    reply = read_reply(text, dataclasses.replace(form, tools=ANY) if offered else form, tools=offered)
    cuts = [reply.text.find(stop) for stop in request.params.stop if stop in reply.text]
    answer = reply.text[: min(cuts)] if cuts else reply.text
    return Completion(
        answer,
        finish_reason="length" if reply.unfinished else "stop",
        reasoning=reply.reasoning,
        tool_calls=reply.tool_calls,
        tool_call_error=reply.problem,
        raw=None if text == answer or cuts else text,
    )


def _of_object(value: Mapping[str, Any]) -> Completion:
    unknown = [name for name in value if name not in _PARTS]
    if unknown:
        raise ScriptError(f"returned an object with {unknown[0]!r}, and a completion has {', '.join(_PARTS)}")
    text, reasoning, calls = value.get("text") or "", value.get("reasoning"), value.get("tool_calls") or ()
    if not isinstance(text, str) or not (reasoning is None or isinstance(reasoning, str)):
        raise ScriptError(f"returned an object whose text and reasoning are not texts: {one_line(repr(value), 120)}")
    if not isinstance(calls, (list, tuple)):
        raise ScriptError(f"returned tool_calls that are not a list: {one_line(repr(calls), 120)}")
    return Completion(
        text,
        reasoning=reasoning,
        tool_calls=tuple(_call_of(call) for call in calls),
        finish_reason=value.get("finish_reason") or "stop",
        prompt_tokens=value.get("prompt_tokens"),
        completion_tokens=value.get("completion_tokens"),
        reasoning_tokens=value.get("reasoning_tokens"),
        scores=_scores(value.get("scores")),
    )


def _scores(value: object) -> dict[str, float] | None:
    """Return what a script gives the labels when it replaces a classifier."""
    if value is None:
        return None
    if not isinstance(value, Mapping) or not all(
        isinstance(score, (int, float)) and math.isfinite(score) for score in value.values()
    ):
        raise ScriptError(f"returned scores that are not finite numbers by label: {one_line(repr(value), 120)}")
    return {str(label): float(score) for label, score in value.items()}


def _call_of(call: object) -> ToolCall:
    found = written_call(call)
    if found is None:
        raise ScriptError(
            f"returned {one_line(repr(call), 120)} among tool_calls; a call has a 'name' and an object of 'arguments'"
        )
    return found
