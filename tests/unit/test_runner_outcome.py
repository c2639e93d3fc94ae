"""How a test ended, and what that makes of its case."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from pytest_evals.fixtures.context import GradeSheet
from pytest_evals.fixtures.limits import LimitExceeded
from pytest_evals.runner.outcome import CaseState, judge_unreported, update_outcome


def ended(error: BaseException | None) -> Any:
    """A call of a test that ended with ``error``."""

    def body() -> None:
        if error is not None:
            raise error

    return pytest.CallInfo.from_call(body, "call", reraise=())


def outcome(error: BaseException, *, gated: bool = True) -> str:
    state, report = CaseState(), pytest.TestReport("it", ("", 0, ""), {}, "failed", None, "call")
    update_outcome(report, ended(error), state, GradeSheet(), gated=gated)
    return state.outcome


@pytest.mark.parametrize(
    "message",
    [
        "Timeout (>1.0s) from pytest-timeout.",
        "Timeout >5.0s",
        "Timeout (>0.25s) from pytest-timeout.\nmore",
    ],
)
def test_a_test_whose_time_is_up_is_errored(message: str) -> None:
    assert outcome(pytest.fail.Exception(message)) == "errored"


def test_so_is_one_that_a_limit_of_ours_ended() -> None:
    assert outcome(LimitExceeded("this case called models more than 3 times")) == "errored"


def test_a_failure_out_of_the_module_of_pytest_timeout_is_a_limit_whatever_it_says() -> None:
    def body() -> None:
        exec("raise error", {"__name__": "pytest_timeout", "error": pytest.fail.Exception("too slow")})  # noqa: S102 - a frame of that module

    state, report = CaseState(), pytest.TestReport("it", ("", 0, ""), {}, "failed", None, "call")
    call: Any = pytest.CallInfo.from_call(body, "call", reraise=())
    update_outcome(report, call, state, GradeSheet(), gated=True)
    assert state.outcome == "errored"


@pytest.mark.parametrize(
    "error",
    [
        AssertionError("Timeout (>1.0s) is in the answer"),
        AssertionError("assert 1 == 2"),
        pytest.fail.Exception("the answer has a Timeout"),
        pytest.fail.Exception("Timeouts are no answer"),
        pytest.fail.Exception("Timeout"),
        pytest.fail.Exception("Timeout of 3 seconds expected in the answer"),
    ],
)
def test_what_a_test_says_itself_is_a_miss_under_a_gate(error: BaseException) -> None:
    assert outcome(error) == "missed"
    assert outcome(error, gated=False) == "failed"


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (None, "passed"),
        (AssertionError("no"), "failed"),
        (pytest.skip.Exception("not today"), "skipped"),
        (OSError("away"), "errored"),
    ],
)
def test_a_run_that_was_not_reported_decides(error: BaseException | None, expected: str) -> None:
    state = CaseState()
    state.unreported = ended(error)
    item: Any = SimpleNamespace(
        nodeid="it", location=("", 0, ""), keywords={}, user_properties=[], _report_sections=[], config=None
    )
    item.repr_failure = item._repr_failure_py = lambda *_, **__: "failed"
    item.ihook, item.id = None, "it"
    judge_unreported(item, state)
    assert (state.outcome, state.unreported) == (expected, None)
    assert (state.error is not None) == (expected == "errored")
