"""The fast way: in-flight batching. Finished rows leave after every forward, waiting ones take their place."""

from __future__ import annotations

from collections.abc import Sequence

from pytest_evals.completion import Failure
from pytest_evals.engines.transformers.faults import explain, is_fatal, is_out_of_memory
from pytest_evals.engines.transformers.loop import AnyRow, Progress
from pytest_evals.engines.transformers.meter import Meter
from pytest_evals.engines.transformers.packed import PackedRunner
from pytest_evals.engines.transformers.plans import Plan
from pytest_evals.engines.transformers.scheduler import Scheduler


class PackedLoop:
    """See `Loop`."""

    def __init__(self, scheduler: Scheduler[AnyRow], runner: PackedRunner, meter: Meter, device: str) -> None:
        self._scheduler = scheduler
        self._runner = runner
        self._meter = meter
        self._device = device
        self._room = runner.slots.room

    def add(self, rows: Sequence[AnyRow]) -> None:
        """See `Loop.add`."""
        self._scheduler.add(rows)

    def __bool__(self) -> bool:
        return bool(self._scheduler)

    def step(self) -> Progress:
        """See `Loop.step`."""
        plan = self._scheduler.plan()
        if not plan:
            return Progress()
        progress = Progress(begun=[row for row in plan.rows if row.started is None])
        for row in progress.begun:
            row.started = self._meter.now()
        right = self._meter.usage.right_tokens
        try:
            with self._meter.forward(plan):
                progress.finished = self._runner.run(plan)
        except Exception as error:
            # One forward's failure is not the run's: it is narrowed down to the row that caused it.
            if is_fatal(error):
                raise
            failure, shrink = explain(error, self._device), is_out_of_memory(error)
        else:
            self._scheduler.done(plan, progress.finished)
            progress.tokens = len(plan.decode) + self._meter.usage.right_tokens - right
            progress.notes = self._runner.take_notes()
            return progress
        # Outside of the except block: the traceback holds the tensors that are to be freed.
        self._take_back(plan, failure, progress, shrink=shrink)
        return progress

    def _take_back(self, plan: Plan[AnyRow], failure: Failure, progress: Progress, *, shrink: bool) -> None:
        """Have the rows of a forward that failed tried again, or reported; what had ended in it is finished."""
        progress.finished = [row for row in plan.rows if row.ended]
        self._runner.clear(collect=shrink)
        rows = self._scheduler.failed(plan, shrink=shrink, ended=progress.finished)
        for row in rows:
            row.restart()
        if len(plan.rows) == 1:
            progress.failed = [(row, failure) for row in rows]
            if shrink:
                # Nothing would be large enough for it: others need not do with less.
                self._runner.slots.room = self._room
