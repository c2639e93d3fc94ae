"""The preflights of a run's judges: flown before anything is generated, and the end of the run when one fails."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable

import pytest

from pytest_evals.errors import EvalsError
from pytest_evals.graders.judges.preflight import Flight, Flown, flight_of
from pytest_evals.item import EVAL, EvalItem
from pytest_evals.model import Model
from pytest_evals.steps.budget import Budget
from pytest_evals.steps.calls import Caller, Calls
from pytest_evals.steps.dispatcher import Dispatcher
from pytest_evals.steps.kit import Kit
from pytest_evals.steps.runner import StepRunner
from pytest_evals.worker_notes import add_note


def fly_all(session: pytest.Session, runner: StepRunner, kit: Kit) -> str | None:
    """Fly the preflights of all judges that the session's cases ask for. Returns why the session must not go on when a judge
    fails, and has it stop after the case that runs.
    """
    flights = _flights(session.items)
    if not flights:
        return None

    async def fly(dispatcher: Dispatcher) -> list[Flown]:
        return await asyncio.gather(
            *(
                flight.fly(name, _judges(session, name, found, dispatcher, kit))
                for flight, (name, found) in flights.items()
            )
        )

    try:
        flown = runner.compute(fly)
    except EvalsError as error:
        session.shouldfail = f"the preflight of a judge could not be made: {error}"
        return session.shouldfail
    for one in flown:
        add_note(session.config, f"preflight of {one.grader}", str(one))
    failed = "; ".join(str(one) for one in flown if not one.passed)
    if failed:
        session.shouldfail = failed
    return failed or None


def _flights(items: Iterable[pytest.Item]) -> dict[Flight, tuple[str, EvalItem]]:
    """Return the preflights, each once, with the name of its judge and the first case that asks for it."""
    found: dict[Flight, tuple[str, EvalItem]] = {}
    for item in items:
        case = item.stash.get(EVAL, None)
        for step in case.workflow.steps.values() if case is not None else ():
            flight = flight_of(step.declaration.function)
            if flight is not None and case is not None:
                found.setdefault(flight, (step.name, case))
    return found


def _judges(
    session: pytest.Session, name: str, found: EvalItem, dispatcher: Dispatcher, kit: Kit
) -> Callable[[str], Model]:
    # Workers of pytest-xdist each fly; the answer to a request goes to the one that asked.
    worker = getattr(session.config, "workerinput", {}).get("workerid", "")

    def judge_for(row: str) -> Model:
        calls = Calls(Budget(kit.limits))
        return kit.handles.judge(
            Caller(f"preflight{worker}/{row}", name, dispatcher, calls, found=found, base_seed=kit.base_seed)
        )

    return judge_for
