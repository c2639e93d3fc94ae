"""What stays in memory of what was computed: prefixes that rows read, and, while there is room, what finished rows left.

Pure policy, as `scheduler`: cells are counted here, and a `KVStore` holds what is in them.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from typing import Generic

from pytest_evals.engines.transformers.scheduling.plan import KVStore, R, SchedulerOutput, slots_of
from pytest_evals.engines.transformers.scheduling.prefix_cache import PrefixCache
from pytest_evals.engines.transformers.scheduling.prefix_tree import LEAST_TOKENS, PrefixNode, Sharing, kept_tokens

KEEP_SHARE = 0.2
"""Share of the cells that what no row reads may take from slots that are larger than they need to be now."""
IDLE_SHARE = 0.05
"""Share of the cells that what no row waits for may take in any case: it may never be wanted, however much is free."""
FEW = 8
"""Of rows that arrive in so small a number, more like them may follow soon: what they compute is kept for these at once."""


class Retention(Generic[R]):
    """The forest of prefixes and what is stored of it, on a ``shelf`` if there is one."""

    def __init__(self, shelf: KVStore[R] | None) -> None:
        self.prefixes = PrefixCache(shelf.split if shelf else None)
        self._shelf = shelf
        self._early: set[int] = set()
        self._returns = ReuseEstimator()

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

    def make_room(self, plan: SchedulerOutput[R], cells: int, planned: int) -> None:
        """Drop what no row reads and what ``plan`` leaves no room for; it stores ``planned`` cells beside slots.

        Sets the cells that slots may come to, so that everything together stays within ``cells``.
        """
        needed = self.prefixes.used + planned
        self._drop_all_but(self._spare(cells, needed, slots_of(plan.rows)), self._idle(cells))
        plan.limit = cells - needed - self.prefixes.unused

    def trim(self, cells: int, decoding: Sequence[R]) -> None:
        """Drop what no row reads and what has no room beside rows that go on."""
        self._drop_all_but(self._spare(cells, self.prefixes.used, slots_of(decoding)), self._idle(cells))

    def take_from(self, plan: SchedulerOutput[R], finished: Iterable[R], cells: int, decoding: Sequence[R]) -> None:
        """Have what rows have computed stored, as far as there is room: of those that leave, and of early ones their
        prompts.
        """
        if self._shelf is None:
            return
        filled = [piece.target for piece in plan.pieces if piece.last and not isinstance(piece.target, PrefixNode)]
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
        """Drop everything that no row reads."""
        self._drop_all_but(0, 0)

    @property
    def _slots(self) -> int:
        return self._shelf.size if self._shelf else 0

    def _spare(self, cells: int, used: int, needed: int) -> int:
        """Return the cells that are left for what no row reads, beside slots that need ``needed`` cells."""
        return max(cells - used - max(self._slots, needed), min(int(cells * KEEP_SHARE), cells - used - needed))

    def _idle(self, cells: int) -> int:
        """Return the cells that what no row waits for may take: as many as all slots, for a batch that leaves at once."""
        return max(int(cells * IDLE_SHARE), self._slots, self._returns.cells)

    def _drop_all_but(self, cells: int, idle: int) -> None:
        for prefix in self.prefixes.forget_unused(cells, idle):
            if self._shelf:
                self._shelf.drop(prefix)


# -- How late conversations are gone on with: what rows left is kept for as long as experience says that the next turn takes.
#
# Most suites ask once. Where a task answers at once, a few rows finish until the next turn is there; where another model
# speaks in between, or a tool runs, hundreds may. Time is counted in cells: those of all conversations that were left since
# would have to be kept, for the turn to find its own.

MOST_REMEMBERED = 20_000
"""Prompts that were answered. Of each a number is remembered, however long it was."""
MARGIN = 3
"""The next turns may take this many times as long as the latest so far: conversations grow."""
GAIN = 8
"""A turn that comes late makes room for this many like it: a single one says little, many say much."""


class ReuseEstimator:
    """Sees rows leave, and rows arrive that begin with the prompt of one that left."""

    def __init__(self) -> None:
        self._prompts: dict[int, int] = {}
        self._left = self._latest = self._gained = 0

    @property
    def cells(self) -> int:
        """Return how much to keep of what no row waits for, by what was seen so far."""
        return min(self._latest, self._gained)

    def leave(self, row: Sharing, cells: int) -> None:
        """A row has been answered; this many cells hold its conversation, without what it shared from the start."""
        if row.shareable >= LEAST_TOKENS:
            *_, prompt = _hashes(row.tokens[: row.shareable])
            # The latest are the last.
            self._prompts.pop(prompt, None)
            self._prompts[prompt] = self._left
        if len(self._prompts) > MOST_REMEMBERED:
            del self._prompts[next(iter(self._prompts))]
        self._left += cells

    def arrive(self, row: Sharing) -> None:
        """A row has come; it may go on with what one that left was asked."""
        found = [self._prompts[prompt] for prompt in _hashes(row.tokens) if prompt in self._prompts]
        # The longest prompt is that of the turn before.
        late = MARGIN * (self._left - found[-1]) if found else 0
        if late > self.cells:
            self._latest = max(self._latest, late)
            self._gained += GAIN * len(row.tokens)


def _hashes(tokens: Sequence[int]) -> Iterator[int]:
    """Yield a hash of the first token, of the first two, and so on."""
    return itertools.accumulate(tokens, lambda before, token: hash((before, token)))
