"""What failed together is tried again in smaller company: rows of forwards that failed, and how large batches may be then."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import replace
from typing import Generic

from pytest_evals.engines.transformers.plans import Budget, R

_LEAST_TOKENS = 64


class Retries(Generic[R]):
    """Groups of rows, each tried when nothing else is under way; nobody joins a group."""

    def __init__(self) -> None:
        self._groups: deque[list[R]] = deque()
        self._group: deque[R] | None = None
        self._full: Budget | None = None

    def __bool__(self) -> bool:
        return bool(self._groups or self._group)

    @property
    def under_way(self) -> bool:
        """Tell whether nobody else may begin: a group is tried, or waits to be."""
        return self._group is not None or bool(self._groups)

    def next(self, *, idle: bool) -> R | None:
        """Return the next row that may begin; the next group begins when the forward is ``idle`` without it."""
        if self._group is None and self._groups and idle:
            self._group = deque(self._groups.popleft())
        return self._group.popleft() if self._group else None

    def done(self, *, idle: bool) -> None:
        """Take note that a forward was computed, and whether that left nothing under way."""
        if self._group is not None and not self._group and idle:
            self._group = None
            self.settle()

    def add(self, rows: Sequence[R], *, alone: bool) -> None:
        """Have the rows of a forward that failed tried as two groups, before what waits; one that was ``alone`` is not."""
        middle = half(rows)
        groups = [] if alone else [group for group in (list(rows[:middle]), list(rows[middle:])) if group]
        left = [list(self._group)] if self._group else []
        self._groups.extendleft(reversed([*groups, *left]))
        self._group = None

    def shrunk(self, budget: Budget, rows: int, *, alone: bool) -> Budget:
        """Return the budget after a forward had not enough memory: no more than so many ``rows``.

        What had not enough even ``alone`` says nothing of batches without it: they may be as large as they were.
        """
        if alone and self._full is not None:
            return self._full
        self._full = self._full or budget
        if alone:
            return budget
        return replace(budget, rows=max(1, min(budget.rows, rows)), tokens=max(_LEAST_TOKENS, budget.tokens // 2))

    def settle(self) -> None:
        """Forget how large batches were, where nothing is left to try."""
        if not self._groups:
            self._full = None


def half(rows: Sequence[R]) -> int:
    """Return the size of the first of two groups."""
    return (len(rows) + 1) // 2
