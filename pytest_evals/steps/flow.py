"""One case's steps: runs each as soon as what it builds on is there, and keeps results and grades for the case's fixtures.

Everything here but `hand_over` and `post` happens in the event loop of `conductor`. A step that fails takes those that build
on it along, and nobody else.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from pytest_evals.collection import EVAL, EvalItem
from pytest_evals.completion import Completion
from pytest_evals.engines.protocol import Request, Result
from pytest_evals.errors import NotApplicable, StepError
from pytest_evals.grading import (
    SCOPE,
    SHEET,
    Sheet,
    call_grader,
    excluded,
    given_to_test,
    grades_of_error,
    returned_failure,
    to_grades,
)
from pytest_evals.model import Handles
from pytest_evals.plain import described
from pytest_evals.plan import choice_id
from pytest_evals.record import Recorder
from pytest_evals.steps.budget import Budget, LimitExceeded, Limits
from pytest_evals.steps.calls import Calls, Line
from pytest_evals.steps.clock import StepClock, TimedDesk
from pytest_evals.steps.desk import Desk
from pytest_evals.steps.step import Absent, Declaration
from pytest_evals.steps.tasks import plain_data
from pytest_evals.steps.workflow import Step
from pytest_evals.templates import with_tasks
from pytest_evals.timelimit import TimeLimitExceeded
from pytest_evals.turn import generated_completion, made_completion, recorded_completion

if TYPE_CHECKING:
    from pytest_evals.steps.conductor import Conductor


@dataclass(frozen=True, slots=True)
class Kit:
    """What all flows of a process work with."""

    handles: Handles
    base_seed: int
    limits: Limits
    grader_seconds: float


@dataclass(slots=True)
class Outcome:
    """What became of a step: its ``value``, or the ``failure`` that dependents and the case see. The value of a grader that
    failed is a grade all the same.
    """

    value: Any = None
    failure: BaseException | None = None


@dataclass(slots=True)
class Board:
    """What the steps of a case left so far, for its sheet."""

    sheet: Sheet = field(default_factory=Sheet)
    completion: Completion | None = None


class CaseFlow:
    """See the module. ``requests`` are those of the case's default turn and likelihoods; ``answers`` those that are known."""

    def __init__(
        self,
        item: pytest.Item,
        requests: Sequence[Request],
        kit: Kit,
        conductor: Conductor,
        answers: Mapping[str, Result] | None = None,
    ) -> None:
        self.item = item
        self.found: EvalItem = item.stash[EVAL]
        self.workflow = self.found.workflow
        self.calls = Calls(Budget(kit.limits))
        self.board = Board()
        self.outcomes: dict[str, Outcome] = {}
        self.answers: dict[str, Result] = dict(answers or {})
        self._stopped = False
        self._kit = kit
        self._conductor = conductor
        self._requests = {request.id: request for request in requests if self._wants(request)}
        self._plain: dict[str, Any] = {}
        self._tasks: dict[str, asyncio.Task[Outcome]] = {}
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
        done = self.outcomes
        return self._requests.keys() <= self.answers.keys() and all(
            key in done for key, step in self.workflow.steps.items() if not step.late
        )

    @property
    def finished(self) -> bool:
        """Tell whether all is done."""
        return self.outcomes.keys() == self.workflow.steps.keys() and self._requests.keys() <= self.answers.keys()

    # -- in the event loop

    def begin(self, desk: Desk, loop: asyncio.AbstractEventLoop) -> None:
        """Start all steps."""
        for key, request in self._requests.items():
            self._answering[key] = loop.create_task(self._answer(desk, request))
        for key, step in self.workflow.steps.items():
            if step.fixtures:
                self._fixtures[key] = loop.create_future()
            self._tasks[key] = loop.create_task(self._run(step, desk, loop))

    def stop(self) -> None:
        """Drop what is not finished: the case is over."""
        self._stopped = True
        for task in (*self._tasks.values(), *self._answering.values()):
            task.cancel()

    def provide(self, step: Step, values: Mapping[str, Any]) -> None:
        """Give a step the ordinary fixtures that it waits for; ``step`` may be that of another case of the same function."""
        mine = self.workflow.find(step.name, step.declaration)
        future = self._fixtures.get(mine.key) if mine is not None else None
        if future is not None and not future.done():
            future.set_result(values)

    async def _answer(self, desk: Desk, request: Request) -> Result:
        if request.id not in self.answers:
            self.answers[request.id] = await desk.ask(request).wait()
            self._conductor.tell()
        return self.answers[request.id]

    async def _run(self, step: Step, desk: Desk, loop: asyncio.AbstractEventLoop) -> Outcome:
        try:
            outcome = await self._outcome(step, desk, loop)
        except Exception as error:  # noqa: BLE001 - an exception that cannot even be described must not leave its case waiting
            outcome = Outcome(
                failure=StepError(f"{step} failed, and its error cannot be shown ({type(error).__name__})")
            )
        self.outcomes[step.key] = outcome
        self._conductor.tell()
        return outcome

    async def _outcome(self, step: Step, desk: Desk, loop: asyncio.AbstractEventLoop) -> Outcome:
        __tracebackhide__ = True
        if self.found.key.case_id not in self.workflow.applies_to.get(step.key, (self.found.key.case_id,)):
            return self._enter_excluded(step)
        limit = self._kit.limits.step_seconds if step.declaration.kind == "task" else self._kit.grader_seconds
        task = self._tasks[step.key]
        clock = StepClock(limit, task, loop)
        try:
            await self._check_needs(step)
            asker = TimedDesk(desk, clock, loop)
            line = Line(self.item.nodeid, step.key, asker, self.calls, found=self.found, base_seed=self._kit.base_seed)
            given = await self._arguments(step, line)
            SCOPE.set(self.scope_of(step.name) or self.found.prepared.case.scope)
            with clock:
                value = await self._call(step, given)
            return self._enter(step, value)
        except asyncio.CancelledError as error:
            if self._stopped:
                raise
            if not clock.expired:
                # Its own code cancelled something that it waited for.
                return self._enter_failure(step, StepError("was cancelled").with_traceback(error.__traceback__))
            task.uncancel()
            return self._enter_failure(step, _took_too_long(step, limit, error))
        except GeneratorExit:
            raise
        except (Exception, pytest.fail.Exception, pytest.skip.Exception) as error:  # noqa: BLE001 - a step is the user's code: whatever it raises is kept and shown as this case's error
            return self._enter_failure(step, error)
        except BaseException as error:  # noqa: BLE001 - as above; a sys.exit() ends no run of tests
            failure = StepError(f"raised {type(error).__name__}: {error}")
            return self._enter_failure(step, failure.with_traceback(error.__traceback__))

    async def _check_needs(self, step: Step) -> None:
        """Wait for the steps that this one builds on. Raises `StepError` or `NotApplicable` when one has no result."""
        __tracebackhide__ = True
        for key in step.needs:
            outcome = await asyncio.shield(self._tasks[key])
            other = self.workflow.steps[key]
            if outcome.failure is not None and other.declaration.kind == "task":
                what = _described(outcome.failure)
                raise StepError(f"builds on the task {other.name!r}, which failed: {what}") from outcome.failure
            if isinstance(outcome.value, Absent):
                raise NotApplicable(f"builds on {outcome.value.reason}")
        key = choice_id(self.item.nodeid, step.key)
        if key in self._answering:
            error = (await asyncio.shield(self._answering[key])).error
            if error is not None:
                raise StepError(f"no likelihoods ({error.kind} error): {error.message}")

    async def _arguments(self, step: Step, line: Line) -> dict[str, Any]:
        given: dict[str, Any] = {}
        for parameter, source in step.sources.items():
            if source == "step":
                given[parameter] = self.outcomes[step.arguments[parameter]].value
            elif source == "completion":
                given[parameter] = await self._default_turn()
            elif source == "model":
                given[parameter] = self._kit.handles.model(line)
            elif source == "judge":
                given[parameter] = self._kit.handles.judge(line)
            elif source == "case":
                case = self.found.prepared.case
                given[parameter] = case if parameter == "case" else Recorder(self.board.sheet)
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

    async def _call(self, step: Step, given: dict[str, Any]) -> Any:
        __tracebackhide__ = True
        declaration = step.declaration
        if declaration.kind == "task":
            return await declaration.function(**given)
        if declaration.is_async:
            return await call_grader(declaration.function, (), given)
        if not declaration.ready_made:
            # It may wait for a call of its own, and nobody else should wait for that.
            return await asyncio.to_thread(call_grader, declaration.function, (), given)
        if "request" in declaration.parameters:
            given["request"] = SimpleNamespace(node=self.item, fixturename=step.name, config=self.item.config)
        return call_grader(declaration.function, (), given)

    # -- results

    def _enter(self, step: Step, value: Any) -> Outcome:
        __tracebackhide__ = True
        if step.declaration.kind == "grader":
            grades = to_grades(value, step.name, step.declaration.threshold)
            failure = returned_failure(grades)
            if failure is not None:
                self.board.sheet.failures.setdefault(step.name, failure)
            return self._enter_grades(grades, failure)
        if step.name == "completion":
            completion = made_completion(value, self.found)
            if step.key == step.name:
                self.board.completion = completion
            return Outcome(completion)
        self._plain[step.key] = data = plain_data(value)
        if step.key == step.name:
            self.board.sheet.recorded[step.name] = data
        return Outcome(value)

    def _enter_grades(self, grades: dict[str, Any], failure: BaseException | None = None) -> Outcome:
        self.board.sheet.grades.update({grade.grader_key: grade for grade in grades.values()})
        return Outcome(given_to_test(grades), failure)

    def _enter_excluded(self, step: Step) -> Outcome:
        if step.declaration.kind == "grader":
            return self._enter_grades(excluded(step.name))
        return Outcome(Absent(f"the task {step.name!r}, which does not apply: run_if is false for this case"))

    def _enter_failure(self, step: Step, error: BaseException) -> Outcome:
        if step.declaration.kind == "grader":
            grades, failure = grades_of_error(step.name, error)
            if failure is not None:
                self.board.sheet.failures.setdefault(step.name, failure)
            return self._enter_grades(grades, failure)
        if isinstance(error, (NotApplicable, pytest.skip.Exception)):
            return Outcome(Absent(f"the task {step.name!r}, which does not apply: {error}"))
        return Outcome(failure=error)

    # -- for the fixtures of the case (the main thread)

    def knows(self, name: str, declaration: Declaration) -> bool:
        """See `steps.Flow`."""
        return self.workflow.find(name, declaration) is not None

    def aliases_of(self, grader: str) -> Sequence[str]:
        """See `steps.Flow`."""
        return self.workflow.aliases.get(grader, ())

    def scope_of(self, grader: str) -> Mapping[str, Any] | None:
        """See `steps.Flow`."""
        aliases = self.workflow.aliases.get(grader)
        if not aliases:
            return None
        results = {alias: self._plain[alias] for alias in aliases if alias in self._plain}
        return with_tasks(self.found.prepared.case.scope, results)

    def hand_over(self, name: str, declaration: Declaration, given: Mapping[str, Any]) -> Any:
        """See `steps.Flow`."""
        __tracebackhide__ = True
        try:
            return self._conductor.hand_over(self, name, declaration, given)
        finally:
            sheet = self.item.stash.get(SHEET, None)
            if sheet is not None and any(step.late for step in self.workflow.steps.values()):
                self.post(sheet)

    def raised(self, error: BaseException) -> bool:
        """Tell whether a task of the case raised this."""
        steps = self.workflow.steps
        return any(
            outcome.failure is error and steps[key].declaration.kind == "task"
            for key, outcome in dict(self.outcomes).items()
        )

    def post(self, sheet: Sheet) -> None:
        """Put results and grades on the sheet of the case."""
        mine = self.board.sheet
        sheet.grades.update(dict(mine.grades))
        sheet.recorded.update(dict(mine.recorded))
        for key, failure in dict(mine.failures).items():
            sheet.failures.setdefault(key, failure)


def _described(error: BaseException) -> str:
    return str(error) if isinstance(error, StepError) else described(error)


def _took_too_long(step: Step, seconds: float, error: BaseException) -> BaseException:
    limit: BaseException
    if step.declaration.kind == "grader":
        limit = TimeLimitExceeded(seconds)
    else:
        waiting = "waiting for models not counted"
        limit = LimitExceeded(
            f"task {step.name!r} took more than {seconds:g} s for itself, {waiting} (evals_step_timeout)"
        )
    # Where it was when its time was up.
    return limit.with_traceback(error.__traceback__)
