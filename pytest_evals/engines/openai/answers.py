"""What a server sends -> an answer in its parts: a message in one piece, or the pieces of a stream put together."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pytest_evals.engines.openai.failures import BrokenAnswerError, WithheldError, failure_of
from pytest_evals.text import one_line

_FINISHED = {
    "stop": "stop",
    "eos": "stop",
    "eos_token": "stop",
    "stop_sequence": "stop",
    "end_turn": "stop",
    "length": "length",
    "max_tokens": "length",
    "tool_calls": "tool_calls",
    "function_call": "tool_calls",
}
"""Reasons of servers, as a completion names them. A reason that is not here is an error."""


@dataclass(slots=True)
class CalledTool:
    """A call of a tool as it was sent: ``arguments`` is the text that should be JSON."""

    id: str | None = None
    name: str = ""
    arguments: str = ""


@dataclass(slots=True)
class ServedAnswer:
    """An answer. ``reasoning`` is `None` where the server told none apart; counts are `None` where it gave none that can be."""

    text: str = ""
    reasoning: str | None = None
    calls: list[CalledTool] = field(default_factory=list)
    finish_reason: str | None = None
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    reasoning_tokens: int | None = None
    cached_tokens: int = 0
    logprobs: list[float] | None = None
    latency: float = 0.0
    first_word: float = 0.0
    """Seconds until the model began to write: some servers open a stream as soon as a request is in their queue."""

    @property
    def begun(self) -> bool:
        """Tell whether there is a part of an answer."""
        return bool(self.text or self.reasoning or self.calls or self.finish_reason)

    # -- putting it together

    def take(self, data: Mapping[str, Any]) -> None:
        """Take a message in one piece, or a piece of a stream. Raises as `failure_of` does for an error in it, and
        `BrokenAnswerError` for what is neither.
        """
        if data.get("error"):
            raise failure_of(200, data)
        try:
            choices = data.get("choices") or []
            if choices:
                self._take_choice(choices[0])
            if isinstance(data.get("usage"), Mapping):
                self._take_usage(data["usage"])
        except (AttributeError, KeyError, IndexError, TypeError, ValueError) as error:
            raise BrokenAnswerError(
                f"it sent something that is not an answer: {one_line(json.dumps(data), 160)}"
            ) from error

    def _take_choice(self, choice: Mapping[str, Any]) -> None:
        message = choice.get("delta") or choice.get("message") or {}
        self.text += choice.get("text") or message.get("content") or message.get("refusal") or ""
        thoughts = message.get("reasoning_content") or message.get("reasoning")
        if isinstance(thoughts, str):
            self.reasoning = (self.reasoning or "") + thoughts
        for position, call in enumerate(message.get("tool_calls") or ()):
            self._take_call(call, call.get("index", position))
        self.finish_reason = choice.get("finish_reason") or self.finish_reason
        found = logprobs_of(choice.get("logprobs"))
        if found is not None:
            self.logprobs = (self.logprobs or []) + found

    def _take_call(self, call: Mapping[str, Any], position: int) -> None:
        while len(self.calls) <= position:
            self.calls.append(CalledTool())
        known, function = self.calls[position], call.get("function") or {}
        known.id = call.get("id") or known.id
        known.name += function.get("name") or ""
        arguments = function.get("arguments") or ""
        known.arguments += arguments if isinstance(arguments, str) else json.dumps(arguments)

    def _take_usage(self, usage: Mapping[str, Any]) -> None:
        self.prompt_tokens = _count(usage.get("prompt_tokens"))
        self.completion_tokens = _count(usage.get("completion_tokens"))
        self.reasoning_tokens = _count((usage.get("completion_tokens_details") or {}).get("reasoning_tokens"))
        self.cached_tokens = _count((usage.get("prompt_tokens_details") or {}).get("cached_tokens")) or 0

    # -- when it is complete

    def finish(self, most_tokens: int, *, ended: bool) -> None:
        """Check that the answer is whole. ``ended``: the server said that nothing follows.

        Raises `BrokenAnswerError` for one that broke off, and `WithheldError` for one that the server kept back.
        """
        self.text = whole_characters(self.text)
        self.reasoning = None if self.reasoning is None else whole_characters(self.reasoning)
        for call in self.calls:
            call.arguments = whole_characters(call.arguments)
        if self.finish_reason == "content_filter":
            raise WithheldError("its content filter ended the answer")
        if self.finish_reason is None and not ended:
            raise BrokenAnswerError("the answer broke off")
        if not self.completion_tokens and (self.text or self.calls or self.reasoning):
            # A count of 0 for a text is none.
            self.completion_tokens = None
        reason = self.finish_reason or ("length" if (self.completion_tokens or 0) >= most_tokens else "stop")
        if reason not in _FINISHED:
            raise BrokenAnswerError(
                f"the answer ended for the reason {one_line(str(reason), 60)!r}, which is not known"
            )
        self.finish_reason = _FINISHED[reason]


def _count(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None


def logprobs_of(data: Any) -> list[float] | None:
    """Return the log-probabilities of generated tokens, in the form of either endpoint; `None` where there are none."""
    if not data:
        return None
    values = [entry["logprob"] for entry in data["content"] or ()] if "content" in data else data.get("token_logprobs")
    if values is None:
        return None
    found = [float(value) for value in values if value is not None]
    if not all(map(math.isfinite, found)):
        raise TypeError("a log-probability is a finite number")
    return found


def whole_characters(text: str) -> str:
    """Return a text in which halves of characters, which pieces of a stream may end with, are joined, and lone ones replaced."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text
