"""News for a person who waits: what the engines are doing, as whole lines, rarely enough to be read in a log."""

from __future__ import annotations

import time
from collections.abc import Callable

from pytest_evals.engines.pool import EnginePool
from pytest_evals.engines.resident import Resident

EVERY_SECONDS = 5.0


class Progress:
    """Prints the pool's notes as they come and, every few seconds, how far generation is."""

    def __init__(self, pool: EnginePool, write_line: Callable[[str], None]) -> None:
        self._pool = pool
        self._write_line = write_line
        self._told = time.monotonic()

    def tick(self) -> None:
        """Print what is new, if anything is."""
        while self._pool.notes:
            self._write_line(f"evals: {self._pool.notes.popleft()}")
            self._told = time.monotonic()
        if time.monotonic() - self._told >= EVERY_SECONDS:
            self._told = time.monotonic()
            for resident in self._pool.residents():
                if resident.working_since is not None:
                    self._write_line(f"evals: {_rate(resident)}")


def _rate(resident: Resident) -> str:
    seconds = time.monotonic() - (resident.working_since or 0)
    # Tokens of finished completions are in both counts once they finish; the larger one is the better estimate.
    tokens = max(resident.tokens, resident.unfinished_tokens)
    speed = f", {tokens / seconds:.0f} tokens/s" if tokens and seconds > 1 else ""
    return f"{resident.spec.short}: {resident.done}/{resident.asked} completions{speed}"
