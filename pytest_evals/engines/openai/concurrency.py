"""How many requests a server is sent at a time. Pure: told what happened, asked for the limit."""

from __future__ import annotations

START = 16
LEAST, MOST = 1, 256


class ConcurrencyLimit:
    """The limit of one server.

    Left to itself (``wish=None``) it begins at `START`, grows by one with each answer until the server first has too much to
    do, from then on by one with each round of answers (additive increase), and is halved when the server has too much to do.
    It grows only while it is what holds requests back, and not while answers take ``patience`` seconds to begin.
    """

    def __init__(self, wish: int | None = None, patience: float = 60.0) -> None:
        self.fixed = wish is not None
        self._limit = float(wish or START)
        self._patience = patience
        self._searching = True
        self._halved = float("-inf")

    @property
    def limit(self) -> int:
        """Requests at a time."""
        return int(self._limit)

    def answered(self, active: int, first_word: float) -> None:
        """Record an answer whose first word came after ``first_word`` seconds, with ``active`` requests in flight."""
        if self.fixed or active < self.limit or first_word > self._patience:
            return
        self._limit = min(MOST, self._limit + (1.0 if self._searching else 1.0 / self._limit))

    def throttled(self, sent: float, now: float) -> None:
        """Take note that the server refused a request that was sent at the time ``sent`` because it has too much to do."""
        # Those that were sent before the limit was halved say nothing of the new one.
        if self.fixed or sent < self._halved:
            return
        self._searching = False
        self._limit = max(LEAST, self._limit / 2)
        self._halved = now
