"""One phase's report and a case's outcome: how each decides the other."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

import pytest

from pytest_evals.collection.location import Location
from pytest_evals.completion import Completion, Message
from pytest_evals.engines.protocol import Result
from pytest_evals.errors import GradeError
from pytest_evals.fixtures.context import GRADE_SHEET, GradeSheet
from pytest_evals.fixtures.declaration import CASE_TASKS
from pytest_evals.fixtures.limits import LimitExceeded
from pytest_evals.media.parts import shown_text
from pytest_evals.runner.calls import Caller, CallLog
from pytest_evals.scores.records import Outcome
from pytest_evals.sinks import for_junit, for_terminal
from pytest_evals.text import described, one_line, pluralize, sanitize

_SECTION_LIMIT = 4000


class CaseState:
    """What the phases of one case have shown.

    ``runs`` while the body of the test does: what is reported of it in that time is a subtest. ``subtests`` are the outcomes
    of those that did not pass. ``unreported`` is how the test ended, until it is reported.
    """

    __slots__ = ("error", "outcome", "runs", "subtests", "timing", "unreported")

    def __init__(self) -> None:
        self.outcome: Outcome = "errored"
        self.error: dict[str, str] | None = None
        self.timing: dict[str, float] = {}
        self.runs = False
        self.subtests: list[Outcome] = []
        self.unreported: pytest.CallInfo[None] | None = None


def update_outcome(
    report: pytest.TestReport, call: pytest.CallInfo[None], state: CaseState, sheet: GradeSheet, *, gated: bool
) -> None:
    """Let one phase's report decide the case's outcome, and the outcome the report."""
    if report.when == "setup" and report.failed:
        state.outcome = "errored"
        kind = "grader" if sheet.failures else "setup"
        state.error = state.error or {"kind": kind, "message": _message(call)}
    elif report.when == "teardown" and report.failed:
        state.outcome = "errored"
        state.error = {"kind": "teardown", "message": _message(call)}
    elif report.when == "setup" and report.skipped:
        # An error that another case has shown: see `delivery`.
        state.outcome = "errored" if state.error is not None else "skipped"
    elif report.when == "call":
        state.outcome = _judged(report, call, state, gated=gated)
        _add_subtests(report, state)


def judge_unreported(item: pytest.Item, state: CaseState) -> None:
    """Let a test that was run again decide the case's outcome, where only its first run was reported: pytest-retry runs it by itself,
    and puts the last outcome into the first report. Such a test is one that failed, and no gate makes it a miss.
    """
    call = state.unreported
    if call is not None:
        update_outcome(pytest.TestReport.from_item_and_call(item, call), call, state, GradeSheet(), gated=False)
        state.unreported = None


def note_subtest(report: pytest.TestReport, call: pytest.CallInfo[None], state: CaseState, *, gated: bool) -> None:
    """Keep the outcome of a subtest that did not pass, for the case that it is part of."""
    # One that the author skips or expects to fail says nothing against the case.
    if report.failed:
        state.subtests.append(_judged(report, call, state, gated=gated))


def _judged(report: pytest.TestReport, call: pytest.CallInfo[None], state: CaseState, *, gated: bool) -> Outcome:
    """Return the outcome of a test or subtest that ran; where a gate decides, its report says that it is a miss."""
    excinfo = call.excinfo
    if report.passed or report.skipped:
        return "passed" if report.passed else "missed" if hasattr(report, "wasxfail") else "skipped"
    if excinfo is not None and not _is_failed_assert(excinfo):
        state.error = {"kind": "grader" if excinfo.errisinstance(GradeError) else "test", "message": _message(call)}
        return "errored"
    # A strict xfail that passed has no exception, and no gate is about it.
    if excinfo is None or not gated:
        return "failed"
    _show_miss(report, one_line(str(excinfo.value)))
    return "missed"


def _is_failed_assert(excinfo: pytest.ExceptionInfo[BaseException]) -> bool:
    return excinfo.errisinstance((AssertionError, pytest.fail.Exception)) and not _is_time_limit(excinfo)


# What pytest-timeout says, in its newer and in its older versions.
_OUT_OF_TIME = re.compile(r"Timeout \(?>\s?\d")


def _is_time_limit(excinfo: pytest.ExceptionInfo[BaseException]) -> bool:
    """Tell whether a limit ended the test: one of ours, or of pytest-timeout, which fails the test that runs."""
    if excinfo.errisinstance(LimitExceeded):
        return True
    if not excinfo.errisinstance(pytest.fail.Exception):
        return False
    modules = (str(entry.frame.f_globals.get("__name__", "")) for entry in excinfo.traceback)
    return bool(_OUT_OF_TIME.match(str(excinfo.value))) or any(name.startswith("pytest_timeout") for name in modules)


def _show_miss(report: pytest.TestReport, why: str) -> None:
    """The gate decides: pytest's own word for a failure that does not fail the run."""
    report.outcome = "skipped"
    report.wasxfail = f"missed: {why}"


# From the one that says most of a case to the one that says least.
_WEIGHTS: tuple[Outcome, ...] = ("errored", "failed", "missed", "passed", "skipped")


def _add_subtests(report: pytest.TestReport, state: CaseState) -> None:
    """A case is not better than its subtests."""
    worst = min((state.outcome, *state.subtests), key=_WEIGHTS.index)
    if worst == state.outcome:
        return
    state.outcome = worst
    if worst == "missed":
        # pytest itself fails a test whose subtests failed, and knows nothing of those that are misses.
        _show_miss(report, f"contains {pluralize(len(state.subtests), 'failed subtest')}")


def _message(call: pytest.CallInfo[None]) -> str:
    return described(call.excinfo.value) if call.excinfo else ""


