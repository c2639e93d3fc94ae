"""Hooks around each case: its answers before it starts, its grades after its setup, its outcome on its reports."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NoReturn

import pytest

from pytest_evals.artifacts.sample import dump, dump_plain, reads_as_written
from pytest_evals.collection.checks import ASYNC_TEST
from pytest_evals.collection.item import EVAL, EvalItem
from pytest_evals.collection.location import location_of, row_location
from pytest_evals.collection.selection import single_cases
from pytest_evals.engines.protocol import ModelService
from pytest_evals.errors import EvalsError, NotApplicable, SuiteError
from pytest_evals.fixtures.context import GRADE_SHEET, ITEM, GradeSheet
from pytest_evals.fixtures.debugging import note_debugger
from pytest_evals.fixtures.declaration import CASE_TASKS, NotApplicableResult
from pytest_evals.fixtures.factory import only_setup
from pytest_evals.fixtures.limits import CallBudget
from pytest_evals.fixtures.watchdog import hearing_signals
from pytest_evals.runner.calls import Caller, CallLog, DirectAsker
from pytest_evals.runner.case_tasks import CaseTaskRun
from pytest_evals.runner.outcome import (
    CALLS,
    COMPLETION,
    STATE,
    STOPPED,
    CaseState,
    add_properties,
    describe,
    forget,
    judge_unreported,
    note_subtest,
    update_outcome,
    without_hint,
    word_reason,
)
from pytest_evals.runner.prefetch import SUPPLY, Prefetcher
from pytest_evals.runner.sample import grades_data, last_completion, sample_of
from pytest_evals.runner.task_runner import News
from pytest_evals.settings import Settings
from pytest_evals.text import described, one_line, sanitize

if TYPE_CHECKING:
    from pytest_evals.runner.time_limit import TimeLimit

_NO_ASYNC = "async def functions are not natively supported"
_PASSED = pytest.CallInfo.from_call(lambda: None, "call")
"""How a test that passed ended."""


def register_run(
    config: pytest.Config,
    settings: Settings,
    engines: ModelService,
    news: News | None = None,
    time_limit: TimeLimit | None = None,
) -> Prefetcher:
    """Have this process run cases; return the prefetcher of their answers."""
    prefetcher = config.stash[SUPPLY] = Prefetcher(settings, engines, news, time_limit)
    config.pluginmanager.register(
        CaseRun(settings, prefetcher, reports_here=not hasattr(config, "workerinput")), "evals-run"
    )
    if settings.audit:
        from pytest_evals.runner.audit import Audit

        config.pluginmanager.register(Audit(prefetcher, settings.audit, settings.seed), "evals-audit")
    return prefetcher


class CaseRun:
    """Hooks of a process that runs cases. ``reports_here``: no other process takes its reports."""

    def __init__(self, settings: Settings, prefetcher: Prefetcher, *, reports_here: bool) -> None:
        self._settings = settings
        self._prefetcher = prefetcher
        self._asker = DirectAsker(prefetcher)
        self._single_cases: frozenset[str] = frozenset()
        self._reports_here = reports_here
        # The case that runs: looking these up for every hook takes a noticeable part of what a small case costs.
        self._running: pytest.Item | None = None
        self._found: EvalItem | None = None
        self._state: CaseState | None = None

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        """See `single_cases`."""
        self._single_cases = single_cases(session.config.args, session.items)

    @pytest.hookimpl
    def pytest_enter_pdb(self) -> None:
        """See `note_debugger`."""
        note_debugger()

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_protocol(self, item: pytest.Item, nextitem: pytest.Item | None) -> Any:
        """Have the completion and the results of steps at hand before the item starts: capture is off here, and no timeout
        of the test runs.
        """
        token = ITEM.set(item)
        try:
            if EVAL in item.stash and not only_setup(item.config) and not self._prefetcher.stopped(item):
                if self._prefetcher.may_wait(item):
                    with hearing_signals():
                        self._prefetcher.prepare(item, nextitem)
                else:
                    self._prefetcher.prepare(item, nextitem)
            return (yield)
        finally:
            self._running = self._found = self._state = None
            ITEM.reset(token)
            self._prefetcher.end(item)

    def pytest_unconfigure(self) -> None:
        """Stop what steps still do, however the session ended."""
        self._prefetcher.close()

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_setup(self, item: pytest.Item) -> Any:
        """After all graders gave their grades, let what one of them raised be the error of this case."""
        __tracebackhide__ = True
        if EVAL in item.stash and STOPPED not in item.stash:
            # Fresh for every attempt: a rerun of the item must not see what the attempt before left.
            self._fresh(item)
            if self._prefetcher.abort_reason is not None:
                pytest.fail(sanitize(self._prefetcher.abort_reason, 2000), pytrace=False)
            if needless := self._prefetcher.needless(item):
                raise pytest.skip.Exception(one_line(needless, 300), _use_item_location=True)
        try:
            yield
        except NotApplicable as reason:
            if EVAL not in item.stash:
                raise
            # A fixture looked into the result of a task that does not apply.
            _not_applicable(str(reason))
        sheet = item.stash.get(GRADE_SHEET, None)
        if sheet is not None and sheet.failures:
            raise next(iter(sheet.failures.values()))

    def _fresh(self, item: pytest.Item) -> None:
        sheet = item.stash[GRADE_SHEET] = GradeSheet()
        self._running, self._found = item, item.stash[EVAL]
        self._state = item.stash[STATE] = CaseState()
        forget(item, COMPLETION)
        flow = item.stash.get(CASE_TASKS, None)
        budget = CallBudget(self._settings.limits)
        if isinstance(flow, CaseTaskRun):
            # Results and grades of steps are there whatever happens to the test.
            flow.results.post(sheet)
            used = flow.calls.budget
            budget = CallBudget(self._settings.limits, used.calls, used.tokens)
        calls = CallLog(budget)
        item.stash[CALLS] = (
            calls,
            Caller(self._found.nodeid, None, self._asker, calls, found=self._found, base_seed=self._settings.seed),
        )

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_call(self, item: pytest.Item) -> Any:
        """Keep how the test ended: a plugin that runs it again may report only its first run."""
        __tracebackhide__ = True
        state = self._state
        if state is None or item is not self._running:
            return (yield)
        try:
            result = yield
        except BaseException:
            state.unreported = pytest.CallInfo.from_call(lambda: None, "call")
            state.unreported.excinfo = pytest.ExceptionInfo.from_current()
            raise
        state.unreported = _PASSED
        return result

    @pytest.hookimpl(wrapper=True)
    def pytest_pyfunc_call(self, pyfuncitem: pytest.Function) -> Any:
        """A test that needs a grade which does not apply is itself not applicable."""
        __tracebackhide__ = True
        if CASE_TASKS in pyfuncitem.stash:
            _skip_without_task(pyfuncitem)
        state = (self._state if pyfuncitem is self._running else None) or CaseState()
        state.runs = True
        try:
            return (yield)
        except NotApplicable as reason:
            if EVAL not in pyfuncitem.stash:
                raise
            _not_applicable(str(reason))
        except pytest.fail.Exception as failure:
            if EVAL in pyfuncitem.stash and _NO_ASYNC in str(failure):
                # Where a gate decides it would look like a wrong answer, and nothing was tested.
                raise SuiteError(ASYNC_TEST) from None
            raise
        finally:
            state.runs = False

    def _is_strict(self, item: pytest.Item) -> bool:
        """Tell whether a miss fails its test even where the suite has gates: there is none, as pytest's ``--runxfail`` asks for, or
        the cases of the suite that are not run keep its gates from being judged.
        """
        return (
            self._settings.strict_cases
            or bool(item.config.getoption("runxfail", default=False))
            or item.nodeid in self._single_cases
        )

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(self, item: pytest.Item, call: pytest.CallInfo[None]) -> Any:
        """Turn a miss into an xfail, keep what the phase showed, and send the finished case along with its last report."""
        state = self._state
        if state is None or item is not self._running:
            return (yield)
        _before_report(item, call, state)
        report: pytest.TestReport = yield
        limit = self._prefetcher.context.time_limit
        if report.when != "teardown" and _only_passed(report, call, state) and limit is None:
            # Most phases: there is nothing to explain.
            state.timing[str(report.when)] = report.duration
            if report.when == "call":
                state.outcome = "passed"
            return report
        self._explain(item, call, report, state)
        return report

    def _explain(
        self, item: pytest.Item, call: pytest.CallInfo[None], report: pytest.TestReport, state: CaseState
    ) -> None:
        """Let a phase decide the case's outcome, say on its report what led to it, and give the last one the finished case."""
        found, sheet, limit = item.stash[EVAL], item.stash[GRADE_SHEET], self._prefetcher.context.time_limit
        flow = item.stash.get(CASE_TASKS, None)
        if isinstance(flow, CaseTaskRun) and call.excinfo is not None and flow.results.raised(call.excinfo.value):
            state.error = {"kind": "task", "message": described(call.excinfo.value)}
        gated = bool(found.info.gates) and not self._is_strict(item)
        if state.runs:
            note_subtest(report, call, state, gated=gated)
        else:
            state.timing[str(report.when)] = report.duration
            update_outcome(report, call, state, sheet, gated=gated)
        if report.failed and report.when != "teardown" and (report.when == "call" or sheet.failures):
            row = row_location(found, item.config.rootpath)
            if text := describe(last_completion(item), sheet, row):
                report.sections.append(("Eval", text))
        cut_off = limit is not None and (
            item.stash[CALLS][0].cut_off or (isinstance(flow, CaseTaskRun) and flow.calls.cut_off)
        )
        if cut_off and limit is not None and report.when != "teardown":
            limit.leave_out_report(report, item)
        word_reason(report, sheet)
        if call.excinfo is not None and isinstance(call.excinfo.value, EvalsError):
            without_hint(report)
        if report.when == "teardown" and not only_setup(item.config) and not cut_off:
            sample = sample_of(item, self._settings.prices)
            plain = reads_as_written(sample)
            report.evals = dump_plain(sample) if plain else dump(sample)  # type: ignore[attr-defined]  # extra attributes travel with a report
            if plain and self._reports_here:
                report.evals_sample = sample  # type: ignore[attr-defined]  # read from the line otherwise


