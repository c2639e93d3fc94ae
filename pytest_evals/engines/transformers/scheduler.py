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

KEEP_SHARE = 0.2
"""Share of the cells that what nobody reads may take from slots which are larger than they need to be now."""
FEW = 8
"""Of rows that arrive in so small a number, more like them may follow soon: what they compute is kept for these at once."""


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
R_contra = TypeVar("R_contra", bound=Schedulable, contravariant=True)


class Shelf(Protocol[R_contra]):
    """Where keys and values are: slots of rows, and what is stored of stretches."""

    @property
    def size(self) -> int:
        """Cells of all slots."""
        ...

    def keep(self, row: R_contra, prefix: Prefix) -> None:
        """Store a stretch of what a row has computed; the row may have left its slot just now."""
        ...

    def split(self, upper: Prefix, lower: Prefix) -> None:
        """Divide what is stored of ``lower``, of which the first tokens have become those of ``upper``."""
        ...

    def drop(self, prefix: Prefix) -> None:
        """Free what is stored of a stretch."""
        ...


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

    ``admitted`` rows take a slot first; ``waits`` is a row that begins when its prefix, of which pieces are computed now,
    is there. Slots may take up to ``limit`` cells together; as many as ``ahead`` rows may soon want one.
    """

    decode: list[R] = field(default_factory=list)
    pieces: list[Piece[R]] = field(default_factory=list)
    admitted: list[R] = field(default_factory=list)
    waits: R | None = None
    limit: int | None = None
    ahead: int = 0

    def __bool__(self) -> bool:
        return bool(self.decode or self.pieces)

    @property
    def rows(self) -> list[R]:
        """Every row that takes part."""
        filled = (piece.target for piece in self.pieces if not isinstance(piece.target, Prefix))
        return [*self.decode, *filled, *([] if self.waits is None else [self.waits])]


class Scheduler(Generic[R]):
    """Makes the plan of each forward. On a ``shelf`` what finished rows computed is kept while there is room for it."""

    def __init__(self, budget: Budget, shelf: Shelf[R] | None = None) -> None:
        self.budget = budget
        self.prefixes = PrefixForest(shelf.split if shelf else None)
        self._shelf = shelf
        self._waiting: list[tuple[tuple[int, ...], R]] = []
        self._retries: deque[list[R]] = deque()
        self._group: deque[R] | None = None
        self._decoding: list[R] = []
        self._filling: tuple[R, int] | None = None
        self._opening: R | None = None
        self._planned = 0
        self._early: set[int] = set()
        self._full: Budget | None = None
        self._arrivals = itertools.count()

    def __bool__(self) -> bool:
        under_way = self._decoding or self._filling or self._opening is not None
        return bool(self._waiting or self._retries or self._group or under_way)

    def add(self, rows: Sequence[R]) -> None:
        """Take rows that arrived together."""
        self.prefixes.attach(rows)
        for row in rows:
            heapq.heappush(self._waiting, (self._priority(row), row))
        if self._shelf and len(rows) < FEW:
            self._early.update(id(row) for row in rows if row.generates)

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
        self._planned = 0
        room = self.budget.tokens
        if self._opening is not None:
            room -= self._start(plan, self._opening, room)
        elif self._filling:
            room -= self._fill(plan, *self._filling, room)
        while room > 0 and not self._busy and (row := self._next(plan)) is not None:
            room -= self._start(plan, row, room)
        self._make_room(plan)
        return plan

    @property
    def _busy(self) -> bool:
        """Tell whether a row is in pieces, or its prefix: nobody is begun beside it."""
        return self._filling is not None or self._opening is not None

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
        if self._shelf:
            self.prefixes.deepen(row)
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
        if len(rows) == 1:
            return True
        planned = {id(piece.target) for piece in plan.pieces}
        more = sum(
            len(prefix.tokens) - (prefix.stored if prefix.holders else 0)
            for prefix in (row.prefix.path if row.prefix else ())
            if id(prefix) not in planned
        )
        # What nobody reads makes room: see `_make_room`.
        kept = self.prefixes.used + self._planned + more
        return len(rows) <= self.budget.rows and _slots(rows) + kept <= self.budget.cells

    def _start(self, plan: Plan[R], row: R, room: int) -> int:
        """Plan the row's missing prefixes and its first piece; return the tokens of both.

        What does not fit into the forward is left to the next one.
        """
        used = 0
        self._opening = None
        self.prefixes.hold(row)
        for prefix in row.prefix.path if row.prefix else ():
            if prefix.done or any(piece.target is prefix for piece in plan.pieces):
                continue
            begin = prefix.start + prefix.stored
            piece: Piece[R] = Piece(prefix, begin, min(prefix.end, begin + max(1, room - used)), last=False)
            piece.last = piece.end == prefix.end
            plan.pieces.append(piece)
            used += piece.end - begin
            self._planned += piece.end - begin
            if not piece.last:
                self._opening = plan.waits = row
                return max(used, room)
        begin = row.prefix.end if row.prefix else 0
        if not row.generates:
            return used + self._score(plan, row, begin, room - used if used else None)
        plan.admitted.append(row)
        return used + self._fill(plan, row, begin, max(1, room - used))

    def _score(self, plan: Plan[R], row: R, begin: int, room: int | None) -> int:
        """Plan a row that is only scored, which is not cut; after its prefix only if it fits into ``room``."""
        tokens = len(row.tokens) - begin
        if room is not None and tokens > room:
            self._opening = plan.waits = row
            return max(tokens, room)
        plan.pieces.append(Piece(row, begin, len(row.tokens), last=True))
        return tokens

    def _fill(self, plan: Plan[R], row: R, begin: int, room: int) -> int:
        end = min(len(row.tokens), begin + room)
        last = end == len(row.tokens)
        plan.pieces.append(Piece(row, begin, end, last))
        self._filling = None if last else (row, end)
        return end - begin

    def _make_room(self, plan: Plan[R]) -> None:
        """Drop what nobody reads and what the plan leaves no room for.

        Sets the cells that slots may come to, so that everything together stays within the budget.
        """
        rows = [row for row in plan.rows if row.generates]
        needed = self.prefixes.used + self._planned
        self._drop_all_but(self._spare(needed, _slots(rows)))
        plan.limit = self.budget.cells - needed - self.prefixes.unused
        plan.ahead = min(self.budget.rows, len(rows) + len(self._waiting))

    def _spare(self, used: int, needed: int) -> int:
        """Return the cells that are left for what nobody reads, beside slots of which so many cells are needed."""
        cells, slots = self.budget.cells, self._shelf.size if self._shelf else 0
        return max(cells - used - max(slots, needed), min(int(cells * KEEP_SHARE), cells - used - needed))

    def _drop_all_but(self, cells: int) -> None:
        for prefix in self.prefixes.forget_unused(cells):
            if self._shelf:
                self._shelf.drop(prefix)

    def clear(self) -> None:
        """Drop everything that nobody reads."""
        self._drop_all_but(0)

    # -- what came of it

    def done(self, plan: Plan[R], finished: Iterable[R]) -> None:
        """Take note that the forward was computed; ``finished`` rows leave."""
        finished = list(finished)
        for piece in plan.pieces:
            if isinstance(piece.target, Prefix):
                self.prefixes.store(piece.target, piece.end - piece.target.start)
            elif piece.last and piece.target.generates:
                self._decoding.append(piece.target)
        leaving = set(map(id, finished))
        self._decoding = [row for row in self._decoding if id(row) not in leaving]
        if self._shelf:
            self._keep_from(plan, finished, self._shelf)
        for row in finished:
            self.prefixes.release(row)
        self._drop_all_but(self._spare(self.prefixes.used, _slots(self._decoding)))
        if self._group is not None and not (self._group or self._decoding or self._busy):
            self._group = None
            if not self._retries:
                self._full = None

    def _keep_from(self, plan: Plan[R], finished: Sequence[R], shelf: Shelf[R]) -> None:
        """Have what rows have computed stored, as far as there is room: of those that leave, and of early ones their
        prompts.
        """
        filled = [piece.target for piece in plan.pieces if piece.last and not isinstance(piece.target, Prefix)]
        early = [row for row in filled if id(row) in self._early]
        self._early.difference_update(map(id, early))
        leaving = [row for row in finished if row.generates]
        spare = self._spare(self.prefixes.used, _slots(self._decoding))
        for row in {id(row): row for row in [*early, *leaving]}.values():
            # One after the other: what is kept of one may be cut for the next.
            size = len(row.left) - (row.prefix.end if row.prefix else 0)
            self._drop_all_but(spare - size)
            if size <= spare and (prefix := self.prefixes.keep(row)) is not None:
                shelf.keep(row, prefix)

    def failed(self, plan: Plan[R], *, shrink: bool, ended: Iterable[R] = ()) -> list[R]:
        """Take back the rows of a forward that failed, to be tried again as two groups; return them.

        Keys and values are taken to be lost, those of prefixes too. Rows that had ``ended`` when it failed are done.
        With ``shrink`` there was not enough memory: no later batch may be as large. A row that failed alone is not
        tried again; if even alone it had not enough memory, that says nothing of batches without it.
        """
        leaving = list(ended)
        gone = set(map(id, leaving))
        rows = [row for row in plan.rows if id(row) not in gone]
        alone = len(plan.rows) == 1
        self._decoding, self._filling, self._opening = [], None, None
        self._early.clear()
        for row in plan.rows:
            self.prefixes.let_go(row)
        self.prefixes.lose()
        middle = (len(rows) + 1) // 2
        groups = [] if alone else [group for group in (rows[:middle], rows[middle:]) if group]
        left = [list(self._group)] if self._group else []
        self._retries.extendleft(reversed([*groups, *left]))
        self._group = None
        for row in [*leaving, *(rows if alone else [])]:
            self.prefixes.release(row)
        if shrink:
            self._shrink(middle, alone=alone)
        if not self._retries:
            self._full = None
        return rows

    def _shrink(self, rows: int, *, alone: bool) -> None:
        if alone and self._full is not None:
            self.budget = self._full
            return
        limit = self.budget
        self._full = self._full or limit
        if not alone:
            smaller = max(1, min(limit.rows, rows))
            self.budget = Budget(smaller, limit.cells, max(64, limit.tokens // 2), limit.cascade)


def _slots(rows: Sequence[Schedulable]) -> int:
    """Return the cells of slots for these rows, each as long as the longest."""
    return len(rows) * max((row.cells - row.shared for row in rows), default=0)
