"""Which rows begin with the same tokens: what they share is computed once. Pure policy on token ids.

Shared beginnings form trees: a system prompt shared by all rows, below it a few-shot block shared by one suite, and so
on. A `PrefixNode` is one stretch of such a path; its keys and values live in `kv_cache`. What a finished row has computed may
be kept as a stretch too, so that a row which goes on from there (the next turn of a conversation) begins where that one
ended.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence

from pytest_evals.engines.transformers.scheduling.prefix_tree import (
    LEAST_TOKENS,
    ChildIndex,
    PrefixNode,
    Sharing,
    common_lengths,
)

LEAST_SAVED = 32
"""Nor is one that saves less computation than this many tokens."""


class PrefixCache:
    """The trees of shared beginnings, grown as rows arrive.

    ``split`` is told of a stretch that was cut in two, upper and lower part, so that what is stored is divided too; the
    lower part is the stretch that was there. Without it none is cut.
    """

    def __init__(self, split: Callable[[PrefixNode, PrefixNode], None] | None = None) -> None:
        self.split = split
        self._files = EvictionOrder()
        self._roots: ChildIndex[PrefixNode] = ChildIndex()
        self._held: dict[int, PrefixNode] = {}
        self._serial = itertools.count()

    @property
    def used(self) -> int:
        """Stored tokens of stretches that rows which run read."""
        return self._files.used

    @property
    def unused(self) -> int:
        """Stored tokens of the others: they are there for rows to come."""
        return self._files.unused

    @property
    def idle(self) -> int:
        """Stored tokens of those among the others that no row waits for."""
        return self._files.idle

    @property
    def cells(self) -> int:
        """Tokens whose keys and values are kept."""
        return self.used + self.unused

    # -- rows come and go

    def attach(self, rows: Sequence[Sharing]) -> None:
        """Give each of the new rows its path: what is there already, and below it what the new rows share."""
        below: dict[int, tuple[PrefixNode | None, list[Sharing]]] = {}
        for row in rows:
            found = self._find(row.tokens, row.shareable, None)
            below.setdefault(id(found), (found, []))[1].append(row)
        for parent, members in below.values():
            self._grow(parent, members)
        for row in rows:
            self._enter(row.prefix, None)

    def deepen(self, row: Sharing) -> None:
        """Give a row that waited what was stored meanwhile below its path."""
        found = self._find(row.tokens, row.shareable, row.prefix, stored=True)
        self._enter(found, row.prefix)
        row.prefix = found

    def hold(self, row: Sharing) -> None:
        """A row begins to read its path: nothing of it is dropped until it lets go."""
        if row.prefix is None or id(row) in self._held:
            return
        self._held[id(row)] = row.prefix
        for prefix in row.prefix.path:
            self._files.hold(prefix)

    def let_go(self, row: Sharing) -> None:
        """A row reads its path no longer; it may want to later."""
        held = self._held.pop(id(row), None)
        # The lowest first: it is the first to be dropped.
        for prefix in reversed(held.path if held else []):
            self._files.let_go(prefix)

    def release(self, row: Sharing) -> None:
        """Take a row's path back, when it is done."""
        self.let_go(row)
        for prefix in reversed(row.prefix.path if row.prefix else []):
            self._files.enter(prefix, -1)
        row.prefix = None

    def keep(self, row: Sharing) -> PrefixNode | None:
        """Keep what a row has computed beyond its path as a stretch of its own; return it, `None` if it is too short.

        The keys and values are the row's; the caller copies them.
        """
        tokens = row.left
        above = self._find(tokens, len(tokens), row.prefix, stored=True)
        start = above.end if above else 0
        if len(tokens) - start < LEAST_TOKENS:
            return None
        node = self._add(tokens, above, start, len(tokens))
        node.kept = True
        self.store(node, len(node.tokens))
        return node

    def store(self, prefix: PrefixNode, tokens: int) -> None:
        """Take note that this many tokens of a stretch have their keys and values."""
        self._files.store(prefix, tokens)

    def _enter(self, prefix: PrefixNode | None, known: PrefixNode | None) -> None:
        """Count a user more for the stretches down to ``prefix`` that are not above ``known``."""
        while prefix is not known and prefix is not None:
            self._files.enter(prefix, 1)
            prefix = prefix.parent

    # -- what is dropped

    def forget_unused(self, cells: int, idle: int | None = None) -> list[PrefixNode]:
        """Keep at most ``cells`` stored tokens that no row reads, and at most ``idle`` of these that no row waits for either.
        Return the stretches whose keys and values go.

        Those that were left first go first. Those that rows wait for go last: they will be computed again. A stretch that
        no row uses and that has nothing stored is dropped in any case.
        """
        dropped: list[PrefixNode] = []
        for prefix in self._files.empty():
            dropped.extend(self._drop_upwards(prefix))
        while self.unused > max(0, cells) or (idle is not None and self.idle > max(0, idle)):
            prefix = self._files.next_to_drop()
            self.store(prefix, 0)
            dropped.extend([prefix] if prefix.users else self._drop_upwards(prefix))
        return dropped

    def _drop_upwards(self, prefix: PrefixNode) -> Iterator[PrefixNode]:
        for bare in self._files.bare_upwards(prefix):
            self._beside(bare).remove(bare)
            yield bare

    def lose(self) -> None:
        """Take note that all keys and values are gone."""
        for prefix in self.all():
            self.store(prefix, 0)
            prefix.kept = False

    def all(self) -> list[PrefixNode]:
        """Every stretch, parents before children, younger trees first."""
        found = list(self._roots)[::-1]
        for prefix in found:
            found.extend(prefix.children)
        return found

    # -- how trees grow

    def _beside(self, prefix: PrefixNode) -> ChildIndex[PrefixNode]:
        return prefix.parent.children if prefix.parent else self._roots

    def _find(
        self, tokens: Sequence[int], end: int, below: PrefixNode | None, *, stored: bool = False
    ) -> PrefixNode | None:
        """Return the deepest stretch that ``tokens`` up to ``end`` go through, from ``below`` on; it may be made of a
        longer one. With ``stored`` only what is there already counts.
        """
        found = below
        while True:
            siblings = found.children if found else self._roots
            nearest, length = siblings.nearest(tokens, found.end if found else 0, end)
            if nearest is None or (stored and not nearest.done):
                return found
            if length < len(nearest.tokens):
                return self._cut(nearest, min(length, len(nearest.tokens) - LEAST_TOKENS)) or found
            found = nearest

    def _cut(self, prefix: PrefixNode, length: int) -> PrefixNode | None:
        """Return the first ``length`` tokens of a stretch as one of their own, or `None` where it cannot be cut."""
        # Of one in the making, part is stored: it is left alone.
        if self.split is None or length < LEAST_TOKENS or (prefix.stored and not prefix.done):
            return None
        beside = self._beside(prefix)
        beside.remove(prefix)
        upper = PrefixNode(
            prefix.tokens[:length],
            prefix.parent,
            prefix.start,
            prefix.users,
            prefix.holders,
            length if prefix.stored else 0,
            next(self._serial),
            prefix.kept,
        )
        beside.add(upper)
        prefix.tokens, prefix.start, prefix.parent = prefix.tokens[length:], upper.end, upper
        upper.children.add(prefix)
        self._files.divide(upper, prefix)
        self.split(upper, prefix)
        return upper

    def _grow(self, parent: PrefixNode | None, rows: Sequence[Sharing]) -> None:
        """Find what ``rows`` share below ``parent``; the longest paths win."""
        ordered = sorted(rows, key=lambda row: tuple(row.tokens))
        common = common_lengths(ordered)
        # Each entry: neighbours in sorted order that are known to share everything up to their stretch's end.
        work: list[tuple[int, int, PrefixNode | None]] = [(0, len(ordered), parent)]
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

    def _stretch(self, row: Sharing, above: PrefixNode | None, end: int, members: int) -> PrefixNode | None:
        """Return a new stretch up to ``end``, or ``above`` when it would not pay."""
        start = above.end if above else 0
        length = end - start
        if length < LEAST_TOKENS or length * (members - 1) < LEAST_SAVED:
            return above
        return self._add(row.tokens, above, start, end)

    def _add(self, tokens: Sequence[int], above: PrefixNode | None, start: int, end: int) -> PrefixNode:
        node = PrefixNode(tuple(tokens[start:end]), above, start, serial=next(self._serial))
        self._beside(node).add(node)
        return node


