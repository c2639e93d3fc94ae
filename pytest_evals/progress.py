"""News for a person who waits: what the engines are doing, as whole lines, rarely enough to be read in a log."""

from __future__ import annotations

import time
from collections.abc import Callable

from pytest_evals.engines.pool import EnginePool
from pytest_evals.engines.resident import Resident

EVERY_SECONDS = 5.0
UNCHANGED_SECONDS = 30.0


class Progress:
    """Prints the pool's notes as they come and, every few seconds, how far generation is, where that has changed."""

    def __init__(self, pool: EnginePool, write_line: Callable[[str], None]) -> None:
        self._pool = pool
        self._write_line = write_line
        self._looked = self._told = time.monotonic()
        self._seen: dict[str, tuple[int, int]] = {}

    def tick(self) -> None:
        """Print what is new, if anything is."""
        while self._pool.notes:
            self._tell(self._pool.notes.popleft())
        now = time.monotonic()
        if now - self._looked < EVERY_SECONDS:
            return
        self._looked = now
        for resident in self._pool.residents():
            counts = (resident.done, resident.unfinished_tokens)
            changed = self._seen.get(resident.spec.text) != counts
            if resident.working_since is not None and (changed or now - self._told >= UNCHANGED_SECONDS):
                self._seen[resident.spec.text] = counts
                self._tell(_rate(resident))

    def _tell(self, text: str) -> None:
        self._write_line(f"evals: {text}")
        self._told = time.monotonic()


def _rate(resident: Resident) -> str:
    seconds = time.monotonic() - (resident.working_since or 0)
    # Tokens of finished completions are in both counts once they finish; the larger one is the better estimate.
    tokens = max(resident.tokens, resident.unfinished_tokens)
    speed = f", {tokens / seconds:.0f} tokens/s" if tokens and seconds > 1 else ""
    return f"{resident.spec.short}: {resident.done}/{resident.asked} completions{speed}"
