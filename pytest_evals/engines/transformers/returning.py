"""How late conversations are gone on with: what rows left is kept for as long as experience says that the next turn takes.

Most suites ask once. Where a task answers at once, a few rows finish until the next turn is there; where another model
speaks in between, or a tool runs, hundreds may. Time is counted in cells: those of all conversations that were left since
would have to be kept, for the turn to find its own.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence

from pytest_evals.engines.transformers.siblings import LEAST_TOKENS
from pytest_evals.engines.transformers.stretches import Sharing

MOST_REMEMBERED = 20_000
"""Prompts that were answered. Of each a number is remembered, however long it was."""
MARGIN = 3
"""The next turns may take so many times as long as the latest until now: conversations grow."""
GAIN = 8
"""A turn that comes late makes room for so many like it: a single one says little, many say much."""


class Returns:
    """Sees rows leave, and rows arrive that begin with the prompt of one that left."""

    def __init__(self) -> None:
        self._prompts: dict[int, int] = {}
        self._left = self._latest = self._gained = 0

    @property
    def cells(self) -> int:
        """Return how much is to be kept of what nobody waits for, by what was seen so far."""
        return min(self._latest, self._gained)

    def leave(self, row: Sharing, cells: int) -> None:
        """A row has been answered; so many cells hold its conversation, without what it shared from the start."""
        if row.shareable >= LEAST_TOKENS:
            *_, prompt = _hashes(row.tokens[: row.shareable])
            # The latest are the last.
            self._prompts.pop(prompt, None)
            self._prompts[prompt] = self._left
        if len(self._prompts) > MOST_REMEMBERED:
            del self._prompts[next(iter(self._prompts))]
        self._left += cells

    def arrive(self, row: Sharing) -> None:
        """A row has come; it may go on with what one that left was asked."""
        found = [self._prompts[prompt] for prompt in _hashes(row.tokens) if prompt in self._prompts]
        # The longest prompt is that of the turn before.
        late = MARGIN * (self._left - found[-1]) if found else 0
        if late > self.cells:
            self._latest = max(self._latest, late)
            self._gained += GAIN * len(row.tokens)


def _hashes(tokens: Sequence[int]) -> Iterator[int]:
    """Yield a hash of the first token, of the first two, and so on."""
    return itertools.accumulate(tokens, lambda before, token: hash((before, token)))
