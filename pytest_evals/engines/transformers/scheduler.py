"""Who is computed when. Pure policy: lengths and token ids in, the work of one forward out; no tensor is seen here.

Rows wait, are admitted when memory allows, are filled (their prompt is computed, in pieces if it is long), then decode
one token a forward until they finish. What a finished row leaves free is given to the next one at once.
"""

from __future__ import annotations

import heapq
import itertools
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Generic, Protocol, TypeVar

from pytest_evals.engines.transformers.prefixes import Prefix, PrefixForest, Sharing

KEEP_UNUSED = 0.25
"""Share of the cells that prefixes without users may keep, for rows that arrive later."""


class Schedulable(Sharing, Protocol):
    """What the scheduler knows and sets of a row. ``shared``: so many of its first cells are kept in prefixes."""

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


@dataclass(frozen=True, slots=True)
class Budget:
    """What may be under way at once.

    Args:
        rows: Rows that decode together.
        cells: Tokens whose keys and values fit in memory: slots times the longest row, and prefixes.
        tokens: Prompt tokens that one forward computes, beside one token of each row that decodes.
        cascade: A prefix of so many tokens, times the rows below it, is attended to where it is; a smaller one is
            copied into each row's slot. `None`: all are copied.
    """

    rows: int
    cells: int
    tokens: int = 1024
    cascade: int | None = 4096


@dataclass(slots=True)
class Piece(Generic[R]):
    """Tokens to compute: positions ``begin`` to ``end`` of a row or a prefix. ``last``: then it is filled."""

    target: R | Prefix
    begin: int
    end: int
    last: bool


@dataclass(slots=True)
class Plan(Generic[R]):
    """The work of one forward: ``decode`` rows get their next token, ``pieces`` are computed beside them.

    ``admitted`` rows take a slot first.
    """

    decode: list[R] = field(default_factory=list)
    pieces: list[Piece[R]] = field(default_factory=list)
    admitted: list[R] = field(default_factory=list)

    def __bool__(self) -> bool:
        return bool(self.decode or self.pieces)

    @property
    def rows(self) -> list[R]:
        """Every row that takes part."""
        return [*self.decode, *(piece.target for piece in self.pieces if not isinstance(piece.target, Prefix))]


