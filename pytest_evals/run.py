"""Runs the cases of this process: hands in their requests, waits, delivers completions, and reports what became of each
case.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, Protocol

import pytest

from pytest_evals.collection import EVAL, RECORDED, EvalItem
from pytest_evals.completion import Completion, Failure, Likelihood
from pytest_evals.current import ITEM
from pytest_evals.engines.protocol import Request, Result
from pytest_evals.engines.service import Generation
from pytest_evals.errors import EvalsError, NotApplicable, SuiteError
from pytest_evals.grading import SHEET, Sheet
from pytest_evals.model import Model
from pytest_evals.plain import one_line, plain
from pytest_evals.plan import choice_id, make_request, requests_for, requests_of
from pytest_evals.sample import dump, failure_data, sample_line
from pytest_evals.settings import Settings
from pytest_evals.verdicts import State, add_properties, describe, judge_phase, make_harmless

# The one who runs the cases of this process.
RUN: pytest.StashKey[CaseRun] = pytest.StashKey()
# The answers to an item's requests by the request's id, kept for reruns of the item.
RESULTS: pytest.StashKey[dict[str, Result]] = pytest.StashKey()
# The completion that was delivered to the case.
COMPLETION: pytest.StashKey[Completion] = pytest.StashKey()
# How the case stands so far.
STATE: pytest.StashKey[State] = pytest.StashKey()

_POLL_SECONDS = 0.5


class News(Protocol):
    """Somebody who tells a person what goes on."""

    def tick(self) -> None:
        """Tell what is new; called often."""
        ...

    def rest(self) -> None:
        """Be quiet: pytest is going to print."""
        ...


class CaseRun:
    """Hooks around each case. ``news`` is told while a case waits for its completion."""

    def __init__(self, settings: Settings, engines: Generation, news: News | None = None) -> None:
        self._settings = settings
        self._engines = engines
        self._news = news
        self._submitted = False
        self._requests: dict[str, list[Request]] = {}
        self._audited: dict[str, tuple[Request, dict[str, Any]] | None] = {}

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Any:
        """Have the completion at hand before the item starts: capture is off here, and no timeout of the test runs."""
        token = ITEM.set(item)
        try:
            if EVAL in item.stash and not _only_setup(item.config):
                self._generate(item)
            return (yield)
        finally:
            ITEM.reset(token)
            # Thousands of finished cases need not be kept; a rerun happens inside of this protocol.
            _forget(item, RESULTS, COMPLETION, STATE, SHEET)

    def _generate(self, item: pytest.Item) -> None:
        if not self._submitted:
            # One hand-over of everything that will run: the more there is to choose from, the fuller the batches.
            self._requests = requests_of(item.session.items, self._settings.seed)
            self._engines.submit([request for asked in self._requests.values() for request in asked])
            self._submitted = True
        item.stash[RESULTS] = {request.id: self.wait(request) for request in self._requests.pop(item.nodeid, ())}

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
            yield
        finally:
            ITEM.reset(token)
            _forget(item, RESULTS, COMPLETION, STATE, SHEET)

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
            return _recorded(found)
        if _only_setup(item.config):
            pytest.skip("--setup-only and --setup-plan ask no model")
        results = item.stash.setdefault(RESULTS, {})
        if item.nodeid not in results:
            # Nothing announced that this test would ask (getfixturevalue): its turn is generated now, alone.
            if found.prepared.problem:
                raise SuiteError(f"{found.info.name}: {found.prepared.case.place} {found.prepared.problem}")
            results[item.nodeid] = self.wait(
                make_request(item.nodeid, found, found.key.model or found.models[0], self._settings.seed)
            )
        return _completion(_answered(item, results[item.nodeid], "completion"), found)

    def model(self, item: pytest.Item, found: EvalItem) -> Model:
        """Return the model under test, to be called by the case."""
        return Model(self, item.nodeid, found, self._settings.seed)

    def likelihoods(self, item: pytest.Item, grader: str) -> tuple[Likelihood, ...]:
        """Return the likelihoods that a grader of the case asked for, or fail its setup with why there are none."""
        if _only_setup(item.config):
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
        if EVAL in item.stash:
            # Fresh for every attempt: a rerun of the item must not see what the attempt before left.
            item.stash[SHEET] = Sheet()
            item.stash[STATE] = State()
            _forget(item, COMPLETION)
        yield
        sheet = item.stash.get(SHEET, None)
        if sheet is not None and sheet.failures:
            raise next(iter(sheet.failures.values()))

    @pytest.hookimpl(wrapper=True)
    def pytest_pyfunc_call(self, pyfuncitem: pytest.Function) -> Any:
        """A test that needs a grade which does not apply is itself not applicable."""
        __tracebackhide__ = True
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
        judge_phase(report, call, state, sheet, gated=bool(found.info.gates) and not self._settings.strict_cases)
        if report.when == "call" and report.failed:
            report.sections.append(("Eval", describe(item.stash.get(COMPLETION, None), sheet)))
        make_harmless(report)
        if report.when == "teardown" and not _only_setup(item.config):
            report.evals = self._sample(item, found, state, sheet)  # type: ignore[attr-defined]  # extra attributes travel with a report
        return report

    def _sample(self, item: pytest.Item, found: EvalItem, state: State, sheet: Sheet) -> str:
        completion = item.stash.get(COMPLETION, None)
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


def handle() -> Model:
    """Return the model under test for the case that runs."""
    item, found = eval_item("model")
    if _only_setup(item.config):
        pytest.skip("--setup-only and --setup-plan ask no model")
    return item.config.stash[RUN].model(item, found)


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


def _only_setup(config: pytest.Config) -> bool:
    return bool(config.getoption("setuponly", False) or config.getoption("setupplan", False))


def _recorded(found: EvalItem) -> Completion:
    text = found.prepared.recorded or ""
    answer = {"role": "assistant", "content": text}
    return Completion(text, (*found.prepared.prompt, answer), "recorded", model=RECORDED)


def _completion(result: Result, found: EvalItem) -> Completion:
    prompt = list(found.prepared.prompt)
    text = result.text
    answer = {"role": "assistant", "content": text}
    if prompt and prompt[-1]["role"] == "assistant":
        # The model continued the last turn; as a message it is one.
        answer["content"] = f"{prompt.pop()['content']}{text}"
    return Completion(
        text,
        (*prompt, answer),
        result.finish_reason,
        model=found.key.model or found.models[0],
        prompt_tokens=result.prompt_tokens,
        completion_tokens=result.completion_tokens,
        logprobs=result.logprobs,
        samples=result.samples or (),
        queued=result.queued,
        latency=result.latency,
        fingerprint=result.fingerprint,
    )
