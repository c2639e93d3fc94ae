"""Runs the cases of this process: hands in their requests, waits, delivers completions, and reports what became of each
case.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from pytest_evals.collection import EVAL, RECORDED, EvalItem
from pytest_evals.completion import Completion, Failure
from pytest_evals.current import ITEM
from pytest_evals.engines.pool import Generation
from pytest_evals.engines.protocol import Request, Result
from pytest_evals.errors import EvalsError, NotApplicable, SuiteError
from pytest_evals.grading import SHEET, Sheet
from pytest_evals.plain import one_line, plain
from pytest_evals.plan import make_request, requests_of
from pytest_evals.sample import dump, failure_data, sample_line
from pytest_evals.settings import Settings
from pytest_evals.verdicts import State, add_properties, describe, judge_phase, make_harmless

# The one who runs the cases of this process.
RUN: pytest.StashKey[CaseRun] = pytest.StashKey()
# The answer to an item's request, kept for reruns of the item.
RESULT: pytest.StashKey[Result] = pytest.StashKey()
# The completion that was delivered to the case.
COMPLETION: pytest.StashKey[Completion] = pytest.StashKey()
# How the case stands so far.
STATE: pytest.StashKey[State] = pytest.StashKey()

_POLL_SECONDS = 0.5


class CaseRun:
    """Hooks around each case. ``tick`` is called while a case waits for its completion."""

    def __init__(self, settings: Settings, engines: Generation, tick: Callable[[], None]) -> None:
        self._settings = settings
        self._engines = engines
        self._tick = tick
        self._submitted = False
        self._requests: dict[str, Request] = {}

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
            _forget(item, RESULT, COMPLETION, STATE, SHEET)

    def _generate(self, item: pytest.Item) -> None:
        if not self._submitted:
            # One hand-over of everything that will run: the more there is to choose from, the fuller the batches.
            self._requests = requests_of(item.session.items, self._settings.seed)
            self._engines.submit(list(self._requests.values()))
            self._submitted = True
        request = self._requests.pop(item.nodeid, None)
        if request is not None:
            item.stash[RESULT] = self._wait(request)

    def _wait(self, request: Request) -> Result:
        try:
            while (result := self._engines.result(request, timeout=_POLL_SECONDS)) is None:
                self._tick()
        except EvalsError as error:
            return Result(request.id, error=Failure("engine", str(error)))
        return result

    def deliver(self, item: pytest.Item, found: EvalItem) -> Completion:
        """Return the completion of the case, or fail its setup with the reason why there is none."""
        if found.prepared.recorded is not None:
            return _recorded(found)
        if _only_setup(item.config):
            pytest.skip("--setup-only and --setup-plan ask no model")
        if RESULT not in item.stash:
            # Nothing announced that this test would ask (getfixturevalue): its turn is generated now, alone.
            if found.prepared.problem:
                raise SuiteError(f"{found.info.name}: {found.prepared.case.place} {found.prepared.problem}")
            item.stash[RESULT] = self._wait(
                make_request(item.nodeid, found, found.key.model or found.models[0], self._settings.seed)
            )
        result = item.stash[RESULT]
        if result.error is not None:
            item.stash[STATE].error = failure_data(result.error)
            pytest.fail(
                plain(f"no completion ({result.error.kind} error): {result.error.message}", 2000), pytrace=False
            )
        return _completion(result, found)

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
        line = sample_line(
            item.nodeid,
            found,
            outcome=state.outcome,
            completion=completion,
            sheet=sheet,
            error=state.error if state.outcome == "errored" else None,
            timing=state.timing,
        )
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
        latency=result.latency,
        fingerprint=result.fingerprint,
    )
