"""What a model answered, and what went wrong when it did not."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

Message = Mapping[str, Any]
FinishReason = Literal["stop", "length", "recorded"]


@dataclass(frozen=True, slots=True)
class Completion:
    """A model's answer to one conversation.

    ``text`` holds no special tokens. ``messages`` is the whole conversation; the answer is its last message.
    ``finish_reason`` is ``stop`` (end-of-text token or stop string), ``length`` (``max_new_tokens``) or ``recorded``
    (it came from the dataset). Token counts are exact, without padding; ``completion_tokens`` includes the end-of-text
    token. ``logprobs`` (natural log, one a generated token) only when asked for. ``latency`` is seconds from the start
    of the computation to this answer.
    """

    text: str
    messages: tuple[Message, ...]
    finish_reason: FinishReason
    model: str | None = None
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    logprobs: tuple[float, ...] | None = None
    latency: float | None = None
    fingerprint: str | None = None

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True, slots=True)
class Failure:
    """Why there is no answer. ``kind`` is ``model`` (it refused or failed on this request) or ``engine`` (the
    measurement broke).
    """

    kind: Literal["model", "engine"]
    message: str
