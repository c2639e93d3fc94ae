"""The preflights of a run's judges: run before anything is generated, and the end of the run when one fails."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable

import pytest

from pytest_evals.collection.item import EVAL, EvalItem
from pytest_evals.errors import EvalsError
from pytest_evals.fixtures.declaration import PreflightCheck, PreflightResult
from pytest_evals.fixtures.limits import CallBudget
from pytest_evals.notes import add_note
from pytest_evals.runner.calls import Caller, CallLog
from pytest_evals.runner.case_tasks import RunContext
from pytest_evals.runner.dispatcher import Dispatcher
from pytest_evals.runner.model import Model
from pytest_evals.runner.task_runner import TaskRunner


def run_preflights(session: pytest.Session, runner: TaskRunner, context: RunContext) -> str | None:
    """Run the preflights of all judges that the session's cases ask for. Returns why the session must not go on when a judge
    fails, and has it stop after the case that runs.
    """
    preflights = _preflights(session.items)
    if not preflights:
        return None

    async def run(dispatcher: Dispatcher) -> list[PreflightResult]:
        return await asyncio.gather(
            *(
                preflight.run(name, _judges(session, name, found, dispatcher, context))
                for preflight, (name, found) in preflights.items()
            )
        )

    try:
        results = runner.compute(run)
    except EvalsError as error:
        if context.time_limit is not None and context.time_limit.passed:
            return None
        session.shouldfail = f"the preflight of a judge could not be made: {error}"
        return session.shouldfail
    if context.time_limit is not None and context.time_limit.passed:
        # What was not answered says nothing about a judge, and nothing more will be asked.
        return None
    for result in results:
        add_note(session.config, f"preflight of {result.grader}", str(result))
    failed = "; ".join(str(result) for result in results if not result.passed)
    if failed:
        session.shouldfail = failed
    return failed or None


def _preflights(items: Iterable[pytest.Item]) -> dict[PreflightCheck, tuple[str, EvalItem]]:
    """Return the preflights, each once, with the name of its judge and the first case that asks for it."""
    found: dict[PreflightCheck, tuple[str, EvalItem]] = {}
    for item in items:
        case = item.stash.get(EVAL, None)
        for step in case.workflow.steps.values() if case is not None else ():
            preflight = step.declaration.preflight
            if preflight is not None and case is not None:
                found.setdefault(preflight, (step.name, case))
    return found


def _judges(
    session: pytest.Session, name: str, found: EvalItem, dispatcher: Dispatcher, context: RunContext
) -> Callable[[str], Model]:
    # Workers of pytest-xdist each run them; the answer to a request goes to the one that asked.
    worker = getattr(session.config, "workerinput", {}).get("workerid", "")

    def judge_for(row: str) -> Model:
        calls = CallLog(CallBudget(context.limits))
        return context.handles.judge(
            Caller(f"preflight{worker}/{row}", name, dispatcher, calls, found=found, base_seed=context.base_seed)
        )

    return judge_for
