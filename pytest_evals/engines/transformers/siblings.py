"""Stretches that begin at the same place, looked up by the tokens with which they begin."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Generic, Protocol, TypeVar

import numpy as np

LEAST_TOKENS = 8
"""A stretch shorter than this is not worth a place of its own, so that so many tokens are there to look it up by."""


class HasTokens(Protocol):
    """What is looked at of a stretch."""

    tokens: tuple[int, ...]


P = TypeVar("P", bound=HasTokens)


class Siblings(Generic[P]):
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
