"""Tokens that rows may write next, found in what they have read and written. They are computed along where that is free.

A step of few rows takes as long as the weights take to be read, whether it computes one token of each row or some.
So where few rows are left, a row computes what followed the last time that it had tokens like its last ones. The sampler
chooses every token from its own logits, as usual. Where it chooses what was guessed, the next logits are already there,
and a wrong guess is as if it had never been computed. Texts that repeat something, as the longest often do, end several
times as fast.

Saxena, "Prompt Lookup Decoding" (2023); Leviathan et al., "Fast Inference from Transformers via Speculative Decoding"
(ICML 2023).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from pytest_evals.engines.transformers.sequence import TokenSequence

FEW_ROWS = 4
"""With more rows, a step's time grows with its tokens."""
TOKENS = 16
"""Tokens of a step of few rows: this many hardly take longer than one of each row."""
_GRAMS = (3, 2)
"""This many last tokens are looked for, the longer run first."""

CountGuesses = Callable[[int, int], None]
"""Is told how many tokens were guessed in a step, and how many of them were right."""


class AcceptanceHistory:
    """The tokens of a row, and where each few of them were followed by something the last time."""

    def __init__(self, prompt: Sequence[int]) -> None:
        self.draft_length = 1
        """This many tokens are guessed next: more when guesses are right, fewer when they are wrong."""
        self._tokens: list[int] = []
        self._followed: dict[tuple[int, ...], int] = {}
        self._extend(prompt)
        self._prompt = len(prompt)

    def learn(self, generated: Sequence[int]) -> None:
        """Take in what was generated since."""
        self._extend(generated[len(self._tokens) - self._prompt :])

    def _extend(self, tokens: Sequence[int]) -> None:
        for token in tokens:
            place = len(self._tokens)
            for size in _GRAMS:
                if place >= size:
                    self._followed[tuple(self._tokens[place - size :])] = place
            self._tokens.append(token)

    def guess(self, most: int) -> list[int]:
        """Return up to ``most`` tokens that may come next; what repeats itself is taken to go on."""
        for size in _GRAMS:
            place = self._followed.get(tuple(self._tokens[-size:]))
            if place is not None and len(self._tokens) >= size:
                break
        else:
            return []
        guessed: list[int] = []
        for _ in range(min(most, self.draft_length)):
            known = place < len(self._tokens)
            guessed.append(self._tokens[place] if known else guessed[place - len(self._tokens)])
            place += 1
        return guessed

    def update(self, guessed: int, right: int) -> None:
        """Take note of how many guesses were right."""
        self.draft_length = min(2 * self.draft_length, TOKENS) if right == guessed else right + 1


class PromptLookup:
    """Guesses for the rows of a step, and takes note of what came of it. ``tally`` is told too."""

    def __init__(self, tally: CountGuesses) -> None:
        self._tally = tally

    def guess(self, rows: Sequence[TokenSequence]) -> list[list[int]]:
        """Return guesses for each row, for some more than for others; no row gets more than any of them has room for."""
        if not 0 < len(rows) <= FEW_ROWS:
            return [[] for _ in rows]
        most = min(TOKENS // len(rows), *(row.cells - row.stored for row in rows)) - 1
        return [memory_of(row).guess(most) for row in rows]

    def update(self, row: TokenSequence, guessed: int, right: int) -> None:
        """Take note that ``right`` of ``guessed`` guesses for a row were right."""
        if guessed:
            memory_of(row).update(guessed, right)
            self._tally(guessed, right)


def memory_of(row: TokenSequence) -> AcceptanceHistory:
    """Return what is known of a row, up to its last token."""
    if row.memory is None:
        row.memory = AcceptanceHistory(row.prompt)
    memory: AcceptanceHistory = row.memory
    memory.learn(row.generated)
    return memory
