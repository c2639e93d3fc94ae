"""The fast way: in-flight batching. Finished rows leave after every forward, waiting ones take their place."""

from __future__ import annotations

from collections.abc import Sequence

from pytest_evals.completion import Failure
from pytest_evals.engines.transformers.backends.protocol import AnySequence, StepProgress
from pytest_evals.engines.transformers.errors import explain, is_fatal, is_out_of_memory
from pytest_evals.engines.transformers.packed.model_runner import ModelRunner
from pytest_evals.engines.transformers.scheduling.plan import SchedulerOutput
from pytest_evals.engines.transformers.scheduling.scheduler import Scheduler
from pytest_evals.engines.transformers.usage import UsageMeter


class PackedBackend:
    """See `Loop`."""

    def __init__(self, scheduler: Scheduler[AnySequence], runner: ModelRunner, meter: UsageMeter, device: str) -> None:
        self._scheduler = scheduler
        self._runner = runner
        self._meter = meter
        self._device = device
        self._room = runner.slots.room

    def add(self, rows: Sequence[AnySequence]) -> None:
        """See `Loop.add`."""
        self._scheduler.add(rows)

    def __bool__(self) -> bool:
        return bool(self._scheduler)

    def step(self) -> StepProgress:
        """See `Loop.step`."""
        plan = self._scheduler.plan()
        if not plan:
            return StepProgress()
        progress = StepProgress(begun=[row for row in plan.rows if row.started is None])
        for row in progress.begun:
            row.started = self._meter.now()
        right = self._meter.usage.right_tokens
        try:
            with self._meter.forward(plan):
                progress.finished = self._runner.run(plan)
        except Exception as error:  # a model's code may raise anything
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

    def _take_back(
        self, plan: SchedulerOutput[AnySequence], failure: Failure, progress: StepProgress, *, shrink: bool
    ) -> None:
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
