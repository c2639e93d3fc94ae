"""What is planned for one forward, and what its planner sees of rows, budget and shelf. There are no tensors here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Generic, Protocol, TypeVar

from pytest_evals.engines.transformers.scheduling.prefix_tree import PrefixNode, Sharing


class Schedulable(Sharing, Protocol):
    """What the scheduler knows and sets of a row. ``shared``: this many of its first cells are kept in prefixes."""

    shared: int

    @property
    def cells(self) -> int:
        """Tokens that the row may come to: the prompt, and all that may be generated."""
        ...

    @property
    def generates(self) -> bool:
        """Tell whether the row decodes; one that is only scored is finished when it is filled, and takes no slot."""
        ...


R = TypeVar("R", bound=Schedulable)
R_contra = TypeVar("R_contra", bound=Schedulable, contravariant=True)


class KVStore(Protocol[R_contra]):
    """Where keys and values are: slots of rows, and what is stored of stretches."""

    @property
    def size(self) -> int:
        """Cells of all slots."""
        ...

    def keep(self, row: R_contra, prefix: PrefixNode) -> None:
        """Store a stretch of what a row has computed; the row may have left its slot just now."""
        ...

    def split(self, upper: PrefixNode, lower: PrefixNode) -> None:
        """Divide what is stored of ``lower``, whose first tokens have become those of ``upper``."""
        ...

    def drop(self, prefix: PrefixNode) -> None:
        """Free what is stored of a stretch."""
        ...


@dataclass(frozen=True, slots=True)
class BatchLimits:
    """What may be under way at once.

    Args:
        rows: Rows that decode together.
        cells: Tokens whose keys and values fit in memory: slots times the longest row, and prefixes.
        tokens: Prompt tokens that one forward computes, beside one token of each row that decodes.
        cascade: A prefix of this many tokens, times the rows below it, is attended to where it is; a smaller one is
            copied into each row's slot. `None`: all are copied.
    """

    rows: int
    cells: int
    tokens: int = 1024
    cascade: int | None = 4096


@dataclass(slots=True)
class PrefillChunk(Generic[R]):
    """Tokens to compute: positions ``begin`` to ``end`` of a row or a prefix. ``last``: then it is filled."""

    target: R | PrefixNode
    begin: int
    end: int
    last: bool


@dataclass(slots=True)
class SchedulerOutput(Generic[R]):
    """The work of one forward: ``decode`` rows get their next token, ``pieces`` are computed beside them.

    ``admitted`` rows take a slot first; ``waits`` is a row that begins when its prefix is there; pieces of that prefix are
    computed now. Slots may take up to ``limit`` cells together; as many as ``ahead`` rows may soon want one.
    """

    decode: list[R] = field(default_factory=list)
    pieces: list[PrefillChunk[R]] = field(default_factory=list)
    admitted: list[R] = field(default_factory=list)
    waits: R | None = None
    limit: int | None = None
    ahead: int = 0

    def __bool__(self) -> bool:
        return bool(self.decode or self.pieces)

    @property
    def rows(self) -> list[R]:
        """Every row that takes part."""
        filled = (piece.target for piece in self.pieces if not isinstance(piece.target, PrefixNode))
        return [*self.decode, *filled, *([] if self.waits is None else [self.waits])]


def slots_of(rows: Sequence[Schedulable]) -> int:
    """Return the cells of slots for those of ``rows`` that take one, each as long as the longest."""
    lengths = [row.cells - row.shared for row in rows if row.generates]
    return len(lengths) * max(lengths, default=0)
