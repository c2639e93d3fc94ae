"""Which stretches may be dropped, and in which order: those that nobody reads, and how much of them is stored."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from pytest_evals.engines.transformers.stretches import Prefix


class Files:
    """Every stretch that nobody reads, in the order in which they were left, and counts of what is stored."""

    def __init__(self) -> None:
        self.used = 0
        """Stored tokens of stretches that rows which run read."""
        self.unused = 0
        """Stored tokens of the others: they are there for rows to come."""
        self.idle = 0
        """Stored tokens of those among them that no row waits for."""
        # Without users and how many tokens are stored, with rows that wait for them, and without users or anything stored.
        self._idle: dict[Prefix, int] = {}
        self._awaited: dict[Prefix, None] = {}
        self._empty: dict[Prefix, None] = {}

    def hold(self, prefix: Prefix) -> None:
        """Count a reader more."""
        if not prefix.holders:
            self.used += prefix.stored
            self.unused -= prefix.stored
        prefix.holders += 1
        self.file(prefix)

    def let_go(self, prefix: Prefix) -> None:
        """Count a reader less."""
        prefix.holders -= 1
        if not prefix.holders:
            self.used -= prefix.stored
            self.unused += prefix.stored
        self.file(prefix)

    def enter(self, prefix: Prefix, users: int) -> None:
        """Count so many users more."""
        prefix.users += users
        self.file(prefix)

    def store(self, prefix: Prefix, tokens: int) -> None:
        """Take note that so many tokens of a stretch have their keys and values."""
        more = tokens - prefix.stored
        prefix.stored = tokens
        if prefix.holders:
            self.used += more
        else:
            self.unused += more
        self.file(prefix)

    def file(self, prefix: Prefix) -> None:
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

    def divide(self, upper: Prefix, lower: Prefix) -> None:
        """Take note that the first tokens of ``lower``, with what is stored of them, have become ``upper``; ``lower`` stays
        where it is in the order.
        """
        lower.stored -= upper.stored
        if lower in self._idle:
            self._idle[lower] -= upper.stored
            self.idle -= upper.stored
        self.file(upper)

    def empty(self) -> list[Prefix]:
        """Return those without users or anything stored."""
        return list(self._empty)

    def next_to_drop(self) -> Prefix:
        """Return the stored stretch to drop first: what was left first, what rows wait for last, leaves before branches.

        Something that nobody reads is stored.
        """
        return _lowest(self._idle) or _lowest(self._awaited) or next(iter(self._idle))

    def bare_upwards(self, prefix: Prefix) -> Iterator[Prefix]:
        """Yield the stretch and those above it, as far as they are empty and nothing is below; each leaves the files."""
        above: Prefix | None = prefix
        while above is not None and above in self._empty and not above.children:
            del self._empty[above]
            bare, above = above, above.parent
            yield bare


def _lowest(files: Iterable[Prefix]) -> Prefix | None:
    """Return the first of them below which nothing is stored."""
    return next((prefix for prefix in files if not any(child.stored for child in prefix.children)), None)
