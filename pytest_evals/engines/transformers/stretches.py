"""A stretch of tokens that rows share, and what is read and set of a row that shares some."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

from pytest_evals.engines.transformers.siblings import Siblings


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

    @property
    def left(self) -> Sequence[int]:
        """Tokens whose keys and values are in the row's slot, or in its path."""
        ...


@dataclass(eq=False, slots=True)
class Prefix:
    """A stretch of tokens that several rows share, after those of ``parent``.

    ``start`` is the position of its first token. ``users`` counts rows that wait or run below it, ``holders`` those of
    them that run and read it, ``stored`` how many of its tokens have their keys and values, ``serial`` which stretch was
    found first. ``kept``: a row computed it for itself, and left it. The numbers are changed by the forest and its files alone.
    """

    tokens: tuple[int, ...]
    parent: Prefix | None = None
    start: int = 0
    users: int = 0
    holders: int = 0
    stored: int = 0
    serial: int = 0
    kept: bool = False
    children: Siblings[Prefix] = field(default_factory=Siblings, repr=False)

    @property
    def end(self) -> int:
        """The position after the last token."""
        return self.start + len(self.tokens)

    @property
    def done(self) -> bool:
        """Tell whether all keys and values are there."""
        return self.stored == len(self.tokens)

    @property
    def path(self) -> list[Prefix]:
        """The stretches from the root to this one."""
        found = [self]
        while found[-1].parent is not None:
            found.append(found[-1].parent)
        return found[::-1]


def kept_tokens(row: Sharing) -> int:
    """Return how many tokens of a row's path other rows computed for themselves, and left."""
    return sum(len(prefix.tokens) for prefix in row.prefix.path if prefix.kept) if row.prefix else 0
