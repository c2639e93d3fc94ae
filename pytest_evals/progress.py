"""News for a person who waits: what the engines are doing.

On a terminal one line is kept up to date below what pytest printed last. Elsewhere (a log, a pipe) only whole lines are
written: what happens to the engines, and how far generation is, once a minute.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Protocol

from pytest_evals.engines.pool import EnginePool
from pytest_evals.engines.resident import Resident
from pytest_evals.plain import plain

LIVE_SECONDS = 0.5
LINE_SECONDS = 60.0


class Screen(Protocol):
    """Where news are shown."""

    @property
    def live(self) -> bool:
        """Tell whether a line can be overwritten."""
        ...

    def line(self, text: str) -> None:
        """Write a whole line."""
        ...

    def status(self, text: str) -> None:
        """Show ``text`` in the place of the last status; an empty one takes it away."""
        ...


class Progress:
    """Tells the pool's notes as they come, and how far generation is."""

    def __init__(self, pool: EnginePool, screen: Screen) -> None:
        self._pool = pool
        self._screen = screen
        self._told = time.monotonic()

    def tick(self) -> None:
        """Tell what is new, if anything is."""
        while self._pool.notes:
            self._screen.status("")
            # A note may quote what a process printed.
            self._screen.line(f"evals: {plain(self._pool.notes.popleft())}")
            self._told = time.monotonic() - LIVE_SECONDS
        now = time.monotonic()
        if now - self._told < (LIVE_SECONDS if self._screen.live else LINE_SECONDS):
            return
        self._told = now
        models: dict[str, list[Resident]] = {}
        for resident in self._pool.residents():
            models.setdefault(resident.spec.text, []).append(resident)
        working = [state(copies, now) for copies in models.values() if any(map(_works, copies))]
        if working:
            tell = self._screen.status if self._screen.live else self._screen.line
            tell(f"evals: {'; '.join(working)}")

    def rest(self) -> None:
        """Take the status away: somebody else is going to print."""
        self._screen.status("")


def state(copies: Sequence[Resident], now: float) -> str:
    """Return how far the copies of one model are together: completions, tokens a second, time left."""
    seconds = max(copy.seconds + (now - copy.working_since if copy.working_since is not None else 0) for copy in copies)
    # Tokens of finished completions are in both counts once they finish; the larger one is the better estimate.
    tokens = sum(max(copy.tokens, copy.unfinished_tokens) for copy in copies)
    done, asked = sum(copy.done for copy in copies), sum(copy.asked for copy in copies)
    parts = [f"{copies[0].spec.short} {done}/{asked} completions"]
    if tokens and seconds > 1:
        parts.append(f"{tokens / seconds:.0f} tokens/s")
    if 0 < done < asked and seconds > 1:
        parts.append(f"about {_time((asked - done) * seconds / done)} left")
    return ", ".join(parts)


def _works(copy: Resident) -> bool:
    return copy.working_since is not None


def _time(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.0f} min"
