"""One completion in the making: its tokens so far, and whether it has ended."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pytest_evals.completion import FinishReason
from pytest_evals.engines.protocol import Request


class Row:
    """A request with its token ids. ``accept`` takes one token after another until ``finish_reason`` is set."""

    __slots__ = (
        "_ends",
        "_tokenizer",
        "finish_reason",
        "generated",
        "generator",
        "logprobs",
        "prompt",
        "request",
        "text",
    )

    def __init__(self, request: Request, prompt: Sequence[int], tokenizer: Any, ends: frozenset[int]) -> None:
        self.request = request
        self.prompt = list(prompt)
        self._tokenizer = tokenizer
        self._ends = ends
        self.reset()

    def reset(self) -> None:
        """Start over, as after a batch that did not fit in memory."""
        self.generated: list[int] = []
        self.logprobs: list[float] = []
        self.finish_reason: FinishReason | None = None
        self.text = ""
        self.generator: Any = None
        """The random generator of a sampled request; `sampling` makes it from the request's own seed."""

    @property
    def prompt_tokens(self) -> int:
        """Tokens of the prompt."""
        return len(self.prompt)

    @property
    def max_new_tokens(self) -> int:
        """Tokens that may be generated."""
        return self.request.params.max_new_tokens

    def accept(self, token: int, logprob: float | None) -> bool:
        """Take the next token; return whether the completion has ended."""
        self.generated.append(token)
        if logprob is not None:
            self.logprobs.append(logprob)
        if token in self._ends:
            self._end("stop", self._decode(self.generated[:-1]))
        elif self.request.params.stop and (cut := self._cut()) is not None:
            self._end("stop", cut)
        elif len(self.generated) >= self.max_new_tokens:
            self._end("length", self._decode(self.generated))
        return self.finish_reason is not None

    def _end(self, reason: FinishReason, text: str) -> None:
        self.finish_reason = reason
        self.text = text

    def _cut(self) -> str | None:
        """Return the text before the first stop string, or `None` when there is none yet."""
        text = self._decode(self.generated)
        found = [text.find(stop) for stop in self.request.params.stop if stop in text]
        return text[: min(found)] if found else None

    def _decode(self, ids: Sequence[int]) -> str:
        text: str = self._tokenizer.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False)
        return text
