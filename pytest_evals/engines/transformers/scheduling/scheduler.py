"""Who is computed when. Pure policy: lengths and token ids in, the work of one forward out; no tensor is seen here.

Rows wait, are admitted when memory allows, are filled (their prompt is computed, in pieces if it is long), then decode
one token a forward until they finish. What a finished row leaves free is given to the next one at once.
"""

from __future__ import annotations

import heapq
import itertools
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Generic

from pytest_evals.engines.transformers.scheduling.plan import (
    BatchLimits,
    KVStore,
    PrefillChunk,
    R,
    SchedulerOutput,
    slots_of,
)
from pytest_evals.engines.transformers.scheduling.prefix_cache import PrefixCache
from pytest_evals.engines.transformers.scheduling.prefix_tree import PrefixNode
from pytest_evals.engines.transformers.scheduling.retention import Retention


class Scheduler(Generic[R]):
    """Makes the plan of each forward. On a ``shelf`` what finished rows computed is kept while there is room for it."""

    def __init__(self, budget: BatchLimits, shelf: KVStore[R] | None = None) -> None:
        self.budget = budget
        self._keeping = Retention(shelf)
        self._retries: Retries[R] = Retries()
        self._waiting: list[tuple[tuple[int, ...], R]] = []
        self._decoding: list[R] = []
        self._filling: tuple[R, int] | None = None
        self._opening: R | None = None
        self._planned = 0
        self._arrivals = itertools.count()

    def __bool__(self) -> bool:
        return bool(self._waiting or self._retries or self._decoding or self._busy)

    @property
    def prefixes(self) -> PrefixCache:
        """What rows share."""
        return self._keeping.prefixes

    def add(self, rows: Sequence[R]) -> None:
        """Take rows that arrived together."""
        self._keeping.attach(rows)
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

    def plan(self) -> SchedulerOutput[R]:
        """Return the next forward's work; it is empty only when nothing is left to do."""
        plan: SchedulerOutput[R] = SchedulerOutput(decode=list(self._decoding))
        self._planned = 0
        room = self.budget.tokens
        if self._opening is not None:
            room -= self._start(plan, self._opening, room)
        elif self._filling:
            room -= self._fill(plan, *self._filling, room)
        while room > 0 and not self._busy and (row := self._next(plan)) is not None:
            room -= self._start(plan, row, room)
        self._keeping.make_room(plan, self.budget.cells, self._planned)
        plan.ahead = min(self.budget.rows, sum(row.generates for row in plan.rows) + len(self._waiting))
        return plan

    @property
    def _busy(self) -> bool:
        """Tell whether a row or its prefix is in pieces: no other row begins beside it."""
        return self._filling is not None or self._opening is not None

    def _next(self, plan: SchedulerOutput[R]) -> R | None:
        """Return the next row, if one may start now."""
        retried = self._retries.next(idle=not plan)
        if retried is not None or self._retries.under_way or not self._waiting:
            return retried
        row = self._waiting[0][1]
        self._keeping.deepen(row)
        self._share(row)
        if (row.generates or self._is_cut(row)) and not self._fits(row, plan):
            return None
        heapq.heappop(self._waiting)
        return row

    def _share(self, row: R) -> None:
        """Decide which of the row's prefixes are attended to where they are: down to the last that is worth it."""
        row.shared = 0
        for prefix in row.prefix.path if row.prefix else ():
            if self.budget.cascade is not None and len(prefix.tokens) * prefix.users >= self.budget.cascade:
                row.shared = prefix.end

    def _fits(self, row: R, plan: SchedulerOutput[R]) -> bool:
        # Every row with a slot: a row in pieces is not admitted in this plan, and does not decode before the next.
        others = [each for each in plan.rows if each.generates]
        if not others:
            return True
        rows = [*others, row] if row.generates else others
        planned = {id(piece.target) for piece in plan.pieces}
        more = sum(
            len(prefix.tokens) - (prefix.stored if prefix.holders else 0)
            for prefix in (row.prefix.path if row.prefix else ())
            if id(prefix) not in planned
        )
        # What no row reads makes room: see `Retention.make_room`.
        kept = self.prefixes.used + self._planned + more + (0 if row.generates else _own_tokens(row))
        return len(rows) <= self.budget.rows and slots_of(rows) + kept <= self.budget.cells

    def _start(self, plan: SchedulerOutput[R], row: R, room: int) -> int:
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
            piece: PrefillChunk[R] = PrefillChunk(
                prefix, begin, min(prefix.end, begin + max(1, room - used)), last=False
            )
            piece.last = piece.end == prefix.end
            plan.pieces.append(piece)
            used += piece.end - begin
            self._planned += piece.end - begin
            if not piece.last:
                self._opening = plan.waits = row
                return max(used, room)
        begin = row.prefix.end if row.prefix else 0
        if row.generates:
            plan.admitted.append(row)
        elif not self._is_cut(row):
            return used + self._score(plan, row, begin, room - used if used else None)
        return used + self._fill(plan, row, begin, max(1, room - used))

    def _is_cut(self, row: R) -> bool:
        """Tell whether a row that is only scored is too long for one forward."""
        return not row.generates and _own_tokens(row) > self.budget.tokens

    def _score(self, plan: SchedulerOutput[R], row: R, begin: int, room: int | None) -> int:
        """Plan a row that is only scored, in one piece; after its prefix only if it fits into ``room``."""
        tokens = len(row.tokens) - begin
        if room is not None and tokens > room:
            self._opening = plan.waits = row
            return max(tokens, room)
        plan.pieces.append(PrefillChunk(row, begin, len(row.tokens), last=True))
        return tokens

    def _fill(self, plan: SchedulerOutput[R], row: R, begin: int, room: int) -> int:
        end = min(len(row.tokens), begin + room)
        last = end == len(row.tokens)
        plan.pieces.append(PrefillChunk(row, begin, end, last))
        self._filling = None if last else (row, end)
        if not row.generates:
            # It has no slot: what is computed of it is stored aside until it is done.
            self._planned += _own_tokens(row)
        return end - begin

    def clear(self) -> None:
        """Drop everything that no row reads."""
        self._keeping.clear()

    # -- what came of it

    def done(self, plan: SchedulerOutput[R], finished: Iterable[R]) -> None:
        """Take note that the forward was computed; ``finished`` rows leave."""
        finished = list(finished)
        for piece in plan.pieces:
            if isinstance(piece.target, PrefixNode):
                self.prefixes.store(piece.target, piece.end - piece.target.start)
            elif piece.last and piece.target.generates:
                self._decoding.append(piece.target)
        leaving = set(map(id, finished))
        self._decoding = [row for row in self._decoding if id(row) not in leaving]
        self._keeping.take_from(plan, finished, self.budget.cells, self._decoding)
        for row in finished:
            self.prefixes.release(row)
        self._keeping.trim(self.budget.cells, self._decoding)
        self._retries.done(idle=not (self._decoding or self._busy))

    def failed(self, plan: SchedulerOutput[R], *, shrink: bool, ended: Iterable[R] = ()) -> list[R]:
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
        self._keeping.lose(plan.rows)
        self._retries.add(rows, alone=alone)
        for row in [*leaving, *(rows if alone else [])]:
            self.prefixes.release(row)
        if shrink:
            self.budget = self._retries.shrunk(self.budget, half(rows), alone=alone)
        self._retries.settle()
        return rows


def _own_tokens(row: R) -> int:
    """Return how many tokens the row computes itself."""
    return len(row.tokens) - (row.prefix.end if row.prefix else 0)


# -- What failed together is tried again in smaller company: rows of forwards that failed, and how large batches may be then.

_LEAST_TOKENS = 64


class Retries(Generic[R]):
    """Groups of rows, each tried when nothing else is under way; no row joins a group."""

    def __init__(self) -> None:
        self._groups: deque[list[R]] = deque()
        self._group: deque[R] | None = None
        self._full: BatchLimits | None = None

    def __bool__(self) -> bool:
        return bool(self._groups or self._group)

    @property
    def under_way(self) -> bool:
        """Tell whether no other row may begin: a group is tried, or waits to be."""
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

    def shrunk(self, budget: BatchLimits, rows: int, *, alone: bool) -> BatchLimits:
        """Return the budget after a forward ran out of memory: no more than this many ``rows``.

        What ran out even ``alone`` says nothing about batches without it: they may be as large as they were.
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
