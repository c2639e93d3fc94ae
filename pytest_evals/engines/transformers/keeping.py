"""What stays in memory of what was computed: prefixes that rows read, and, while there is room, what finished rows left.

Pure policy, as `scheduler`: cells are counted here, and a `Shelf` holds what is in them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Generic

from pytest_evals.engines.transformers.plans import Plan, R, Shelf, slots_of
from pytest_evals.engines.transformers.prefixes import PrefixForest
from pytest_evals.engines.transformers.returning import Returns
from pytest_evals.engines.transformers.stretches import Prefix, kept_tokens

KEEP_SHARE = 0.2
"""Share of the cells that what nobody reads may take from slots which are larger than they need to be now."""
IDLE_SHARE = 0.05
"""Share of the cells that what no row waits for may take in any case: it may never be wanted, however much is free."""
FEW = 8
"""Of rows that arrive in so small a number, more like them may follow soon: what they compute is kept for these at once."""


class Keeping(Generic[R]):
    """The forest of prefixes and what is stored of it, on a ``shelf`` if there is one."""

    def __init__(self, shelf: Shelf[R] | None) -> None:
        self.prefixes = PrefixForest(shelf.split if shelf else None)
        self._shelf = shelf
        self._early: set[int] = set()
        self._returns = Returns()

    def attach(self, rows: Sequence[R]) -> None:
        """Give rows that arrived together their paths."""
        self.prefixes.attach(rows)
        for row in rows:
            self._returns.arrive(row)
        if self._shelf and len(rows) < FEW:
            self._early.update(id(row) for row in rows if row.generates)

    def deepen(self, row: R) -> None:
        """Give a row that waited what was stored meanwhile below its path."""
        if self._shelf:
            self.prefixes.deepen(row)

    def make_room(self, plan: Plan[R], cells: int, planned: int) -> None:
        """Drop what nobody reads and what ``plan`` leaves no room for; it stores ``planned`` cells beside slots.

        Sets the cells that slots may come to, so that everything together stays within ``cells``.
        """
        needed = self.prefixes.used + planned
        self._drop_all_but(self._spare(cells, needed, slots_of(plan.rows)), self._idle(cells))
        plan.limit = cells - needed - self.prefixes.unused

    def trim(self, cells: int, decoding: Sequence[R]) -> None:
        """Drop what nobody reads and what has no room beside rows that go on."""
        self._drop_all_but(self._spare(cells, self.prefixes.used, slots_of(decoding)), self._idle(cells))

    def take_from(self, plan: Plan[R], finished: Iterable[R], cells: int, decoding: Sequence[R]) -> None:
        """Have what rows have computed stored, as far as there is room: of those that leave, and of early ones their
        prompts.
        """
        if self._shelf is None:
            return
        filled = [piece.target for piece in plan.pieces if piece.last and not isinstance(piece.target, Prefix)]
        early = [row for row in filled if id(row) in self._early]
        self._early.difference_update(map(id, early))
        leaving = {id(row): row for row in finished if row.generates}
        spare, idle = self._spare(cells, self.prefixes.used, slots_of(decoding)), self._idle(cells)
        for row in ({id(row): row for row in early} | leaving).values():
            # One after the other: what is kept of one may be cut for the next.
            size = len(row.left) - (row.prefix.end if row.prefix else 0)
            if id(row) in leaving:
                self._returns.leave(row, size + kept_tokens(row))
            if size > min(spare, idle):
                continue
            self._drop_all_but(spare - size, idle - size)
            if (prefix := self.prefixes.keep(row)) is not None:
                self._shelf.keep(row, prefix)

    def lose(self, rows: Iterable[R]) -> None:
        """Take note that all keys and values are gone, those that ``rows`` read too."""
        self._early.clear()
        for row in rows:
            self.prefixes.let_go(row)
        self.prefixes.lose()

    def clear(self) -> None:
        """Drop everything that nobody reads."""
        self._drop_all_but(0, 0)

    @property
    def _slots(self) -> int:
        return self._shelf.size if self._shelf else 0

    def _spare(self, cells: int, used: int, needed: int) -> int:
        """Return the cells that are left for what nobody reads, beside slots of which so many cells are needed."""
        return max(cells - used - max(self._slots, needed), min(int(cells * KEEP_SHARE), cells - used - needed))

    def _idle(self, cells: int) -> int:
        """Return the cells that what no row waits for may take: as many as all slots, for a batch that leaves at once."""
        return max(int(cells * IDLE_SHARE), self._slots, self._returns.cells)

    def _drop_all_but(self, cells: int, idle: int) -> None:
        for prefix in self.prefixes.forget_unused(cells, idle):
            if self._shelf:
                self._shelf.drop(prefix)
