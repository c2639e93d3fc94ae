"""A request -> the JSON of OpenAI's API."""

from __future__ import annotations

import base64
import mimetypes
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pytest_evals.completion import Message, text_of
from pytest_evals.errors import UnsupportedError
from pytest_evals.generation import GenerationParams

_SEEDS = 2**31
"""Servers take seeds of 32 bits at least, some with a sign."""


@dataclass(slots=True)
class Dialect:
    """How a server is spoken to: what it refuses is learned from its first refusal.

    ``extra`` are the fields of ``extra_body``; ``learned`` counts what was learned.
    """

    model: str
    plain: bool = False
    extra: Mapping[str, Any] = field(default_factory=dict)
    max_tokens: str = "max_tokens"
    stream: bool = True
    stream_usage: bool = True
    learned: int = 0

    @property
    def endpoint(self) -> str:
        """Where generations are asked for."""
        return "/completions" if self.plain else "/chat/completions"

    def learn(self, refusal: str, learned: int) -> bool:
        """Take a refusal of what was sent when so much had been ``learned``; return whether the next try is another one."""
        if self.learned != learned:
            # Another request has learned something meanwhile.
            return True
        if self.max_tokens == "max_tokens" and "max_completion_tokens" in refusal:
            self.max_tokens = "max_completion_tokens"
        elif self.stream_usage and ("stream_options" in refusal or "include_usage" in refusal):
            self.stream_usage = False
        elif self.stream and "stream" in refusal and "support" in refusal:
            self.stream = False
        else:
            return False
        self.learned += 1
        return True

    def body(self, messages: Sequence[Message], params: GenerationParams, sample: int = 0) -> dict[str, Any]:
        """Return the body that asks for one sample. Raises `UnsupportedError` for a part of a message that cannot be sent."""
        asked: dict[str, Any] = (
            {"prompt": "\n".join(map(text_of, messages))}
            if self.plain
            else {"messages": [chat_message(message) for message in messages]}
        )
        return {**self.extra, "model": self.model, **asked, **self._settings(params, sample), **self.streaming()}

    def streaming(self) -> dict[str, Any]:
        """Return the fields that ask for the answer in pieces: a server that falls silent is noticed by that."""
        if not self.stream:
            return {}
        return {"stream": True, **({"stream_options": {"include_usage": True}} if self.stream_usage else {})}

    def _settings(self, params: GenerationParams, sample: int) -> dict[str, Any]:
        found: dict[str, Any] = {self.max_tokens: params.max_new_tokens, "temperature": params.temperature}
        if not params.greedy:
            # Some servers sample from fewer tokens where nothing is said.
            found["top_p"] = params.top_p
        if params.top_k:
            found["top_k"] = params.top_k
        if params.min_p:
            found["min_p"] = params.min_p
        if params.stop:
            found["stop"] = list(params.stop)
        if not params.greedy:
            found["seed"] = params.sample_seed(sample) % _SEEDS
        if params.logprobs:
            found["logprobs"] = 1 if self.plain else True
        if params.json_schema is not None:
            found["response_format"] = response_format(params.json_schema)
        if params.chat_template_kwargs:
            found["chat_template_kwargs"] = dict(params.chat_template_kwargs)
        if params.tools and params.tool_choice != "none":
            found["tools"] = [dict(tool) for tool in params.tools]
            found["tool_choice"] = params.tool_choice
        return found


def response_format(schema: Mapping[str, Any]) -> dict[str, Any]:
    """Return the field that asks for JSON under a schema."""
    return {"type": "json_schema", "json_schema": {"name": "answer", "schema": dict(schema), "strict": True}}


def chat_message(message: Message) -> dict[str, Any]:
    """Return a message as the API takes it: images as data URIs. Raises `UnsupportedError` for sound."""
    sent: dict[str, Any] = dict(message)
    content = sent["content"]
    if isinstance(content, (list, tuple)):
        sent["content"] = [_part(part) for part in content]
    return sent


def _part(part: Mapping[str, Any]) -> dict[str, Any]:
    if part["type"] == "image":
        return {"type": "image_url", "image_url": {"url": _data_uri(str(part["image"]), part.get("mime"))}}
    if part["type"] != "text":
        raise UnsupportedError(f"a served model cannot be sent content of the type {part['type']!r}")
    return dict(part)


def _data_uri(image: str, mime: str | None) -> str:
    if image.startswith("data:"):
        return image
    kind = mime or mimetypes.guess_type(image)[0] or "application/octet-stream"
    return f"data:{kind};base64,{base64.b64encode(Path(image).read_bytes()).decode()}"
