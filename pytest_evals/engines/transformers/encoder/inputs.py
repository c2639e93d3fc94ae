"""A request becomes the tokens that an encoder reads: a text, a pair of texts, or a conversation."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import transformers

from pytest_evals.completion import Message, text_of
from pytest_evals.errors import ModelError

_SANITIZE = "sanitize_control_tokens"
_SANE = 1_000_000
"""Tokenizers that know no limit have a huge one."""


@dataclass(frozen=True, slots=True)
class EncodedInput:
    """What the model reads, by the names of its arguments. ``cut``: some of the text was left out."""

    fields: dict[str, list[int]]
    cut: bool = False

    @property
    def length(self) -> int:
        """Its number of tokens."""
        return len(self.fields["input_ids"])


class InputEncoder:
    """Tokenises for one model. ``limit`` is how many tokens it reads at most, `None` where nothing says so."""

    def __init__(self, tokenizer: Any, limit: int | None, model: str) -> None:
        self._tokenizer = tokenizer
        self.limit = limit
        self._model = model

    def encode(self, messages: Sequence[Message], *, conversation: bool, truncate: bool) -> EncodedInput:
        """Return what the model reads. One message is a text, two are a pair; a ``conversation`` is written by the chat template,
        or without one is a pair of what was said before the last message, and that.

        Raises `ModelError` for a text that is longer than what the model reads, unless it may be cut.
        """
        if conversation and self._tokenizer.chat_template is not None:
            fields = {"input_ids": self._rendered(messages)}
        else:
            fields = self._tokenized(_texts(messages, conversation=conversation))
        length = len(fields["input_ids"])
        if not length:
            raise ModelError("the text comes to no tokens")
        if self.limit is None or length <= self.limit:
            return EncodedInput(fields)
        if not truncate:
            raise ModelError(
                f"the text has {length} tokens, more than the {self.limit} that {self._model} reads; grade a shorter text, or let it "
                "be cut with truncate=True"
            )
        return EncodedInput(self._cut(messages, conversation=conversation), cut=True)

    def _tokenized(self, texts: Sequence[str], **options: Any) -> dict[str, list[int]]:
        # What looks like a separator in a text is text.
        found = self._tokenizer(*texts, split_special_tokens=True, verbose=False, **options)
        return {name: list(found[name]) for name in ("input_ids", "token_type_ids") if name in found}

    def _rendered(self, messages: Sequence[Message]) -> list[int]:
        turns = [{"role": message["role"], "content": text_of(message)} for message in messages]
        options = {_SANITIZE: True} if _can_sanitize() else {}
        try:
            return self._render(turns, options)
        except ValueError as error:
            if not options or "sanitize" not in str(error):
                raise
            return self._render(turns, {})

    def _render(self, turns: list[dict[str, str]], options: dict[str, Any]) -> list[int]:
        return list(self._tokenizer.apply_chat_template(turns, tokenize=True, return_dict=False, **options))

    def _cut(self, messages: Sequence[Message], *, conversation: bool) -> dict[str, list[int]]:
        if conversation and self._tokenizer.chat_template is not None:
            # What was said last is what is judged, so the beginning is left out.
            return {"input_ids": self._rendered(messages)[-int(self.limit or 0) :]}
        texts = _texts(messages, conversation=conversation)
        # Of a pair the longer one gives: the other, often a short statement, stays whole.
        return self._tokenized(texts, truncation="longest_first", max_length=self.limit)


@functools.cache
def _can_sanitize() -> bool:
    return _SANITIZE in inspect.signature(transformers.PreTrainedTokenizerBase.apply_chat_template).parameters


def _texts(messages: Sequence[Message], *, conversation: bool) -> list[str]:
    if not conversation:
        return [text_of(message) for message in messages]
    *before, last = messages
    if len(before) == 1:
        return [text_of(before[0]), text_of(last)]
    asked = "\n\n".join(f"{message['role']}: {text_of(message)}" for message in before)
    return [asked, text_of(last)] if before else [text_of(last)]


def token_limit(model: Any, tokenizer: Any) -> int | None:
    """Return how many tokens a model reads at most: what its tokenizer says, and how many positions it has learned."""
    limits = []
    if isinstance(tokenizer.model_max_length, int) and tokenizer.model_max_length < _SANE:
        limits.append(tokenizer.model_max_length)
    text = model.config.get_text_config()
    positions = getattr(text, "max_position_embeddings", None) or getattr(text, "n_positions", None)
    if isinstance(positions, int) and positions > 0:
        limits.append(positions - _offset(model))
    return min(limits, default=None)


def _offset(model: Any) -> int:
    """Return the learned positions before the first token's: RoBERTa and its relatives count from the padding's id on."""
    for name, module in model.named_modules():
        if name.endswith("position_embeddings") and getattr(module, "padding_idx", None) is not None:
            return int(module.padding_idx) + 1
    return 0
