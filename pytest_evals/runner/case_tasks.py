"""One case's way through its workflow: runs each step as soon as what it builds on is there, and hands results to the
fixtures of the case.

Everything here but what fixtures call happens in the event loop of `runner`. A step that fails takes along those that
build on it, and no others.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from functools import partial
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, Protocol

import pytest

from pytest_evals.collection.item import EVAL, EvalItem
from pytest_evals.completion import Completion
from pytest_evals.engines.protocol import Request, Result
from pytest_evals.errors import NotApplicable, StepError
from pytest_evals.fixtures.context import GRADE_SHEET, SCOPE, CaseRecorder
from pytest_evals.fixtures.declaration import FixtureSpec, NotApplicableResult
from pytest_evals.fixtures.dependencies import TaskNode
from pytest_evals.fixtures.grader import call_grader
from pytest_evals.fixtures.limits import CallBudget, CallLimits, TimeLimitExceeded
from pytest_evals.runner.calls import Caller, CallLog
from pytest_evals.runner.completions import generated_completion, recorded_completion
from pytest_evals.runner.dispatcher import Dispatcher, StepClock, TimedDispatcher, time_is_up
from pytest_evals.runner.model import ModelProvider
from pytest_evals.runner.requests import choice_id
from pytest_evals.runner.task_results import TaskOutcome, TaskResults
from pytest_evals.runner.threads import STEP, DaemonThreads, RunningStep, watch_turn
from pytest_evals.text import described

if TYPE_CHECKING:
    from pytest_evals.runner.time_limit import TimeLimit


class TaskStarter(Protocol):
    """Who runs the flows of all cases, and waits for them."""

    def tell(self) -> None:
        """Something was finished."""
        ...

    def hand_over(self, flow: CaseTaskRun, name: str, declaration: FixtureSpec, given: Mapping[str, Any]) -> Any:
        """Wait for a step, and return its result or raise what it raised."""
        ...


class CaseTaskRun:
    """See the module. ``requests`` are those of the case's default turn and likelihoods; ``answers`` those that are known."""

    def __init__(
        self,
        item: pytest.Item,
        requests: Sequence[Request],
        context: RunContext,
        runner: TaskStarter,
        answers: Mapping[str, Result] | None = None,
    ) -> None:
        self.item = item
        self.found: EvalItem = item.stash[EVAL]
        self.workflow = self.found.workflow
        self.calls = CallLog(CallBudget(context.limits))
        self.results = TaskResults(self.found)
        self.answers: dict[str, Result] = dict(answers or {})
        self._stopped = False
        self._kit = context
        self._runner = runner
        self._requests = {request.id: request for request in requests if self._wants(request)}
        self._tasks: dict[str, asyncio.Task[TaskOutcome]] = {}
        self._answering: dict[str, asyncio.Task[Result]] = {}
        self._fixtures: dict[str, asyncio.Future[Mapping[str, Any]]] = {}

    def _wants(self, request: Request) -> bool:
        """Tell whether some step needs the answer to a request of the case, so that it comes this way."""
        if request.id == self.item.nodeid:
            return self.workflow.asks_for("completion")
        return any(request.id == choice_id(self.item.nodeid, key) for key in self.workflow.steps)

    @property
    def wanted(self) -> set[str]:
        """The requests of the case whose answers come this way."""
        return set(self._requests)

    @property
    def ahead(self) -> bool:
        """Tell whether all is done that can be done before the case is set up."""
        done = self.results.outcomes
        return self._requests.keys() <= self.answers.keys() and all(
            key in done for key, step in self.workflow.steps.items() if not step.late
        )

    @property
    def finished(self) -> bool:
        """Tell whether all is done."""
        return (
            self.results.outcomes.keys() == self.workflow.steps.keys() and self._requests.keys() <= self.answers.keys()
        )

    # -- in the event loop

    def begin(self, dispatcher: Dispatcher, loop: asyncio.AbstractEventLoop) -> None:
        """Start all steps."""
        for key, request in self._requests.items():
            self._answering[key] = loop.create_task(self._answer(dispatcher, request))
        for key, step in self.workflow.steps.items():
            if step.fixtures:
                self._fixtures[key] = loop.create_future()
            self._tasks[key] = loop.create_task(self._run(step, dispatcher, loop))

    def stop(self) -> None:
        """Drop what is not finished: the case is over."""
        self._stopped = True
        for task in (*self._tasks.values(), *self._answering.values()):
            task.cancel()

    def provide(self, step: TaskNode, values: Mapping[str, Any]) -> None:
        """Give a step the ordinary fixtures that it waits for; ``step`` may be that of another case of the same function."""
        mine = self.workflow.find(step.name, step.declaration)
        future = self._fixtures.get(mine.key) if mine is not None else None
        if future is not None and not future.done():
            future.set_result(values)

    async def _answer(self, dispatcher: Dispatcher, request: Request) -> Result:
        if request.id not in self.answers:
            self.answers[request.id] = await dispatcher.ask(request).wait()
            self._runner.tell()
        return self.answers[request.id]

    async def _run(self, step: TaskNode, dispatcher: Dispatcher, loop: asyncio.AbstractEventLoop) -> TaskOutcome:
        try:
            outcome = await self._outcome(step, dispatcher, loop)
        except Exception as error:  # noqa: BLE001 - an exception that cannot even be described must not leave its case waiting
            outcome = TaskOutcome(
                failure=StepError(f"{step} failed, and its error cannot be shown ({type(error).__name__})")
            )
        self.results.outcomes[step.key] = outcome
        self._runner.tell()
        return outcome

    async def _outcome(self, step: TaskNode, dispatcher: Dispatcher, loop: asyncio.AbstractEventLoop) -> TaskOutcome:
        __tracebackhide__ = True
        if self.found.key.case_id not in self.workflow.applies_to.get(step.key, (self.found.key.case_id,)):
            return self.results.of_excluded(step)
        limit = self._kit.limits.step_seconds if step.declaration.kind == "task" else self._kit.grader_seconds
        if step.declaration.limited:
            limit = 0
        task = self._tasks[step.key]
        clock = StepClock(limit, task, loop)
        try:
            await self._check_needs(step)
            asker = TimedDispatcher(dispatcher, clock, loop)
            caller = Caller(
                self.item.nodeid, step.key, asker, self.calls, found=self.found, base_seed=self._kit.base_seed
            )
            given = await self._arguments(step, caller)
            self._check_time(step)
            self._begin_turn(step, limit)
            SCOPE.set(self.results.scope_of(step.name) or self.found.prepared.case.scope)
            with clock:
                value = await invoke(
                    step, given, self.item, self._kit.threads, clock.paused(), partial(self._check_time, step)
                )
            return self.results.of_value(step, value)
        except asyncio.CancelledError as error:
            if self._stopped:
                raise
            if not clock.expired:
                # Its own code cancelled something that it waited for.
                return self.results.of_error(step, StepError("was cancelled").with_traceback(error.__traceback__))
            task.uncancel()
            return self.results.of_error(step, time_is_up(step.declaration.kind, step.name, limit, error))
        except GeneratorExit:
            raise
        except BaseException as error:  # noqa: BLE001 - a step is the user's code: whatever it raises is kept and shown as this case's error
            return self.results.of_error(step, _failure(step, limit, error))

    def _check_time(self, step: TaskNode) -> None:
        """Begin no task once the time of the run is over; what grades an answer that is here may begin."""
        limit = self._kit.time_limit
        if limit is not None and limit.passed and step.declaration.kind == "task":
            self.calls.cut_off = True
            raise StepError(limit.reason)

    def _begin_turn(self, step: TaskNode, limit: float) -> None:
        running = RunningStep(
            step.name, step.declaration, f"{step.declaration.called(step.name)} of {self.item.nodeid}", limit
        )
        STEP.set(running)
        watch_turn(running)

    async def _check_needs(self, step: TaskNode) -> None:
        """Wait for the steps that this one builds on. Raises `StepError` or `NotApplicable` when one has no result."""
        __tracebackhide__ = True
        for key in step.needs:
            outcome = await asyncio.shield(self._tasks[key])
            other = self.workflow.steps[key]
            if outcome.failure is not None and other.declaration.kind == "task":
                what = _described(outcome.failure)
                raise StepError(f"builds on the task {other.name!r}, which failed: {what}") from outcome.failure
            if isinstance(outcome.value, NotApplicableResult):
                raise NotApplicable(f"builds on {outcome.value.reason}")
        key = choice_id(self.item.nodeid, step.key)
        if key in self._answering:
            error = (await asyncio.shield(self._answering[key])).error
            if error is not None:
                raise StepError(f"no likelihoods ({error.kind} error): {error.message}")

    async def _arguments(self, step: TaskNode, caller: Caller) -> dict[str, Any]:
        given: dict[str, Any] = {}
        for parameter, source in step.sources.items():
            if source == "step":
                given[parameter] = self.results.outcomes[step.arguments[parameter]].value
            elif source == "completion":
                given[parameter] = await self._default_turn()
            elif source == "model":
                given[parameter] = self._kit.handles.model(caller)
            elif source == "judge":
                given[parameter] = self._kit.handles.judge(caller)
            elif source == "encoder":
                given[parameter] = self._kit.handles.encoder(caller)
            elif source == "parameter":
                given[parameter] = self.item.callspec.params[parameter]  # type: ignore[attr-defined]  # every case is parametrized
            elif source == "case":
                case = self.found.prepared.case
                given[parameter] = case if parameter == "case" else CaseRecorder(self.results.sheet)
        if step.fixtures:
            given.update(await self._fixtures[step.key])
        return given

    async def _default_turn(self) -> Completion:
        if self.found.prepared.recorded is not None:
            return recorded_completion(self.found)
        result = await asyncio.shield(self._answering[self.item.nodeid])
        if result.error is not None:
            raise StepError(f"no completion ({result.error.kind} error): {result.error.message}")
        return generated_completion(result, self.found)

    # -- for the fixtures of the case (the main thread)

    def knows(self, name: str, declaration: FixtureSpec) -> bool:
        """See `CaseTasks`."""
        return self.workflow.find(name, declaration) is not None

    def aliases_of(self, grader: str) -> Sequence[str]:
        """See `CaseTasks`."""
        return self.workflow.aliases.get(grader, ())

    def scope_of(self, grader: str) -> Mapping[str, Any] | None:
        """See `CaseTasks`."""
        return self.results.scope_of(grader)

    def hand_over(self, name: str, declaration: FixtureSpec, given: Mapping[str, Any]) -> Any:
        """See `CaseTasks`."""
        __tracebackhide__ = True
        try:
            return self._runner.hand_over(self, name, declaration, given)
        finally:
            sheet = self.item.stash.get(GRADE_SHEET, None)
            if sheet is not None and any(step.late for step in self.workflow.steps.values()):
                self.results.post(sheet)


