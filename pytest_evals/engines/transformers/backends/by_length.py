"""Rows up to a length go one way, longer ones another: for models that compute differently beyond it."""

from __future__ import annotations

from collections.abc import Sequence

from pytest_evals.engines.transformers.backends.protocol import AnySequence, Backend, StepProgress


class ByLength:
    """See `Backend`. Rows that may come to more than ``limit`` tokens are computed by ``beyond``, when no others are left."""

    def __init__(self, usual: Backend, beyond: Backend, limit: int) -> None:
        self.usual = usual
        self._beyond = beyond
        self._limit = limit

    def add(self, rows: Sequence[AnySequence]) -> None:
        """See `Backend.add`."""
        short = [row for row in rows if row.cells <= self._limit]
        long = [row for row in rows if row.cells > self._limit]
        if short:
            self.usual.add(short)
        if long:
            self._beyond.add(long)

    def __bool__(self) -> bool:
        return bool(self.usual or self._beyond)

    def step(self) -> StepProgress:
        """See `Backend.step`."""
        return self.usual.step() if self.usual else self._beyond.step()
