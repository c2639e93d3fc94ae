"""Token ids that a model generated -> the parts of its reply, and what has to be known of these while it is generated."""

from __future__ import annotations

import bisect
import copy
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from pytest_evals.completion import ToolCall
from pytest_evals.engines.transformers.chat_templates import special_tokens
from pytest_evals.engines.transformers.reply_form import control_tokens
from pytest_evals.engines.transformers.tool_calling import OfferedTools, calls_by_response_template, marks_among
from pytest_evals.replies.form import ReplyForm
from pytest_evals.replies.thoughts import divide
from pytest_evals.replies.tool_calls import parse_tool_calls
from pytest_evals.tool_calls.numbering import numbered


@dataclass(frozen=True, slots=True)
class GeneratedReply:
    """What a row came to: see `pytest_evals.completion.Completion`. ``unfinished``: it ended inside its thoughts."""

    text: str
    reasoning: str | None = None
    reasoning_tokens: int | None = None
    tool_calls: tuple[ToolCall, ...] = ()
    raw: str | None = None
    unfinished: bool = False
    tool_call_error: str | None = None


class ReplyReader:
    """Reads what the model of one tokenizer writes in one form."""

    def __init__(self, tokenizer: Any, form: ReplyForm) -> None:
        self.form = form
        self._tokenizer = tokenizer
        self._control = control_tokens(tokenizer, form)
        self._offered: OfferedTools | None = None
        self._prompt: Sequence[int] = ()

    def offering(self, tools: OfferedTools | None, prompt: Sequence[int]) -> ReplyReader:
        """Return the reader of replies to a request that offers tools: it finds their calls."""
        if tools is None:
            return self
        reader = copy.copy(self)
        reader.form = replace(self.form, tools=tools.form)
        reader._control = {**self._control, **marks_among(special_tokens(self._tokenizer))}  # noqa: SLF001 - its own class
        reader._offered, reader._prompt = tools, prompt  # noqa: SLF001 - its own class
        return reader

    def read(self, ids: Sequence[int], *, opened: bool = False) -> GeneratedReply:
        """Return the parts of a reply, without the token that ended it. ``opened``: the prompt ended inside a block of
        thoughts.
        """
        marked = self.marked(ids)
        division = divide(marked, self.form, opened=opened)
        text, calls, problem = self._without_calls(ids, division.answer)
        if text == marked and not self._control.keys().isdisjoint(ids):
            # Control tokens that delimit nothing are not part of a text.
            text = self._decode(ids)
        raw = self._decode(ids, special=True)
        tokens = self._tokens_of(ids, division.spans) if division.reasoning is not None else None
        return GeneratedReply(
            text, division.reasoning, tokens, calls, None if raw == text else raw, division.unfinished, problem
        )

    def _without_calls(self, ids: Sequence[int], answer: str) -> tuple[str, tuple[ToolCall, ...], str | None]:
        """Return an answer without its calls of tools, these, and why one could not be read."""
        offered = self._offered
        if offered is None or not answer:
            return answer, (), None
        found = calls_by_response_template(self._tokenizer, ids, self._prompt, offered.schemas)
        if found is None:
            text, calls, problem = parse_tool_calls(answer, self.form.tools, offered.schemas)
        else:
            text, calls, problem = found if found[1] else (answer, (), found[2])
        return text, numbered(calls, offered.before), problem

    def marked(self, ids: Sequence[int]) -> str:
        """Return the text of tokens, with control tokens that delimit and without other special tokens."""
        borders = [place for place, token in enumerate(ids) if token in self._control]
        if not borders:
            return self._decode(ids)
        parts, start = [], 0
        for border in borders:
            parts += [self._decode(ids[start:border]), self._control[ids[border]]]
            start = border + 1
        return "".join([*parts, self._decode(ids[start:])])

    def ids_of(self, text: str) -> list[int]:
        """Return the tokens of a text that contains control tokens."""
        return list(self._tokenizer(text, add_special_tokens=False)["input_ids"]) if text else []

    def opened_by(self, prompt: Sequence[int], begun: str = "") -> bool:
        """Tell whether a prompt ends inside of a block of thoughts. ``begun`` is what of the last turn is given."""
        if not self.form.thinks:
            return False
        tail = self._decode(prompt[-_TAIL - len(self.ids_of(begun)) :], special=True)
        given = begun.strip()
        before = tail.rstrip().removesuffix(given).rstrip()
        if self.form.channels:
            borders = [("<|channel|>analysis<|message|>", "<|end|>")]
        else:
            borders = [(each.opening.rstrip(), each.closing) for each in self.form.thoughts]
        return any(
            given.rfind(opening) > given.rfind(closing) or (before.endswith(opening) and closing not in given)
            for opening, closing in borders
        )

    def closed_by(self, prompt: Sequence[int]) -> bool:
        """Tell whether a prompt ends behind a block of thoughts, or at the head of the answer."""
        tail = self._decode(prompt[-_TAIL:], special=True).rstrip()
        closings = (
            ["<|channel|>final<|message|>"] if self.form.channels else [each.closing for each in self.form.thoughts]
        )
        return any(tail.endswith(closing) for closing in closings)

    def _tokens_of(self, ids: Sequence[int], spans: Sequence[tuple[int, int]]) -> int:
        """Return how many tokens brought the characters of the marked text at these places."""

        def reached(place: int) -> int:
            return bisect.bisect_left(range(len(ids) + 1), place, key=lambda count: len(self.marked(ids[:count])))

        return sum(reached(end) - reached(start) for start, end in spans)

    def _decode(self, ids: Sequence[int], *, special: bool = False) -> str:
        text: str = self._tokenizer.decode(ids, skip_special_tokens=not special, clean_up_tokenization_spaces=False)
        return text


_TAIL = 32
"""Tokens at the end of a prompt among which an opening delimiter is looked for."""
