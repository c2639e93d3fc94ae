"""Hands in what cases ask of models, ahead of the tests, and starts their steps; waits for answers and results."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

import pytest

from pytest_evals.collection.item import EVAL
from pytest_evals.completion import Failure
from pytest_evals.engines.protocol import ModelService, Request, Result
from pytest_evals.errors import EvalsError
from pytest_evals.fixtures.context import ITEM
from pytest_evals.fixtures.declaration import CASE_TASKS
from pytest_evals.notes import add_note
from pytest_evals.runner.case_tasks import CaseTaskRun, RunContext
from pytest_evals.runner.model import ModelProvider
from pytest_evals.runner.outcome import RESULTS, forget_case
from pytest_evals.runner.preflight import run_preflights
from pytest_evals.runner.requests import requests_for, requests_of
from pytest_evals.runner.task_runner import News, TaskRunner, upcoming_items
from pytest_evals.runner.threads import blocking_note
from pytest_evals.settings import Settings, model_text

if TYPE_CHECKING:
    from pytest_evals.runner.early_stopping import EarlyStopping
    from pytest_evals.runner.time_limit import TimeLimit


# The prefetcher of this process.
SUPPLY: pytest.StashKey[Prefetcher] = pytest.StashKey()

_POLL_SECONDS = 0.5


class Prefetcher:
    """Has the completion of a case, and the results of its steps, at hand before the case runs. ``news`` is told while a
    case waits.
    """

    def __init__(
        self,
        settings: Settings,
        engines: ModelService,
        news: News | None = None,
        time_limit: TimeLimit | None = None,
    ) -> None:
        root = settings.root
        handles = ModelProvider(
            settings.judge_name,
            lambda spec: model_text(spec, root, root, settings.aliases),
            lambda spec: model_text(spec, root, root, settings.aliases, encodes=True),
        )
        self.context = RunContext(
            handles, settings.seed, settings.limits, settings.grader_timeout, time_limit=time_limit
        )
        self.pace: EarlyStopping | None = None
        """Who decides how far ahead cases are generated, and which are not needed; `None` where all are."""
        self.abort_reason: str | None = None
        """Why no case is to be generated: a judge failed its preflight."""
        self._engines = engines
        self._news = news
        self._runner = TaskRunner(engines, news)
        self._preflights_done = False
        self._submitted = False
        self._requests: dict[str, list[Request]] = {}
        self._flows: dict[str, CaseTaskRun] = {}
        self._begun: set[str] = set()
        self._without_tools: dict[tuple[str, str], str] = {}

    # -- ahead of a case

    def stopped(self, item: pytest.Item) -> bool:
        """Tell whether the case is not needed any more; what was begun for it is dropped."""
        if self.pace is None or not self.pace.stop(item):
            return False
        self._requests.pop(item.nodeid, None)
        flow = self._flows.pop(item.nodeid, None)
        if flow is not None:
            self._runner.drop(flow)
        return True

    def may_wait(self, item: pytest.Item) -> bool:
        """Tell whether `prepare` may have to wait: it does not where all was handed in before, and the answers are here."""
        nodeid = item.nodeid
        if not self._submitted or self.pace is not None or nodeid in self._flows:
            return True
        at_hand = getattr(self._engines, "at_hand", None)
        return at_hand is None or not all(map(at_hand, self._requests.get(nodeid, ())))

    def prepare(self, item: pytest.Item, nextitem: pytest.Item | None) -> None:
        """Wait until the answers to the requests of a case are there, and its steps are as far as they come without it. A case that
        lacks some when the time of the run is over is marked as one that does not run.
        """
        limit = self.context.time_limit
        if not self._preflights_done and not (limit and limit.passed):
            self._preflights_done = True
            self.abort_reason = run_preflights(item.session, self._runner, self.context)
        if self.abort_reason is not None:
            return
        self._begin_steps(item, self._hand_in(item, nextitem))
        nodeid = item.nodeid
        requests = self._requests.pop(nodeid, [])
        flow = self._flows.pop(nodeid, None)
        if flow is not None:
            self._await_steps(item, flow)
        answers = item.stash.setdefault(RESULTS, {})
        answers.update({request.id: self.wait(request) for request in requests if request.id not in answers})
        refused = [answer.error.parameter for answer in answers.values() if answer.error is not None]
        if flow is not None:
            refused += [getattr(outcome.failure, "parameter", None) for outcome in flow.results.outcomes.values()]
        if "tools" in refused:
            self._without_tools.setdefault(_group_of(item), item.nodeid)
        if limit is not None:
            self._leave_out(item, limit, flow, answers)

    def _leave_out(
        self, item: pytest.Item, limit: TimeLimit, flow: CaseTaskRun | None, answers: Mapping[str, Result]
    ) -> None:
        from pytest_evals.runner.time_limit import cut_off, has_nothing

        if (
            cut_off(answers.values())
            or (flow is not None and flow.calls.cut_off)
            or (limit.passed and not answers and has_nothing(item))
        ):
            limit.leave_out(item)

    def needless(self, item: pytest.Item) -> str | None:
        """Say why a case is not run: its model cannot be shown the tools of its suite, as another case has said."""
        if not self._without_tools:
            return None
        first = self._without_tools.get(_group_of(item))
        found = item.stash[EVAL]
        loops = any(step.declaration.offers_tools for step in found.workflow.steps.values())
        if first is None or first == item.nodeid or not (found.prepared.params.tools or loops):
            return None
        return f"the model cannot be shown tools: see the error of {first}"

    def _hand_in(self, item: pytest.Item, nextitem: pytest.Item | None) -> Iterable[pytest.Item]:
        """Hand in the requests of the cases to come; return those that this process is going to run, as far as it knows them."""
        if self.pace is not None:
            ahead = self.pace.admit(item)
            self._submit_all(ahead)
            return [item, *ahead]
        if not self._submitted:
            # One hand-over of everything that will run: the more there is to choose from, the fuller the batches.
            self._submit_all(item.session.items)
            self._submitted = True
        return upcoming_items(item, nextitem, first=not self._begun)

    def _submit_all(self, items: Iterable[pytest.Item]) -> None:
        asked = requests_of(items, self.context.base_seed)
        self._requests.update(asked)
        self._engines.submit([request for requests in asked.values() for request in requests])

    def _begin_steps(self, item: pytest.Item, coming: Iterable[pytest.Item]) -> None:
        """Start the steps of the cases to come."""
        flows = []
        for other in coming:
            nodeid = other.nodeid
            if nodeid in self._begun:
                continue
            self._begun.add(nodeid)
            found = other.stash.get(EVAL, None)
            if found is None or not found.workflow.steps:
                continue
            if "skip" not in other.keywords or (other is item and item.get_closest_marker("skip") is None):
                flows.append(self._flow(other, self._requests.get(nodeid, [])))
        if flows:
            self._flows.update((flow.item.nodeid, flow) for flow in flows)
            self._runner.start(flows)

    def _flow(self, item: pytest.Item, requests: Sequence[Request], answers: Iterable[Result] = ()) -> CaseTaskRun:
        flow = CaseTaskRun(item, requests, self.context, self._runner, {result.id: result for result in answers})
        item.stash[RESULTS] = flow.answers
        return flow

    def _await_steps(self, item: pytest.Item, flow: CaseTaskRun) -> None:
        item.stash[CASE_TASKS] = flow
        with suppress(EvalsError):
            # The fixture that asks for a missing result says so, in the setup of the case.
            self._runner.wait(lambda: flow.ahead)

    # -- while it runs, and after it

    def submit(self, request: Request) -> None:
        """Hand in one more request, without waiting."""
        self._engines.submit([request])

    def wait(self, request: Request) -> Result:
        """Wait for the answer to a request, handing it in if that has not happened yet."""
        try:
            while (result := self._engines.result(request, timeout=_POLL_SECONDS)) is None:
                if self._news:
                    self._news.tick()
        except EvalsError as error:
            return Result(request.id, error=Failure("engine", str(error)))
        finally:
            if self._news:
                self._news.rest()
        return result

    @contextmanager
    def answering(self, item: pytest.Item, result: Result) -> Iterator[None]:
        """Let the item run with ``result`` as the answer to its request."""
        token = ITEM.set(item)
        item.stash[RESULTS] = {result.id: result}
        try:
            if item.stash[EVAL].workflow.steps:
                flow = self._flow(item, requests_for(item, self.context.base_seed), [result])
                self._runner.start([flow])
                self._await_steps(item, flow)
            yield
        finally:
            ITEM.reset(token)
            self.end(item)

    def end(self, item: pytest.Item) -> None:
        """Drop what is left of a case that has run."""
        flow = item.stash.get(CASE_TASKS, None)
        if isinstance(flow, CaseTaskRun):
            self._runner.drop(flow)
        for who, seconds in dict(self._runner.watch.held).items() if self._runner.watch.held else ():
            add_note(item.config, who, blocking_note(who, seconds))
        forget_case(item)

    def close(self) -> None:
        """Stop what steps still do."""
        self._runner.close()


def _group_of(item: pytest.Item) -> tuple[str, str]:
    found = item.stash[EVAL]
    return found.info.name, found.key.model or ""
