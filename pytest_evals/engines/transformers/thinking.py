"""Follows the thoughts of a row while it is generated: when they begin, how many tokens they have, when they end."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Literal

from pytest_evals.engines.protocol import Request
from pytest_evals.engines.transformers.replies import ReplyReader
from pytest_evals.errors import UnsupportedError
from pytest_evals.replies.thoughts import divide, may_be_quoted

Stage = Literal["undecided", "inside", "answer"]
"""Whether a block of thoughts may still begin, is open, or is over."""
_SPARE_TOKENS = 8


class ThoughtTracker:
    """Tells in which stage a row is.

    ``forced`` are the tokens that come next whatever the model would write: the end of thoughts whose ``budget`` is used up,
    and with ``spaced`` what the chat template writes between thoughts and answer.
    """

    def __init__(self, reader: ReplyReader, *, opened: bool, budget: int | None, spaced: bool) -> None:
        self.stage: Stage = "inside" if opened or reader.form.channels else "undecided"
        self.forced: deque[int] = deque()
        self.closing = reader.ids_of(closing_of(reader))
        self._reader = reader
        self._opened = opened
        self._budget = budget
        self._counts = opened
        self._tokens = 0
        self._separator = reader.ids_of(reader.form.separator) if spaced else []
        self._openings = [reader.ids_of(each.opening) for each in reader.form.thoughts]
        self._window = max([len(self.closing), *map(len, self._openings)]) + _SPARE_TOKENS
        self._close_when_used_up()

    def accept(self, generated: Sequence[int]) -> None:
        """Take note that the last of these tokens was generated."""
        if self.forced:
            self.forced.popleft()
            if not self.forced:
                self.stage = "answer"
            return
        if self.stage == "undecided":
            self._decide(generated)
        elif self.stage == "inside":
            self._go_on(generated)
        self._close_when_used_up()

    def opening_token(self, generated: Sequence[int]) -> int | None:
        """Return the next token of the opening delimiter that a row has begun with, or may begin with."""
        written = len(generated)
        for opening in self._openings:
            if written < len(opening) and opening[:written] == list(generated):
                return opening[written]
        return None

    def _decide(self, generated: Sequence[int]) -> None:
        text = self._reader.marked(generated)
        if divide(text, self._reader.form).unfinished:
            self.stage, self._counts = "inside", True
        elif not self._may_open(text):
            self.stage = "answer"

    def _may_open(self, text: str) -> bool:
        begun = text.lstrip().casefold()
        return any(each.opening.casefold().startswith(begun) for each in self._reader.form.thoughts)

    def _go_on(self, generated: Sequence[int]) -> None:
        self._tokens += self._counts
        tail = self._reader.marked(generated[-self._window :])
        if self._reader.form.channels:
            self._counts = _within_message(tail, before=self._counts)
        if self._may_close(tail) and self._is_over(generated):
            self.stage = "answer"
            self._space(generated)

    def _may_close(self, tail: str) -> bool:
        if self._reader.form.channels:
            return "<|message|>" in tail
        text = tail.casefold()
        places = [
            (text.rfind(closing), closing)
            for each in self._reader.form.thoughts
            if (closing := each.closing.casefold()) in text
        ]
        # Behind a quotation mark the next token tells.
        return any(not (text.endswith(closing) and may_be_quoted(text, place)) for place, closing in places)

    def _is_over(self, generated: Sequence[int]) -> bool:
        division = divide(self._reader.marked(generated), self._reader.form, opened=self._opened)
        return bool(division.spans or division.answer) and not division.unfinished

    def _space(self, generated: Sequence[int]) -> None:
        """Have the space before the answer written, unless a token has brought some of it."""
        if self._separator and not self._reader.marked(generated[-1:])[-1:].isspace():
            self.stage = "inside"
            self.forced = deque(self._separator)

    def _close_when_used_up(self) -> None:
        used_up = self._budget is not None and self._tokens >= self._budget
        if self.stage == "inside" and self._counts and used_up and not self.forced:
            self.forced = deque([*self.closing, *self._separator])


def thought_budget(request: Request, reader: ReplyReader, room: int | None) -> tuple[int | None, int]:
    """Return how many tokens the thoughts of a reply may have, and how many of its tokens are beyond ``max_new_tokens``; ``room`` is
    what there is of these.

    Raises `UnsupportedError` for a budget of a model whose thoughts cannot be told apart.
    """
    params = request.params
    if params.max_thinking_tokens is not None:
        if not reader.form.thinks:
            raise UnsupportedError(
                f"max_thinking_tokens: {request.model} has no delimiters of thoughts; leave it out, or name them with "
                "?reasoning=OPEN..CLOSE"
            )
        return params.max_thinking_tokens, 0
    if not params.thinking_allowance or not reader.form.thinks:
        return None, 0
    allowance = max(params.thinking_allowance if room is None else min(params.thinking_allowance, room), 0)
    closing = len(reader.ids_of(closing_of(reader) + reader.form.separator))
    return max(allowance - closing, 0), allowance


def closing_of(reader: ReplyReader, *, opened: bool = True) -> str:
    """Return what ends thoughts and begins the answer. Where none have begun (not ``opened``), they are empty."""
    form = reader.form
    if form.channels:
        final = "<|channel|>final<|message|>"
        return f"<|end|><|start|>assistant{final}" if opened else final
    if not form.thoughts:
        return ""
    first = form.thoughts[0]
    return first.closing if opened else f"{first.opening}\n\n{first.closing}"


def before_answer(reader: ReplyReader, prompt: Sequence[int], begun: str) -> list[int]:
    """Return the tokens between a prompt and the answer, where none has begun: thoughts that the prompt opened are closed, and a
    model that always thinks has thought nothing.
    """
    form = reader.form
    opened = reader.opened_by(prompt, begun)
    if not opened and (begun or reader.closed_by(prompt) or not (form.channels or form.always)):
        return []
    return reader.ids_of(closing_of(reader, opened=opened) + form.separator)


def _within_message(tail: str, *, before: bool) -> bool:
    """Tell whether the last token is in the content of a message, not in its head."""
    content = tail.rfind("<|message|>")
    head = max(tail.rfind(f"<|{name}|>") for name in ("channel", "start", "end"))
    return before if content == head == -1 else content > head
