"""A stretch of tokens that rows share, and what is read and set of a row that shares some."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Generic, Protocol, TypeVar

import numpy as np

# -- Stretches that begin at the same place, looked up by the tokens with which they begin.

LEAST_TOKENS = 8
"""A stretch shorter than this is not worth a place of its own, so this many tokens are there to look one up by."""


class HasTokens(Protocol):
    """What is looked at of a stretch."""

    tokens: tuple[int, ...]


P = TypeVar("P", bound=HasTokens)


class ChildIndex(Generic[P]):
    """The stretches below one, or the roots of all trees, in the order in which they came."""

    def __init__(self) -> None:
        self._all: dict[int, P] = {}
        self._alike: dict[tuple[int, ...], list[P]] = {}

    def __iter__(self) -> Iterator[P]:
        return iter(self._all.values())

    def __len__(self) -> int:
        return len(self._all)

    def add(self, prefix: P) -> None:
        """Take a stretch in."""
        self._all[id(prefix)] = prefix
        self._alike.setdefault(prefix.tokens[:LEAST_TOKENS], []).append(prefix)

    def remove(self, prefix: P) -> None:
        """Let a stretch go, which has the tokens that it had when it came."""
        del self._all[id(prefix)]
        alike = self._alike[prefix.tokens[:LEAST_TOKENS]]
        alike.remove(prefix)
        if not alike:
            del self._alike[prefix.tokens[:LEAST_TOKENS]]

    def nearest(self, tokens: Sequence[int], start: int, end: int) -> tuple[P | None, int]:
        """Return the stretch that shares most with ``tokens`` from ``start`` to ``end``, and how many tokens it shares.

        At least `LEAST_TOKENS`, else none.
        """
        if end - start < LEAST_TOKENS:
            return None, 0
        alike = self._alike.get(tuple(tokens[start : start + LEAST_TOKENS]), ())
        found = [(prefix, shared_length(tokens, start, end, prefix.tokens)) for prefix in alike]
        return max(found, key=lambda pair: pair[1]) if found else (None, 0)


def shared_length(tokens: Sequence[int], start: int, end: int, stretch: Sequence[int]) -> int:
    """Return with how many of the tokens from ``start`` to ``end`` a ``stretch`` begins."""
    length = min(end - start, len(stretch))
    mine, theirs = tokens[start : start + length], stretch[:length]
    if tuple(mine) == tuple(theirs):
        return length
    return int((np.asarray(mine) != np.asarray(theirs)).argmax())


class Sharing(Protocol):
    """What is read and set of a row: its tokens, how many of them others may compute, and the path that it is given."""

    prefix: PrefixNode | None

    @property
    def tokens(self) -> Sequence[int]:
        """Tokens to compute before the first new one."""
        ...

    @property
    def shareable(self) -> int:
        """The row computes the tokens from here on itself: their logits are wanted."""
        ...

    @property
    def left(self) -> Sequence[int]:
        """Tokens whose keys and values are in the row's slot, or in its path."""
        ...


@dataclass(eq=False, slots=True)
class PrefixNode:
    """A stretch of tokens that several rows share, after those of ``parent``.

    ``start`` is the position of its first token. ``users`` counts rows that wait or run below it, ``holders`` those of
    them that run and read it, ``stored`` how many of its tokens have their keys and values, ``serial`` which stretch was
    found first. ``kept``: a row computed it for itself, and left it. The numbers are changed by the forest and its files alone.
    """

    tokens: tuple[int, ...]
    parent: PrefixNode | None = None
    start: int = 0
    users: int = 0
    holders: int = 0
    stored: int = 0
    serial: int = 0
    kept: bool = False
    children: ChildIndex[PrefixNode] = field(default_factory=ChildIndex, repr=False)

    @property
    def end(self) -> int:
        """The position after the last token."""
        return self.start + len(self.tokens)

    @property
    def done(self) -> bool:
        """Tell whether all keys and values are there."""
        return self.stored == len(self.tokens)

    @property
    def path(self) -> list[PrefixNode]:
        """The stretches from the root to this one."""
        found = [self]
        while found[-1].parent is not None:
            found.append(found[-1].parent)
        return found[::-1]


def kept_tokens(row: Sharing) -> int:
    """Return how many tokens of a row's path other rows computed for themselves, and left."""
    return sum(len(prefix.tokens) for prefix in row.prefix.path if prefix.kept) if row.prefix else 0


# -- How many tokens rows have in common at their beginning.


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
