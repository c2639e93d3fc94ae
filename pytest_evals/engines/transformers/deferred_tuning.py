"""Puts off what makes a model fast on a CPU until there is enough to compute: laying out weights and compiling loops takes longer
than a small model needs for one answer.
"""

from __future__ import annotations

from collections.abc import Callable

from pytest_evals.engines.transformers.usage import UsageMeter

FEW_ROWS = 8
"""With this many rows under way, or more, each step is long enough to make it worthwhile."""
MANY_FORWARDS = 128
"""Steps after which it is worth it for fewer rows: about as long as it takes, so that no more than twice the shortest time is spent,
however many requests follow.
"""


class DeferredTuning:
    """Calls ``tune`` once. It may be called between any two steps, also while rows are under way."""

    def __init__(self, tune: Callable[[], None], meter: UsageMeter) -> None:
        self._tune: Callable[[], None] | None = tune
        self._meter = meter
        self.tell: Callable[[str], None] | None = None
        """Told when it begins: an answer is waited for meanwhile."""

    def run_if_due(self, rows: int) -> None:
        """Tune now if it is worthwhile for this many ``rows``."""
        if self._tune is not None and (rows >= FEW_ROWS or self._meter.usage.forwards >= MANY_FORWARDS):
            self.run()

    def run(self) -> None:
        """Tune now, if that was not done before."""
        tune, self._tune = self._tune, None
        if tune is not None:
            if self.tell is not None:
                self.tell("timing layouts")
            tune()