def add_properties(item: pytest.Item, grades: Iterable[Mapping[str, Any]], location: Location) -> None:
    """Give JUnit the value or the status of each grade, and where the case is; a rerun of the item replaces those of the
    previous run.
    """
    item.user_properties[:] = [entry for entry in item.user_properties if not str(entry[0]).startswith("evals.")]
    # No grader can be called "case".
    item.user_properties.append(("evals.case.location", str(location)))
    for grade in grades:
        shown = grade["status"] if grade["value"] is None else grade["value"]
        item.user_properties.append((f"evals.{for_junit(grade['grader_key'])}", shown))


def describe(completion: Completion | None, sheet: GradeSheet, row: Location | None) -> str:
    """Return place, conversation and grades, for a person who reads why the case failed."""
    place = [f"{row}: the row of this case"] if row else []
    lines = [_turn(message) for message in (completion.messages if completion else ())]
    if completion is not None and completion.tool_call_error:
        lines.append(f"a call that cannot be parsed: {completion.tool_call_error}")
    return for_terminal("\n".join([*place, *lines, *(repr(grade) for grade in sheet.grades.values())]), _SECTION_LIMIT)


def _turn(message: Message) -> str:
    """Return a turn on lines: its thoughts shortened, its text, its calls of tools."""
    thoughts = message.get("reasoning_content")
    folded = f"(reasoning: {one_line(thoughts, _FOLDED)}) " if thoughts else ""
    calls = [f"{call['function']['name']}({call['function']['arguments']})" for call in message.get("tool_calls") or ()]
    said = [*([text] if (text := shown_text(message)) or not calls else []), *calls]
    who = f"tool {message['name']}" if message["role"] == "tool" and message.get("name") else message["role"]
    return f"[{who}] {folded}" + "\n".join(said)


_FOLDED = 120


def without_hint(report: pytest.TestReport) -> None:
    """Drop pytest's hint at a hidden traceback: an error in words has none that would tell more."""
    traceback = getattr(report.longrepr, "reprtraceback", None)
    if traceback is not None:
        traceback.extraline = None


_ERROR_CLASS = re.compile(r"\A(?:pytest_evals\.errors\.\w+|Failed): ")


def word_reason(report: pytest.TestReport, sheet: GradeSheet) -> None:
    """Have a report that says something say its reason first, and nothing that hides."""
    if report.longrepr is not None:
        lead_with_reason(report, sheet)
    if report.longrepr is not None or hasattr(report, "wasxfail"):
        make_harmless(report)


def lead_with_reason(report: pytest.TestReport, sheet: GradeSheet) -> None:
    """Begin what is said of a failure in one line with its reason, as pytest does in its short summary: that of the grades which
    an assert quotes; and an error in words without the name of its class.
    """
    crash: Any = getattr(report.longrepr, "reprcrash", None)
    if crash is None:
        return
    quoted = [grade for grade in sheet.grades.values() if grade.passed is False and repr(grade) in crash.message]
    said = "; ".join(f"{grade.grader_key}: {one_line(grade.reasoning or f'{grade.value:g}', 300)}" for grade in quoted)
    crash.message = f"{said}\n{crash.message}" if said else _ERROR_CLASS.sub("", crash.message)


def make_harmless(report: pytest.TestReport) -> None:
    """Escape what hides in the text of the report: a failed assert quotes the model, and a reason may.

    Commands to CI systems are escaped where a log is written: see `pytest_evals.session.output_filter`.
    """
    if isinstance(getattr(report, "wasxfail", None), str):
        report.wasxfail = sanitize(report.wasxfail)
    longrepr: Any = report.longrepr
    if isinstance(longrepr, str):
        report.longrepr = sanitize(longrepr)
        return
    if isinstance(longrepr, tuple):
        path, line, reason = longrepr
        report.longrepr = (path, line, sanitize(reason))
        return
    crash = getattr(longrepr, "reprcrash", None)
    if crash is not None:
        crash.message = sanitize(crash.message)
    chain = getattr(longrepr, "chain", None) or [(getattr(longrepr, "reprtraceback", None), crash, None)]
    for traceback, _, _ in chain:
        for entry in getattr(traceback, "reprentries", ()):
            entry.lines = [sanitize(line) for line in entry.lines]
            if getattr(entry, "reprfuncargs", None) is not None:
                entry.reprfuncargs.args = [(sanitize(name), sanitize(value)) for name, value in entry.reprfuncargs.args]
            if getattr(entry, "reprlocals", None) is not None:
                entry.reprlocals.lines = [sanitize(line) for line in entry.reprlocals.lines]


# -- What is kept of a case while it runs.

# The answers to an item's requests by the request's id, kept for reruns of the item.
STOPPED: pytest.StashKey[str] = pytest.StashKey()
"""Why a case need not run any more."""
RESULTS: pytest.StashKey[dict[str, Result]] = pytest.StashKey()
# The completion that was delivered to the case.
COMPLETION: pytest.StashKey[Completion] = pytest.StashKey()
# The state of the case so far.
STATE: pytest.StashKey[CaseState] = pytest.StashKey()
# The calls of models that the case made, and who makes more of them for its test.
CALLS: pytest.StashKey[tuple[CallLog, Caller]] = pytest.StashKey()


def forget_case(item: pytest.Item) -> None:
    """Drop all that was kept of a case: thousands of finished ones need not be. A rerun is not another case."""
    forget(item, RESULTS, COMPLETION, STATE, GRADE_SHEET, CASE_TASKS, CALLS)


def forget(item: pytest.Item, *keys: pytest.StashKey[Any]) -> None:
    """Drop what an item keeps under these keys, if it does."""
    for key in keys:
        if key in item.stash:
            del item.stash[key]
