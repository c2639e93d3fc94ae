"""transformers' own continuous batching: the fastest way where flash attention's kernels are installed.

It computes what greedy rows write and nothing else: how its manager samples is one for all, processors of logits cannot
be added, and stop strings are ignored. So other rows go through the packed loop of the same engine: see `RoutingLoop`.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Collection, Sequence
from contextlib import AbstractContextManager, ExitStack
from typing import Any

from pytest_evals.completion import Failure
from pytest_evals.engines.transformers.continuous_session import (
    FLASH_PAGE,
    IN_FLIGHT,
    PAGE,
    Session,
    largest_size,
    size_for,
)
from pytest_evals.engines.transformers.faults import is_fatal
from pytest_evals.engines.transformers.loop import AnyRow, Loop, Progress
from pytest_evals.engines.transformers.meter import Meter
from pytest_evals.engines.transformers.plans import Budget
from pytest_evals.engines.transformers.row import Row
from pytest_evals.engines.transformers.sampling import needs_the_host

LOOK_SECONDS = 0.5
"""How long one step waits for results."""
PATIENCE_SECONDS = 300.0
"""Without a result or another sign of life for so long, a manager is given up."""
GRACE_SECONDS = 5.0
"""A manager that fails all its requests ends within this time."""

Attending = Callable[[], AbstractContextManager[Any]]
"""Lets the model compute with the attention that the manager is to use, for a while."""


class ContinuousLoop:
    """See `Loop`. Give it only rows that it `takes`.

    When its manager cannot be started or dies, the loop is ``broken``; `hand_over` returns the rows that it leaves.
    """

    def __init__(
        self,
        model: Any,
        budget: Budget,
        meter: Meter,
        ends: Collection[int],
        attending: Attending,
        *,
        flash: bool = False,
        patience: float = PATIENCE_SECONDS,
    ) -> None:
        self.broken: str | None = None
        self._model = model
        self._budget = budget
        self._meter = meter
        self._ends = ends
        self._attending = attending
        self._page = FLASH_PAGE if flash else PAGE
        self._patience = patience
        self._waiting: list[Row] = []
        self._open: dict[str, Row] = {}
        self._session: Session | None = None
        self._switched = ExitStack()
        self._keys = itertools.count()
        self._alive_at = (0.0, 0)
        self._counted = 0

    def takes(self, row: AnyRow) -> bool:
        """Tell whether the row asks for nothing that a manager cannot do, and fits into its cache."""
        return (
            self.broken is None
            and isinstance(row, Row)
            and row.request.params.greedy
            and not row.request.params.stop
            and not needs_the_host(row)
            and largest_size(self._budget, self._page).holds(row)
        )

    def add(self, rows: Sequence[AnyRow]) -> None:
        """See `Loop.add`."""
        self._waiting.extend(row for row in rows if isinstance(row, Row))
        # The longest first; among like ones, those with a common beginning together. Taken from the end.
        self._waiting.sort(key=lambda row: (row.max_new_tokens.bit_length(), row.tokens))

    def __bool__(self) -> bool:
        return bool(self._waiting or self._open)

    def step(self) -> Progress:
        """Hand in what there is room for, and wait a moment for results."""
        progress = Progress()
        started = self._meter.now()
        try:
            session = self._session or self._start()
            progress.begun = self._hand_in(session)
            # Some may be done when one looks again.
            self._meter.usage.most_rows = max(self._meter.usage.most_rows, min(len(self._open), self._budget.rows))
            self._collect(session, progress)
        except Exception as error:
            # Whatever the manager raises ends its session, not the run: `broken` tells the routing loop.
            if is_fatal(error):
                raise
            self._give_up(f"{type(error).__name__}: {error}")
        self._count_forwards(started)
        if not self._open:
            # Nothing is kept: the next rows may be longer, and others want the model and its memory.
            self._close()
        return progress

    def _count_forwards(self, started: float) -> None:
        usage = self._meter.usage
        usage.device_seconds += self._meter.now() - started
        if self._session is not None:
            usage.forwards += self._session.steps - self._counted
            usage.decodes += self._session.steps - self._counted
            self._counted = self._session.steps

    def hand_over(self) -> list[Row]:
        """Return the rows that a broken loop has left, as if nobody had begun them."""
        left = [*self._open.values(), *self._waiting]
        self._open, self._waiting = {}, []
        for row in left:
            row.restart()
        return left

    # -- a session

    def _start(self) -> Session:
        self._switched.enter_context(self._attending())
        size = size_for(self._waiting, self._budget, self._page)
        self._session = Session(self._model, self._budget, size, self._ends)
        self._counted = self._session.steps
        self._alive_at = (self._meter.now(), 0)
        return self._session

    def _close(self) -> None:
        session, self._session = self._session, None
        if session is not None and not session.close():
            self.broken = self.broken or "it cannot be stopped"
        self._switched.close()

    def _hand_in(self, session: Session) -> list[AnyRow]:
        begun: list[AnyRow] = []
        while self._waiting and len(self._open) < IN_FLIGHT * self._budget.rows:
            # What does not fit waits for a session that is made for it.
            if not session.size.holds(self._waiting[-1]):
                break
            row = self._waiting.pop()
            key = str(next(self._keys))
            self._open[key] = row
            row.started = self._meter.now()
            begun.append(row)
            session.add(key, row)
        return begun

    def _collect(self, session: Session, progress: Progress) -> None:
        outputs = session.outputs(LOOK_SECONDS)
        failed = [output for output in outputs if output.error]
        if not session.alive or (failed and session.ends_soon(GRACE_SECONDS)):
            # All that was open is reported as failed, whoever was the cause.
            self._give_up(failed[0].error if failed else "it ended without saying why")
            outputs = [output for output in outputs if not output.error]
        for output in outputs:
            row = self._open.pop(output.request_id, None)
            if row is not None:
                self._settle(row, output, progress)
        self._watch(session, progress, heard=bool(outputs))

    def _settle(self, row: Row, output: Any, progress: Progress) -> None:
        """Let the row have its tokens."""
        if output.error:
            progress.failed.append((row, Failure("engine", f"continuous batching failed: {output.error}")))
            return
        if output.lifespan[0] > 0:
            row.started = output.lifespan[0]
        for token in output.generated_tokens:
            if row.accept(token, None):
                break
        usage = self._meter.usage
        usage.prompt_tokens += len(row.prompt)
        usage.generated_tokens += len(row.generated)
        usage.decode_rows += max(0, len(row.generated) - 1)
        if row.finish_reason is None:
            said = f"{len(row.generated)} tokens and no end"
            progress.failed.append((row, Failure("engine", f"continuous batching gave {said}")))
        else:
            progress.finished.append(row)

    def _watch(self, session: Session, progress: Progress, *, heard: bool) -> None:
        """Give up a manager that shows no life: its thread holds the model, so that nobody else can have it."""
        now, steps = self._meter.now(), session.steps
        if heard or steps != self._alive_at[1]:
            self._alive_at = (now, steps)
        if self.broken or now - self._alive_at[0] <= self._patience:
            return
        self.broken = f"it did nothing for {self._patience:.0f} s"
        failure = Failure("engine", f"continuous batching was given up: {self.broken}")
        progress.failed.extend((row, failure) for row in self.hand_over())

    def _give_up(self, reason: str) -> None:
        self.broken = reason
        self._close()


class RoutingLoop:
    """See `Loop`. Greedy rows go through continuous batching, all others through another loop; in turns.

    ``free`` gives back the memory that the other loop holds when it has nothing to do.
    """

    def __init__(self, continuous: ContinuousLoop, others: Loop, free: Callable[[], None]) -> None:
        self._continuous = continuous
        self._others = others
        self._free = free
        self._turn: Loop | None = None
        self._told = False

    def add(self, rows: Sequence[AnyRow]) -> None:
        """See `Loop.add`."""
        mine = [row for row in rows if self._continuous.takes(row)]
        taken = set(map(id, mine))
        if mine:
            self._continuous.add(mine)
        if others := [row for row in rows if id(row) not in taken]:
            self._others.add(others)

    def __bool__(self) -> bool:
        return bool(self._continuous) or bool(self._others)

    def step(self) -> Progress:
        """See `Loop.step`. Who has begun goes on to the end: the model's attention and memory belong to one of them."""
        if not self._turn:
            if self._continuous:
                self._free()
            self._turn = self._continuous or self._others
        progress = self._turn.step()
        if self._continuous.broken and not self._told:
            self._told = True
            progress.notes.append(f"goes on without continuous batching: {self._continuous.broken}")
        if self._continuous.broken and (left := self._continuous.hand_over()):
            self._others.add(left)
        return progress
