"""Which rows are computed together. Pure policy: lengths in, batches out."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

WINDOW = 4
"""Rows are sorted by length among this many batches of neighbours: little padding, and results still come about in
order.
"""


class Sized(Protocol):
    """What the scheduler knows of a row: its length now, and how many tokens it may still get."""

    @property
    def prompt_tokens(self) -> int:
        """Tokens to prefill."""
        ...

    @property
    def max_new_tokens(self) -> int:
        """Tokens that may be generated."""
        ...


R = TypeVar("R", bound=Sized)


@dataclass(frozen=True, slots=True)
class Budget:
    """What one batch may take: so many rows, and so many cells of a cache padded to its longest row."""

    rows: int
    cells: int


class Scheduler(Generic[R]):
    """Forms batches: longest rows first in a window, as many as the budget allows, one at least."""

    def __init__(self, budget: Budget) -> None:
        self.budget = budget
        self._waiting: deque[R] = deque()
        self._window: deque[R] = deque()
        self._retries: deque[list[R]] = deque()

    def add(self, rows: Iterable[R]) -> None:
        """Take rows that arrived."""
        self._waiting.extend(rows)

    def __bool__(self) -> bool:
        return bool(self._waiting or self._window or self._retries)

    def next_batch(self) -> list[R]:
        """Return the rows to compute next; empty when nothing waits."""
        if self._retries:
            return self._retries.popleft()
        if not self._window:
            size = min(len(self._waiting), WINDOW * self.budget.rows)
            neighbours = [self._waiting.popleft() for _ in range(size)]
            # Longest first: what does not fit in memory shows at once, and an estimate of the rest errs on the safe
            # side.
            self._window.extend(sorted(neighbours, key=lambda row: row.prompt_tokens, reverse=True))
        batch: list[R] = []
        while self._window and self._fits([*batch, self._window[0]]):
            batch.append(self._window.popleft())
        if self._window and not batch:
            batch.append(self._window.popleft())
        return batch

    def _fits(self, rows: Sequence[R]) -> bool:
        longest = max(row.prompt_tokens for row in rows) + max(row.max_new_tokens for row in rows)
        return len(rows) <= self.budget.rows and len(rows) * longest <= self.budget.cells

    def halve(self, rows: Sequence[R], *, shrink: bool) -> None:
        """Take back rows of a batch that failed, to be tried as two; ``shrink`` lets no later batch be as large."""
        middle = (len(rows) + 1) // 2
        self._retries.extendleft([list(half) for half in (rows[middle:], rows[:middle]) if half])
        if shrink:
            self.budget = Budget(max(1, min(self.budget.rows, middle)), self.budget.cells)