def _only_passed(report: pytest.TestReport, call: pytest.CallInfo[None], state: CaseState) -> bool:
    """Tell whether a phase passed, and neither a mark nor a subtest has anything to say about it."""
    return (
        report.outcome == "passed"
        and call.excinfo is None
        and report.longrepr is None
        and not (state.runs or state.subtests or hasattr(report, "wasxfail"))
    )


def _before_report(item: pytest.Item, call: pytest.CallInfo[None], state: CaseState) -> None:
    """Prepare what pytest makes a report of."""
    if call.when == "call" and not state.runs:
        state.unreported = None
    if call.when == "teardown":
        judge_unreported(item, state)
        grades = grades_data(item.stash[EVAL], item.stash[GRADE_SHEET], state.outcome, state.error)
        add_properties(item, grades, location_of(item.stash[EVAL], item.config.rootpath))
    if state.runs and call.excinfo is not None and call.excinfo.errisinstance(NotApplicable):
        # A subtest that needs a grade which does not apply is skipped, as a test is.
        call.excinfo = pytest.ExceptionInfo.from_exception(_skipped(call.excinfo.value))


def _not_applicable(reason: str) -> NoReturn:
    """Skip the test, and not this line."""
    __tracebackhide__ = True
    raise pytest.skip.Exception(one_line(reason), _use_item_location=True)


def _skipped(reason: BaseException) -> BaseException:
    skip = pytest.skip.Exception(one_line(str(reason)), _use_item_location=True)
    return skip.with_traceback(reason.__traceback__)


def _skip_without_task(item: pytest.Function) -> None:
    """A test that asks for a task which does not apply to the case does not apply either."""
    __tracebackhide__ = True
    for name in item._fixtureinfo.argnames:  # noqa: SLF001 - not public in pytest, which calls the test by it
        value = item.funcargs.get(name)
        if isinstance(value, NotApplicableResult):
            _not_applicable(value.reason)