def _failure(step: TaskNode, limit: float, error: BaseException) -> BaseException:
    """Return the failure of a step that raised ``error``; a sys.exit() ends no run of tests."""
    if isinstance(error, TimeLimitExceeded):
        return time_is_up(step.declaration.kind, step.name, error.seconds or limit, error)
    if isinstance(error, (Exception, pytest.fail.Exception, pytest.skip.Exception)):
        return error
    return StepError(f"raised {type(error).__name__}: {error}").with_traceback(error.__traceback__)


def _described(error: BaseException) -> str:
    return str(error) if isinstance(error, StepError) else described(error)


# -- Calls the function of a step with what it asked for.


async def invoke(
    step: TaskNode,
    given: Mapping[str, Any],
    item: pytest.Item,
    threads: DaemonThreads,
    waiting: AbstractContextManager[None],
    check: Callable[[], None] = lambda: None,
) -> Any:
    """Return what the function of a step returns for the case ``item``, or raise what it raises. ``waiting`` is entered while
    it cannot start; ``check`` raises where it must not start after that.
    """
    __tracebackhide__ = True
    declaration = step.declaration
    if declaration.ready_made and "request" in declaration.parameters:
        given = {**given, "request": SimpleNamespace(node=item, fixturename=step.name, config=item.config)}
    # Whether what a task was given applies is looked at before this.
    call = (
        partial(declaration.function, **given)
        if declaration.kind == "task"
        else partial(call_grader, declaration.function, (), given)
    )
    if declaration.is_async:
        return await call()
    if not declaration.waits:
        return call()

    def checked() -> Any:
        __tracebackhide__ = True
        check()
        return call()

    value = await threads.run(checked, waiting)
    # What a decorator made of an async function may not look like one.
    return await value if inspect.iscoroutine(value) else value


# -- What the flows of all cases of a process work with.


@dataclass(frozen=True, slots=True)
class RunContext:
    """See the module. ``grader_seconds``: what a grader may take for itself; the limits have that of a task."""

    handles: ModelProvider
    base_seed: int
    limits: CallLimits
    grader_seconds: float
    threads: DaemonThreads = field(default_factory=DaemonThreads)
    time_limit: TimeLimit | None = None
