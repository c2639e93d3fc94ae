"""Which rows begin with the same tokens: what they share is computed once. Pure policy on token ids.

Shared beginnings form trees: a system prompt shared by all rows, below it a few-shot block shared by one suite, and so
on. A `Prefix` is one stretch of such a path; its keys and values live in `slots`.
"""

from __future__ import annotations

import itertools
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

LEAST_TOKENS = 8
"""A stretch shorter than this is not worth a place of its own."""
LEAST_SAVED = 32
"""Nor is one that saves less computation than this many tokens."""


class Sharing(Protocol):
    """What is read and set of a row: its tokens, how many of them others may compute, and the path that it is given."""

    prefix: Prefix | None

    @property
    def tokens(self) -> Sequence[int]:
        """Tokens to compute before the first new one."""
        ...

    @property
    def shareable(self) -> int:
        """The row computes the tokens from here on itself: their logits are wanted."""
        ...


@dataclass(eq=False, slots=True)
class Prefix:
    """A stretch of tokens that several rows share, after those of ``parent``.

    ``start`` is the position of its first token. ``users`` counts rows that wait or run below it, ``done`` tells
    whether its keys and values are there, ``serial`` which stretch was found first.
    """

    tokens: tuple[int, ...]
    parent: Prefix | None = None
    start: int = 0
    users: int = 0
    done: bool = False
    serial: int = 0
    children: list[Prefix] = field(default_factory=list, repr=False)

    @property
    def end(self) -> int:
        """The position after the last token."""
        return self.start + len(self.tokens)

    @property
    def path(self) -> list[Prefix]:
        """The stretches from the root to this one."""
        above = self.parent.path if self.parent else []
        return [*above, self]


class PrefixForest:
    """The trees of shared beginnings, grown as rows arrive."""

    def __init__(self) -> None:
        self._roots: list[Prefix] = []
        self._serial = itertools.count()

    @property
    def cells(self) -> int:
        """Tokens whose keys and values are kept."""
        return self.cells_with(())

    def cells_with(self, planned: Collection[Prefix]) -> int:
        """Return the tokens whose keys and values are kept once ``planned`` is computed too."""
        return sum(len(prefix.tokens) for prefix in self.all() if prefix.done or prefix in planned)

    def attach(self, rows: Sequence[Sharing]) -> None:
        """Give each of the new rows its path: what is there already, and below it what the new rows share."""
        below: dict[int, tuple[Prefix | None, list[Sharing]]] = {}
        for row in rows:
            found = self._find(row)
            below.setdefault(id(found), (found, []))[1].append(row)
        for parent, members in below.values():
            self._grow(parent, members)
        for row in rows:
            for prefix in row.prefix.path if row.prefix else ():
                prefix.users += 1

    def release(self, row: Sharing) -> None:
        """Take a row's path back, when it is done."""
        for prefix in row.prefix.path if row.prefix else ():
            prefix.users -= 1
        row.prefix = None

    def forget_unused(self, cells: int) -> list[Prefix]:
        """Drop unused stretches, oldest first, until no more than ``cells`` tokens are kept; return what was dropped.

        Those that were never computed are dropped in any case.
        """
        dropped: list[Prefix] = []
        excess = self.cells - cells
        for prefix in reversed(self.all()):
            if prefix.users or prefix.children or (prefix.done and excess <= 0):
                continue
            (prefix.parent.children if prefix.parent else self._roots).remove(prefix)
            dropped.append(prefix)
            excess -= len(prefix.tokens) if prefix.done else 0
        return dropped

    def all(self) -> list[Prefix]:
        """Every stretch, parents before children, younger trees first."""
        found = list(reversed(self._roots))
        for prefix in found:
            found.extend(prefix.children)
        return found

    def _find(self, row: Sharing) -> Prefix | None:
        """Return the deepest stretch that the row's tokens go through."""
        found: Prefix | None = None
        candidates = self._roots
        tokens = row.tokens
        while candidates:
            following = next(
                (prefix for prefix in candidates if self._goes_through(tokens, row.shareable, prefix)), None
            )
            if following is None:
                return found
            found, candidates = following, following.children
        return found

    @staticmethod
    def _goes_through(tokens: Sequence[int], shareable: int, prefix: Prefix) -> bool:
        return prefix.end <= shareable and tuple(tokens[prefix.start : prefix.end]) == prefix.tokens

    def _grow(self, parent: Prefix | None, rows: Sequence[Sharing]) -> None:
        """Find what ``rows`` share below ``parent``; the longest paths win."""
        ordered = sorted(rows, key=lambda row: tuple(row.tokens))
        common = common_lengths(ordered)
        # Each entry: neighbours in sorted order that are known to share everything up to their stretch's end.
        work: list[tuple[int, int, Prefix | None]] = [(0, len(ordered), parent)]
        while work:
            low, high, above = work.pop()
            if high - low < 2:
                for row in ordered[low:high]:
                    row.prefix = above
                continue
            least = min(common[low : high - 1])
            node = self._stretch(ordered[low], above, least, high - low)
            cuts = [index + 1 for index in range(low, high - 1) if common[index] == least]
            edges = [low, *cuts, high]
            work.extend((begin, end, node) for begin, end in itertools.pairwise(edges))

    def _stretch(self, row: Sharing, above: Prefix | None, end: int, members: int) -> Prefix | None:
        """Return a new stretch up to ``end``, or ``above`` when it would not pay."""
        start = above.end if above else 0
        length = end - start
        if length < LEAST_TOKENS or length * (members - 1) < LEAST_SAVED:
            return above
        node = Prefix(tuple(row.tokens[start:end]), above, start, serial=next(self._serial))
        (above.children if above else self._roots).append(node)
        return node


def common_lengths(rows: Sequence[Sharing]) -> list[int]:
    """Return how many tokens each row shares with the next one, in ``rows`` sorted by their tokens."""
    arrays = [np.asarray(row.tokens[: row.shareable], dtype=np.int64) for row in rows]
    return [_common(first, second) for first, second in itertools.pairwise(arrays)]


def _common(
    first: np.ndarray[tuple[int], np.dtype[np.int64]], second: np.ndarray[tuple[int], np.dtype[np.int64]]
) -> int:
    length = min(len(first), len(second))
    different = first[:length] != second[:length]
    return int(different.argmax()) if different.any() else length


def unshared_tokens(rows: Iterable[Sharing]) -> int:
    """Return the tokens that ``rows`` compute themselves, beyond their paths."""
    return sum(len(row.tokens) - (row.prefix.end if row.prefix else 0) for row in rows)
