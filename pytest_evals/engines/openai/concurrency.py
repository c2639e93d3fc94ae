"""How many requests a server is sent at a time. Pure: told what happened, asked for the limit."""

from __future__ import annotations

START = 32
LEAST, MOST = 1, 256
_LONGEST_HOLD = 64
"""Rounds of answers after which one more is tried at the latest."""


class ConcurrencyLimit:
    """The limit of one server, which finds itself unless it is given (``wish``).

    It begins at `START`, and grows only while it is what holds requests back.

    * At first each request that the server begins at once makes room for another one, so that the limit doubles in the time that the
      server takes to begin. One that waited for more than half as long as it was worked on was in a queue, and makes no room; neither does one that
      waited for ``patience`` seconds.
    * A refusal halves the limit. How many requests the server had is remembered. The limit grows by one with each answer up to that
      number, and by one with each round of answers where this was refused too: then it is not the number at a time that the server limits.
    * Beyond that number one more is tried after a round of answers. Where it is refused, the limit is the number again, and the next try is
      twice as many rounds later.
    """

    def __init__(self, wish: int | None = None, patience: float = 60.0) -> None:
        self.fixed = wish is not None
        self._limit = float(wish or START)
        self._patience = patience
        self._known: int | None = None
        self._floor = LEAST
        self._trusted = True
        self._hold = 1
        self._answers_left = 0
        self._eased = float("-inf")
        self._least_wait = float("inf")

    @property
    def limit(self) -> int:
        """Requests at a time."""
        return int(self._limit)

    def begun(self, active: int, wait: float) -> bool:
        """Record that the first word of a request came after ``wait`` seconds, with ``active`` requests in flight.

        Return whether it made room: then its answer does not.
        """
        self._least_wait = min(self._least_wait, wait)
        quick = wait <= min(2 * self._least_wait, self._patience)
        if self.fixed or self._known is not None or not quick or 2 * active < self.limit:
            return False
        self._limit = min(MOST, self._limit + 1)
        return True

    def answered(self, active: int, wait: float, work: float) -> None:
        """Record an answer that began after ``wait`` seconds and took ``work`` seconds from then on, with ``active`` in flight."""
        if self.fixed or wait > self._patience or 2 * active < self.limit:
            return
        if self._known is None:
            if wait <= max(work / 2, 2 * self._least_wait):
                self._limit = min(MOST, self._limit + 1)
        elif active < self.limit:
            return
        elif self._limit < self._known:
            self._limit = min(self._known, self._limit + (1 if self._trusted else 1 / self._limit))
            self._answers_left = self._hold * self.limit
        else:
            self._answers_left -= 1
            if self._answers_left <= 0:
                self._trusted = True
                self._limit = min(MOST, self.limit + 1)
                self._answers_left = self.limit
                if self._limit > self._known + 1:
                    # The one before was taken.
                    self._known, self._hold = self._known + 1, 1

    def throttled(self, sent: float, now: float, active: int) -> None:
        """Take note that the server refused one of ``active`` requests, sent at the time ``sent``, because it has too much to do."""
        if self.fixed:
            return
        taken = max(LEAST, active - 1)
        if sent < self._eased:
            # Sent before the limit was lowered: it says nothing of the new one, but how many of the others the server has.
            if self._known is not None and taken < self._known:
                self._known = max(taken, self._floor)
                self._limit = min(self._limit, self._known)
            return
        if self._known is not None and active > self._known:
            self._limit = self._known
            self._hold = min(_LONGEST_HOLD, 2 * self._hold)
        else:
            self._trusted = self._known is None or self._limit >= self._known
            self._limit = max(LEAST, self._limit / 2)
            self._known, self._hold = max(taken, self.limit), 1
            self._floor = max(LEAST, self.limit // 2)
        self._answers_left = self._hold * self.limit
        self._eased = now
