"""Runs the cases of this process: hands in their requests, starts their steps, waits, delivers completions, and reports
what became of each case.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

import pytest

from pytest_evals.artifacts.sample import dump, failure_data, sample_line
from pytest_evals.collection import EVAL, EvalItem
from pytest_evals.completion import Completion, Failure, Likelihood
from pytest_evals.current import ITEM
from pytest_evals.engines.protocol import Request, Result
from pytest_evals.engines.service import Generation
from pytest_evals.errors import EvalsError, NotApplicable, SuiteError
from pytest_evals.grading import SHEET, Sheet
from pytest_evals.model import Handles, Model
from pytest_evals.pacing import STOPPED, Pace
from pytest_evals.plain import described, one_line, plain
from pytest_evals.plan import choice_id, make_request, requests_for, requests_of
from pytest_evals.settings import Settings, model_text
from pytest_evals.steps.budget import Budget
from pytest_evals.steps.calls import Caller, Calls, grader_call
from pytest_evals.steps.case_flow import CaseFlow, Kit
from pytest_evals.steps.direct import DirectAsker
from pytest_evals.steps.runner import News, StepRunner
from pytest_evals.steps.step import FLOW, Absent, only_setup
from pytest_evals.steps.upcoming import coming_up
from pytest_evals.trust.preflights import fly_all
from pytest_evals.turn import generated_completion, recorded_completion
from pytest_evals.verdicts import State, add_properties, describe, judge_phase, make_harmless

# The one who runs the cases of this process.
RUN: pytest.StashKey[CaseRun] = pytest.StashKey()
# The answers to an item's requests by the request's id, kept for reruns of the item.
RESULTS: pytest.StashKey[dict[str, Result]] = pytest.StashKey()
# The completion that was delivered to the case.
COMPLETION: pytest.StashKey[Completion] = pytest.StashKey()
# How the case stands so far.
STATE: pytest.StashKey[State] = pytest.StashKey()
# The calls of models that the case made, and who makes more of them for its test.
CALLS: pytest.StashKey[tuple[Calls, Caller]] = pytest.StashKey()

_POLL_SECONDS = 0.5


class CaseRun:
    """Hooks around each case. ``news`` is told while a case waits for its completion."""

    def __init__(self, settings: Settings, engines: Generation, news: News | None = None) -> None:
        self._settings = settings
        self._engines = engines
        self._news = news
        self._submitted = False
        self._flown = False
        self._grounded: str | None = None
        self._requests: dict[str, list[Request]] = {}
        self._runner = StepRunner(engines, news)
        self._flows: dict[str, CaseFlow] = {}
        self._begun: set[str] = set()
        handles = Handles(settings.judge_name, self._named)
        self._kit = Kit(handles, settings.seed, settings.limits, settings.grader_timeout)
        self._audited: dict[str, tuple[Request, dict[str, Any]] | None] = {}
        self.pace: Pace | None = None
        """Who decides how far ahead cases are generated, and which are not needed; `None` where all are."""

    def _named(self, spec: str) -> str:
        root = self._settings.root
        return model_text(spec, root, root, self._settings.aliases)

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_protocol(self, item: pytest.Item, nextitem: pytest.Item | None) -> Any:
        """Have the completion and the results of steps at hand before the item starts: capture is off here, and no timeout
        of the test runs.
        """
        token = ITEM.set(item)
        try:
            if EVAL in item.stash and not only_setup(item.config) and not self._stopped(item):
                self._generate(item, nextitem)
            return (yield)
        finally:
            ITEM.reset(token)
            self._end(item)

    def _stopped(self, item: pytest.Item) -> bool:
        """Tell whether the case is not needed any more; what was begun for it is dropped."""
        if self.pace is None or not self.pace.stop(item):
            return False
        self._requests.pop(item.nodeid, None)
        flow = self._flows.pop(item.nodeid, None)
        if flow is not None:
            self._runner.drop(flow)
        return True

    def _generate(self, item: pytest.Item, nextitem: pytest.Item | None) -> None:
        if not self._flown:
            self._flown = True
            self._grounded = fly_all(item.session, self._runner, self._kit)
        if self._grounded is not None:
            return
        coming: Iterable[pytest.Item]
        if self.pace is not None:
            ahead = self.pace.admit(item)
            coming = [item, *ahead]
            admitted = requests_of(ahead, self._settings.seed)
            self._requests.update(admitted)
            self._engines.submit([request for asked in admitted.values() for request in asked])
        elif not self._submitted:
            # One hand-over of everything that will run: the more there is to choose from, the fuller the batches.
            self._requests = requests_of(item.session.items, self._settings.seed)
            self._engines.submit([request for asked in self._requests.values() for request in asked])
            self._submitted = True
        if self.pace is None:
            coming = coming_up(item, nextitem, first=not self._begun)
        self._begin_steps(item, coming)
        requests = self._requests.pop(item.nodeid, [])
        flow = self._flows.pop(item.nodeid, None)
        if flow is not None:
            self._await_steps(item, flow)
        answers = item.stash.setdefault(RESULTS, {})
        answers.update({request.id: self.wait(request) for request in requests if request.id not in answers})

    def _begin_steps(self, item: pytest.Item, coming: Iterable[pytest.Item]) -> None:
        """Start the steps of all cases that this process is going to run, as far as it knows them."""
        flows = []
        for other in coming:
            if other.nodeid in self._begun:
                continue
            self._begun.add(other.nodeid)
            found = other.stash.get(EVAL, None)
            if found is None or not found.workflow.steps:
                continue
            if "skip" not in other.keywords or (other is item and item.get_closest_marker("skip") is None):
                flows.append(self._flow(other, self._requests.get(other.nodeid, [])))
        self._flows.update((flow.item.nodeid, flow) for flow in flows)
        self._runner.start(flows)

    def _flow(self, item: pytest.Item, requests: Sequence[Request], answers: Iterable[Result] = ()) -> CaseFlow:
        flow = CaseFlow(item, requests, self._kit, self._runner, {result.id: result for result in answers})
        item.stash[RESULTS] = flow.answers
        return flow

    def _await_steps(self, item: pytest.Item, flow: CaseFlow) -> None:
        item.stash[FLOW] = flow
        with suppress(EvalsError):
            # Whoever asks for a result that is missing says so, in the setup of the case.
            self._runner.wait(lambda: flow.ahead)

    def _end(self, item: pytest.Item) -> None:
        flow = item.stash.get(FLOW, None)
        if isinstance(flow, CaseFlow):
            self._runner.drop(flow)
        # Thousands of finished cases need not be kept; a rerun happens inside of this protocol.
        _forget(item, RESULTS, COMPLETION, STATE, SHEET, FLOW, CALLS)

    def pytest_unconfigure(self) -> None:
        """Stop what steps still do, however the session ended."""
        self._runner.close()

    # -- for an audit

    def asking(self, items: Iterable[pytest.Item]) -> list[str]:
        """Return the cases whose completion a model will be asked for."""
        return [
            nodeid for nodeid, requests in requests_of(items, self._settings.seed).items() if requests[0].id == nodeid
        ]

    def keep_for_audit(self, nodeids: Iterable[str]) -> None:
        """Have requests and samples of these cases kept."""
        self._audited = dict.fromkeys(nodeids)

    def kept_for_audit(self) -> dict[str, tuple[Request, dict[str, Any]]]:
        """Return request and sample of the cases that ran here and got a completion."""
        return {nodeid: kept for nodeid, kept in self._audited.items() if kept is not None}

    @contextmanager
    def answering(self, item: pytest.Item, result: Result) -> Iterator[None]:
        """Let the item run with ``result`` as the answer to its request."""
        token = ITEM.set(item)
        item.stash[RESULTS] = {result.id: result}
        try:
            if item.stash[EVAL].workflow.steps:
                flow = self._flow(item, requests_for(item, self._settings.seed), [result])
                self._runner.start([flow])
                self._await_steps(item, flow)
            yield
        finally:
            ITEM.reset(token)
            self._end(item)

    # -- requests

    def submit(self, request: Request) -> None:
        """Hand in one more request, without waiting."""
        self._engines.submit([request])

    def wait(self, request: Request) -> Result:
        """Wait for the answer to a request, handing it in if nobody has."""
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

    def deliver(self, item: pytest.Item, found: EvalItem) -> Completion:
        """Return the completion of the case, or fail its setup with the reason why there is none."""
        if found.prepared.recorded is not None:
            return recorded_completion(found)
        if only_setup(item.config):
            pytest.skip("--setup-only and --setup-plan ask no model")
        results = item.stash.setdefault(RESULTS, {})
        if item.nodeid not in results:
            # Nothing announced that this test would ask (getfixturevalue): its turn is generated now, alone.
            if found.prepared.problem:
                raise SuiteError(f"{found.info.name}: {found.prepared.case.place} {found.prepared.problem}")
            results[item.nodeid] = self.wait(
                make_request(item.nodeid, found, found.key.model or found.models[0], self._settings.seed)
            )
        return generated_completion(_answered(item, results[item.nodeid], "completion"), found)

    def handle(self, item: pytest.Item, name: str) -> Model:
        """Return the model under test or the judge, to be called by the test of the case."""
        line = item.stash[CALLS][1]
        return self._kit.handles.judge(line) if name == "judge" else self._kit.handles.model(line)

    def likelihoods(self, item: pytest.Item, grader: str) -> tuple[Likelihood, ...]:
        """Return the likelihoods that a grader of the case asked for, or fail its setup with why there are none."""
        if only_setup(item.config):
            pytest.skip("--setup-only and --setup-plan ask no model")
        results = item.stash.setdefault(RESULTS, {})
        key = choice_id(item.nodeid, grader)
        if key not in results:
            # As above: the test asked with getfixturevalue.
            asked = {request.id: request for request in requests_for(item, self._settings.seed)}
            if key not in asked:
                raise SuiteError(f"the grader {grader!r} asks a model: name it among the arguments of the test")
            results[key] = self.wait(asked[key])
        return _answered(item, results[key], "likelihoods").likelihoods or ()

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_setup(self, item: pytest.Item) -> Any:
        """After all graders gave their grades, let what one of them raised be the error of this case."""
        __tracebackhide__ = True
        if EVAL in item.stash and STOPPED not in item.stash:
            # Fresh for every attempt: a rerun of the item must not see what the attempt before left.
            self._fresh(item)
            if self._grounded is not None:
                pytest.fail(plain(self._grounded, 2000), pytrace=False)
        try:
            yield
        except NotApplicable as reason:
            if EVAL not in item.stash:
                raise
            # A fixture looked into the result of a task that does not apply.
            pytest.skip(one_line(str(reason)))
        sheet = item.stash.get(SHEET, None)
        if sheet is not None and sheet.failures:
            raise next(iter(sheet.failures.values()))

    def _fresh(self, item: pytest.Item) -> None:
        sheet = item.stash[SHEET] = Sheet()
        item.stash[STATE] = State()
        _forget(item, COMPLETION)
        flow = item.stash.get(FLOW, None)
        used = Budget(self._settings.limits)
        if isinstance(flow, CaseFlow):
            # Results and grades of steps stand there whatever happens to the test.
            flow.results.post(sheet)
            used = flow.calls.budget
        calls = Calls(Budget(self._settings.limits, used.calls, used.tokens))
        item.stash[CALLS] = (
            calls,
            Caller(item.nodeid, None, DirectAsker(self), calls, found=item.stash[EVAL], base_seed=self._settings.seed),
        )

    @pytest.hookimpl(wrapper=True)
    def pytest_pyfunc_call(self, pyfuncitem: pytest.Function) -> Any:
        """A test that needs a grade which does not apply is itself not applicable."""
        __tracebackhide__ = True
        if FLOW in pyfuncitem.stash:
            _skip_without_task(pyfuncitem)
        try:
            return (yield)
        except NotApplicable as reason:
            if EVAL not in pyfuncitem.stash:
                raise
            pytest.skip(one_line(str(reason)))

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(self, item: pytest.Item, call: pytest.CallInfo[None]) -> Any:
        """Turn a miss into an xfail, keep what the phase showed, and send the finished case along with its last report."""
        found = item.stash.get(EVAL, None)
        state = item.stash.get(STATE, None)
        if found is None or state is None:
            return (yield)
        sheet = item.stash[SHEET]
        if call.when == "teardown":
            add_properties(item, sheet)
        report: pytest.TestReport = yield
        state.timing[str(report.when)] = report.duration
        flow = item.stash.get(FLOW, None)
        if isinstance(flow, CaseFlow) and call.excinfo is not None and flow.results.raised(call.excinfo.value):
            state.error = {"kind": "task", "message": described(call.excinfo.value)}
        judge_phase(report, call, state, sheet, gated=bool(found.info.gates) and not self._settings.strict_cases)
        if report.when == "call" and report.failed:
            report.sections.append(("Eval", describe(_completion_of(item), sheet)))
        make_harmless(report)
        if report.when == "teardown" and not only_setup(item.config):
            report.evals = self._sample(item, found, state, sheet)  # type: ignore[attr-defined]  # extra attributes travel with a report
        return report

    def _sample(self, item: pytest.Item, found: EvalItem, state: State, sheet: Sheet) -> str:
        completion = _completion_of(item)
        if completion is not None and completion.latency is not None:
            state.timing["generation"] = completion.latency
            if completion.queued is not None:
                state.timing["queued"] = completion.queued
        line = sample_line(
            item.nodeid,
            found,
            outcome=state.outcome,
            completion=completion,
            sheet=sheet,
            error=state.error if state.outcome == "errored" else None,
            timing=state.timing,
            calls=_calls_of(item),
        )
        if item.nodeid in self._audited and completion is not None:
            request = make_request(item.nodeid, found, found.key.model, self._settings.seed)
            self._audited[item.nodeid] = (request, line)
        return dump(line)


def eval_item(fixture: str) -> tuple[pytest.Item, EvalItem]:
    """Return the case that runs, for ``fixture``. Raises `SuiteError` when the test that asks is no eval."""
    item = ITEM.get()
    found = item.stash.get(EVAL, None) if item else None
    if item is None or found is None:
        where = item.nodeid if item else "the test"
        raise SuiteError(f"the fixture {fixture!r} is for evals: put @cases(...) on {where}, and run it with --evals")
    return item, found


def sheet_of(item: pytest.Item) -> Sheet:
    """Return the sheet of a case that runs."""
    return item.stash[SHEET]


def deliver() -> Completion:
    """Return the completion for the case that runs; see `CaseRun.deliver`."""
    item, found = eval_item("completion")
    completion = item.stash[COMPLETION] = item.config.stash[RUN].deliver(item, found)
    return completion


def handle(name: str) -> Model:
    """Return the handle ``model`` or ``judge`` for the case that runs."""
    item, _ = eval_item(name)
    if only_setup(item.config):
        pytest.skip("--setup-only and --setup-plan ask no model")
    return item.config.stash[RUN].handle(item, name)


def likelihoods_for(item: pytest.Item, grader: str) -> tuple[Likelihood, ...]:
    """Return what a grader of the case that runs asked for; see `CaseRun.likelihoods`."""
    return item.config.stash[RUN].likelihoods(item, grader)


def _answered(item: pytest.Item, result: Result, what: str) -> Result:
    """Return the result, or fail the case with the error that took its place."""
    if result.error is not None:
        item.stash[STATE].error = failure_data(result.error)
        pytest.fail(plain(f"no {what} ({result.error.kind} error): {result.error.message}", 2000), pytrace=False)
    return result


def _forget(item: pytest.Item, *keys: pytest.StashKey[Any]) -> None:
    for key in keys:
        if key in item.stash:
            del item.stash[key]


def _skip_without_task(item: pytest.Function) -> None:
    """A test that asks for a task which does not apply to the case does not apply either."""
    __tracebackhide__ = True
    for name in item._fixtureinfo.argnames:  # noqa: SLF001 - not public in pytest, which calls the test by it
        value = item.funcargs.get(name)
        if isinstance(value, Absent):
            pytest.skip(one_line(value.reason))


def _completion_of(item: pytest.Item) -> Completion | None:
    """Return the completion of the case: one that a task made in the place of the default turn, or that."""
    flow = item.stash.get(FLOW, None)
    made = flow.results.completion if isinstance(flow, CaseFlow) else None
    return made or item.stash.get(COMPLETION, None)


def _calls_of(item: pytest.Item) -> list[dict[str, Any]]:
    """Return the calls of the case: those of its steps, with late ones, then those of the test."""
    made = item.stash[CALLS][0].made
    flow = item.stash.get(FLOW, None)
    steps = flow.calls.made if isinstance(flow, CaseFlow) else []
    found = item.stash[EVAL]
    keys = {grader: choice_id(item.nodeid, grader) for grader in found.asks}
    answers = item.stash.get(RESULTS, {})
    weighed = [grader_call(grader, found.key.model, answers[key]) for grader, key in keys.items() if key in answers]
    return [*weighed, *steps, *made]
