"""Which texts are computed together: of similar length, as many as fit. Policy without tensors."""

from __future__ import annotations

import bisect
from collections.abc import Sequence
from typing import Generic, TypeVar

T = TypeVar("T")

TOKENS = {"cpu": 2048, "cuda": 32_768, "mps": 8192}
"""Tokens of a batch, padding counted. On a CPU a larger one is not faster, and pads more."""
ROWS = 512
"""Texts of a batch at most."""


class LengthSortedQueue(Generic[T]):
    """Texts that wait, by length. A batch takes the longest and those next to it, until padded they are ``tokens``.

    The longest go first: what does not fit in memory shows at once. ``padded`` off puts texts of one length together alone,
    and ``rows`` is the most of a batch.
    """

    def __init__(self, tokens: int, rows: int = ROWS, *, padded: bool = True) -> None:
        self.tokens = tokens
        self._rows = rows
        self._padded = padded
        self._waiting: list[tuple[int, int, T]] = []
        self._number = 0

    def __bool__(self) -> bool:
        return bool(self._waiting)

    def __len__(self) -> int:
        return len(self._waiting)

    def add(self, length: int, entry: T) -> None:
        """Add a text of this many tokens."""
        # The number decides between equal lengths: first come, first served.
        self._number -= 1
        bisect.insort(self._waiting, (length, self._number, entry), key=lambda each: each[:2])

    def take(self) -> Sequence[T]:
        """Return the next batch; nothing when none waits."""
        if not self._waiting:
            return []
        longest = self._waiting[-1][0]
        room = min(max(1, self.tokens // max(longest, 1)), self._rows)
        batch: list[T] = []
        while self._waiting and len(batch) < room and (self._padded or self._waiting[-1][0] == longest):
            batch.append(self._waiting.pop()[2])
        return batch
