"""One phase's report and a case's outcome: how each decides the other."""

from __future__ import annotations

import os
from typing import Any

import pytest

from pytest_evals.collection.location import Location
from pytest_evals.completion import Completion
from pytest_evals.engines.protocol import Result
from pytest_evals.errors import GradeError
from pytest_evals.fixtures.context import GRADE_SHEET, GradeSheet
from pytest_evals.fixtures.declaration import CASE_TASKS
from pytest_evals.fixtures.limits import LimitExceeded
from pytest_evals.runner.calls import Caller, CallLog
from pytest_evals.scores.records import Outcome
from pytest_evals.text import described, one_line, plain, without_commands

_SECTION_LIMIT = 4000


class CaseState:
    """What the phases of one case have shown."""

    __slots__ = ("error", "outcome", "timing")

    def __init__(self) -> None:
        self.outcome: Outcome = "errored"
        self.error: dict[str, str] | None = None
        self.timing: dict[str, float] = {}


def judge_phase(
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
        state.outcome = "skipped"
    elif report.when == "call":
        _judge_call(report, call, state, gated=gated)


def _judge_call(report: pytest.TestReport, call: pytest.CallInfo[None], state: CaseState, *, gated: bool) -> None:
    excinfo = call.excinfo
    if report.passed:
        state.outcome = "passed"
    elif hasattr(report, "wasxfail"):
        state.outcome = "missed"
    elif report.skipped:
        state.outcome = "skipped"
    elif excinfo is None:
        # A strict xfail that passed.
        state.outcome = "failed"
    elif excinfo.errisinstance((AssertionError, pytest.fail.Exception)) and not excinfo.errisinstance(LimitExceeded):
        state.outcome = "failed"
        if gated:
            # The gate decides: pytest's own word for a failure that does not fail the run.
            state.outcome = "missed"
            report.outcome = "skipped"
            report.wasxfail = f"missed: {one_line(str(excinfo.value))}"
    else:
        kind = "grader" if excinfo.errisinstance(GradeError) else "test"
        state.error = {"kind": kind, "message": _message(call)}


def _message(call: pytest.CallInfo[None]) -> str:
    return described(call.excinfo.value) if call.excinfo else ""


def add_properties(item: pytest.Item, sheet: GradeSheet, location: Location) -> None:
    """Give JUnit the values, and where the case stands; a rerun of the item replaces those of the run before."""
    item.user_properties[:] = [entry for entry in item.user_properties if not str(entry[0]).startswith("evals.")]
    # No grader can be called "case".
    item.user_properties.append(("evals.case.location", str(location)))
    for grade in sheet.grades.values():
        item.user_properties.append((f"evals.{grade.grader_key}", grade.status if grade.value is None else grade.value))


def describe(completion: Completion | None, sheet: GradeSheet, row: Location | None) -> str:
    """Return place, conversation and grades, for a person who reads why the case failed."""
    place = [f"{row}: the row of this case"] if row else []
    lines = [f"[{message['role']}] {message['content']}" for message in (completion.messages if completion else ())]
    return _harmless("\n".join([*place, *lines, *(repr(grade) for grade in sheet.grades.values())]), _SECTION_LIMIT)


def _harmless(text: str, limit: int | None = None) -> str:
    safe = plain(text, limit)
    return without_commands(safe) if os.environ.get("GITHUB_ACTIONS") == "true" else safe


def without_hint(report: pytest.TestReport) -> None:
    """Drop pytest's hint at a hidden traceback: an error in words has none that would tell more."""
    traceback = getattr(report.longrepr, "reprtraceback", None)
    if traceback is not None:
        traceback.extraline = None


def make_harmless(report: pytest.TestReport) -> None:
    """Escape control characters and lone surrogates in what the report shows, and commands in a log of GitHub Actions.

    A failed assert quotes the model, and a lone surrogate cannot even travel from a worker of pytest-xdist.
    """
    longrepr: Any = report.longrepr
    if isinstance(longrepr, str):
        report.longrepr = _harmless(longrepr)
        return
    crash = getattr(longrepr, "reprcrash", None)
    if crash is not None:
        crash.message = _harmless(crash.message)
    chain = getattr(longrepr, "chain", None) or [(getattr(longrepr, "reprtraceback", None), crash, None)]
    for traceback, _, _ in chain:
        for entry in getattr(traceback, "reprentries", ()):
            entry.lines = [_harmless(line) for line in entry.lines]


# -- What is kept of a case while it runs.

# The answers to an item's requests by the request's id, kept for reruns of the item.
RESULTS: pytest.StashKey[dict[str, Result]] = pytest.StashKey()
# The completion that was delivered to the case.
COMPLETION: pytest.StashKey[Completion] = pytest.StashKey()
# How the case stands so far.
STATE: pytest.StashKey[CaseState] = pytest.StashKey()
# The calls of models that the case made, and who makes more of them for its test.
CALLS: pytest.StashKey[tuple[CallLog, Caller]] = pytest.StashKey()


def forget_case(item: pytest.Item) -> None:
    """Drop all that was kept of a case: thousands of finished ones need not be. A rerun is no other case."""
    forget(item, RESULTS, COMPLETION, STATE, GRADE_SHEET, CASE_TASKS, CALLS)


def forget(item: pytest.Item, *keys: pytest.StashKey[Any]) -> None:
    """Drop what an item keeps under these keys, if it does."""
    for key in keys:
        if key in item.stash:
            del item.stash[key]