# -- Which stretches may be dropped, and in which order: those that no row reads, and how much of them is stored.


class EvictionOrder:
    """Every stretch that no row reads, in the order in which they were left, and counts of what is stored."""

    def __init__(self) -> None:
        self.used = 0
        """Stored tokens of stretches that rows which run read."""
        self.unused = 0
        """Stored tokens of the others: they are there for rows to come."""
        self.idle = 0
        """Stored tokens of those among them that no row waits for."""
        # Without users and how many tokens are stored, with rows that wait for them, and without users or anything stored.
        self._idle: dict[PrefixNode, int] = {}
        self._awaited: dict[PrefixNode, None] = {}
        self._empty: dict[PrefixNode, None] = {}

    def hold(self, prefix: PrefixNode) -> None:
        """Count a reader more."""
        if not prefix.holders:
            self.used += prefix.stored
            self.unused -= prefix.stored
        prefix.holders += 1
        self.file(prefix)

    def let_go(self, prefix: PrefixNode) -> None:
        """Count a reader less."""
        prefix.holders -= 1
        if not prefix.holders:
            self.used -= prefix.stored
            self.unused += prefix.stored
        self.file(prefix)

    def enter(self, prefix: PrefixNode, users: int) -> None:
        """Count this many more users."""
        prefix.users += users
        self.file(prefix)

    def store(self, prefix: PrefixNode, tokens: int) -> None:
        """Take note that this many tokens of a stretch have their keys and values."""
        more = tokens - prefix.stored
        prefix.stored = tokens
        if prefix.holders:
            self.used += more
        else:
            self.unused += more
        self.file(prefix)

    def file(self, prefix: PrefixNode) -> None:
        """Have a stretch where it belongs, as the last that was left."""
        self.idle -= self._idle.pop(prefix, 0)
        self._awaited.pop(prefix, None)
        self._empty.pop(prefix, None)
        if prefix.holders:
            return
        if prefix.stored and prefix.users:
            self._awaited[prefix] = None
        elif prefix.stored:
            self._idle[prefix] = prefix.stored
            self.idle += prefix.stored
        elif not prefix.users:
            self._empty[prefix] = None

    def divide(self, upper: PrefixNode, lower: PrefixNode) -> None:
        """Take note that the first tokens of ``lower``, with what is stored of them, have become ``upper``; ``lower`` stays
        where it is in the order.
        """
        lower.stored -= upper.stored
        if lower in self._idle:
            self._idle[lower] -= upper.stored
            self.idle -= upper.stored
        self.file(upper)

    def empty(self) -> list[PrefixNode]:
        """Return those without users or anything stored."""
        return list(self._empty)

    def next_to_drop(self) -> PrefixNode:
        """Return the stored stretch to drop first: what was left first, what rows wait for last, leaves before branches.

        Something that no row reads is stored.
        """
        return _lowest(self._idle) or _lowest(self._awaited) or next(iter(self._idle))

    def bare_upwards(self, prefix: PrefixNode) -> Iterator[PrefixNode]:
        """Yield the stretch and those above it, as far as they are empty and nothing is below; each leaves the files."""
        above: PrefixNode | None = prefix
        while above is not None and above in self._empty and not above.children:
            del self._empty[above]
            bare, above = above, above.parent
            yield bare


def _lowest(files: Iterable[PrefixNode]) -> PrefixNode | None:
    """Return the first of them below which nothing is stored."""
    return next((prefix for prefix in files if not any(child.stored for child in prefix.children)), None)
