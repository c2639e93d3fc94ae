"""A model handle that answers from a script, and what turns a judge's fixture back into its function."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pytest

from pytest_evals.case import Case
from pytest_evals.completion import Completion, Likelihood, Message, likeliest
from pytest_evals.errors import ModelCallError
from pytest_evals.graders.judges import grader
from pytest_evals.runner.model import Choice

Script = Callable[[list[dict[str, Any]]], str]


class Handle:
    """Stands for a `Model`. ``replies``: texts in the order of the calls, or a function of the conversation.

    ``able``: what the engine can do, of ``choice, json_schema, likelihoods``; ``logprobs`` of scores.
    """

    def __init__(
        self,
        replies: Sequence[str] | Script = (),
        *,
        able: Sequence[str] = (),
        logprobs: Mapping[str, float] | None = None,
        name: str = "judge",
        others: Mapping[str, Handle] | None = None,
    ) -> None:
        self.name = name
        self.asked: list[list[dict[str, Any]]] = []
        self.parameters: list[dict[str, Any]] = []
        self._replies = replies if callable(replies) else iter(replies)
        self._able = set(able)
        self._logprobs = logprobs or {}
        self._others = others or {}

    def using(self, spec: str) -> Handle:
        return self._others[spec]

    async def generate(self, messages: Sequence[Message], **generation: Any) -> Completion:
        for name in ("choice", "json_schema"):
            if name in generation and name not in self._able:
                raise ModelCallError(f"cannot honour {name}", "unsupported")
        conversation = [dict(message) for message in messages]
        self.asked.append(conversation)
        self.parameters.append(generation)
        text = self._replies(conversation) if callable(self._replies) else next(self._replies)
        return Completion(text, (*messages, {"role": "assistant", "content": text}), "stop", model=self.name)

    async def choose(self, choices: Sequence[str], messages: Sequence[Mapping[str, Any]]) -> Choice:
        if "likelihoods" not in self._able:
            raise ModelCallError("cannot tell likelihoods", "unsupported")
        self.asked.append([dict(message) for message in messages])
        found = tuple(Likelihood(text, self._logprobs[text], len(text), len(text)) for text in choices)
        chosen = likeliest(found)
        return Choice(chosen.index, chosen.text, chosen.probabilities, found)


def completion(text: str, question: str = "What is the capital of France?") -> Completion:
    asked: Message = {"role": "user", "content": question}
    return Completion(text, (asked, {"role": "assistant", "content": text}), "stop")


class Graded:
    """Calls a judge's function as the plugin would, for one case."""

    def __init__(self, make: Callable[[], Any], monkeypatch: pytest.MonkeyPatch) -> None:
        self.settings: dict[str, Any] = {}

        def keep(function: Any, **settings: Any) -> Any:
            self.settings = settings
            return function

        monkeypatch.setattr(grader, "grader_fixture", keep)
        self.function = make()

    def __call__(
        self, judge: Handle, answer: str | None = "Paris.", row: Mapping[str, Any] | None = None, **given: Any
    ) -> Any:
        case = Case("c1", row or {}, files={}, metadata={}, place="rows.jsonl:1")
        if answer is not None and "completion" not in given:
            given["completion"] = completion(answer)
        return asyncio.run(self.function(case=case, judge=judge, **given))