class Scheduler(Generic[R]):
    """Makes the plan of each forward."""

    def __init__(self, budget: Budget) -> None:
        self.budget = budget
        self.prefixes = PrefixForest()
        self._waiting: list[tuple[tuple[int, ...], R]] = []
        self._retries: deque[list[R]] = deque()
        self._group: deque[R] | None = None
        self._decoding: list[R] = []
        self._filling: tuple[R, int] | None = None
        self._arrivals = itertools.count()

    def __bool__(self) -> bool:
        return bool(self._waiting or self._retries or self._group or self._decoding or self._filling)

    def add(self, rows: Sequence[R]) -> None:
        """Take rows that arrived together."""
        self.prefixes.attach(rows)
        for row in rows:
            heapq.heappush(self._waiting, (self._priority(row), row))

    def _priority(self, row: R) -> tuple[int, ...]:
        """The longest first, so that none is left alone at the end; among like lengths, rows of one prefix together.

        What is longest may also run out of memory: better at the start than after an hour.
        """
        tree = row.prefix.path[0].serial if row.prefix else -1
        new_tokens = row.cells - len(row.tokens)
        return (-new_tokens.bit_length(), tree, -len(row.tokens), next(self._arrivals))

    # -- one forward

    def plan(self) -> Plan[R]:
        """Return the next forward's work; it is empty only when nothing is left to do."""
        plan: Plan[R] = Plan(decode=list(self._decoding))
        room = self.budget.tokens
        if self._filling:
            room -= self._fill(plan, *self._filling, room)
        while room > 0 and self._filling is None and (row := self._next(plan)) is not None:
            room -= self._start(plan, row, room)
        return plan

    def _next(self, plan: Plan[R]) -> R | None:
        """Return the next row, if one may start now."""
        if self._group is None and self._retries and not plan:
            self._group = deque(self._retries.popleft())
        if self._group is not None:
            # What failed together is tried in smaller company, and nobody joins.
            return self._group.popleft() if self._group else None
        if self._retries or not self._waiting:
            return None
        row = self._waiting[0][1]
        self._share(row)
        if row.generates and not self._fits(row, plan):
            return None
        heapq.heappop(self._waiting)
        return row

    def _share(self, row: R) -> None:
        """Decide which of the row's prefixes are attended to where they are: down to the last that is worth it."""
        row.shared = 0
        for prefix in row.prefix.path if row.prefix else ():
            if self.budget.cascade is not None and len(prefix.tokens) * prefix.users >= self.budget.cascade:
                row.shared = prefix.end

    def _fits(self, row: R, plan: Plan[R]) -> bool:
        # Every row with a slot: a row in pieces is not admitted in this plan, and does not decode before the next.
        rows = [*(each for each in plan.rows if each.generates), row]
        slots = len(rows) * max(each.cells - each.shared for each in rows)
        stretches = [*(piece.target for piece in plan.pieces), *(row.prefix.path if row.prefix else ())]
        kept = self.prefixes.cells_with([each for each in stretches if isinstance(each, Prefix)])
        return len(rows) == 1 or (len(rows) <= self.budget.rows and slots + kept <= self.budget.cells)

    def _start(self, plan: Plan[R], row: R, room: int) -> int:
        """Plan the row's missing prefixes and its first piece; return the tokens of both."""
        used = 0
        for prefix in row.prefix.path if row.prefix else ():
            if not prefix.done and not any(piece.target is prefix for piece in plan.pieces):
                # A prefix is not cut: rows of the same forward read it whole.
                plan.pieces.append(Piece(prefix, prefix.start, prefix.end, last=True))
                used += len(prefix.tokens)
        begin = row.prefix.end if row.prefix else 0
        if not row.generates:
            plan.pieces.append(Piece(row, begin, len(row.tokens), last=True))
            return used + len(row.tokens) - begin
        plan.admitted.append(row)
        return used + self._fill(plan, row, begin, max(1, room - used))

    def _fill(self, plan: Plan[R], row: R, begin: int, room: int) -> int:
        end = min(len(row.tokens), begin + room)
        last = end == len(row.tokens)
        plan.pieces.append(Piece(row, begin, end, last))
        self._filling = None if last else (row, end)
        return end - begin

    # -- what came of it

    def done(self, plan: Plan[R], finished: Iterable[R]) -> None:
        """Take note that the forward was computed; ``finished`` rows leave."""
        finished = list(finished)
        for piece in plan.pieces:
            if isinstance(piece.target, Prefix):
                piece.target.done = True
            elif piece.last and piece.target.generates:
                self._decoding.append(piece.target)
        leaving = set(map(id, finished))
        self._decoding = [row for row in self._decoding if id(row) not in leaving]
        for row in finished:
            self.prefixes.release(row)
        if self._group is not None and not self._group and not self._decoding and not self._filling:
            self._group = None

    def forget_unused(self) -> list[Prefix]:
        """Drop prefixes that nobody uses and that take too much; return them."""
        return self.prefixes.forget_unused(int(self.budget.cells * KEEP_UNUSED))

    def failed(self, plan: Plan[R], *, shrink: bool) -> list[R]:
        """Take back the rows of a forward that failed, to be tried again as two groups; return them.

        Keys and values are taken to be lost, those of prefixes too. With ``shrink`` there was not enough memory: no
        later batch may be as large. A row that failed alone is not tried again.
        """
        rows = plan.rows
        self._decoding, self._filling = [], None
        for prefix in self.prefixes.all():
            prefix.done = False
        middle = (len(rows) + 1) // 2
        groups = [rows[:middle], rows[middle:]] if len(rows) > 1 else []
        left = [list(self._group)] if self._group else []
        self._retries.extendleft(reversed([*groups, *left]))
        self._group = None
        if len(rows) == 1:
            self.prefixes.release(rows[0])
        if shrink:
            limit = self.budget
            smaller = max(1, min(limit.rows, middle))
            self.budget = Budget(smaller, limit.cells, max(64, limit.tokens // 2), limit.cascade)
        return rows
