"""``--evals-time-limit``: until when models are asked, and which cases do not run after that.

The pool of engines fails what is unfinished at that time, with a failure of the kind `KIND`. A case that needs such an answer, or a
task that had not started, is not run: it has no sample, and its test is skipped. All other cases are graded as usual.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable

import pytest

from pytest_evals.collection.item import EVAL
from pytest_evals.completion import FailureKind
from pytest_evals.engines.protocol import Result
from pytest_evals.runner.outcome import STOPPED
from pytest_evals.text import shown_duration

KIND: FailureKind = "time_limit"


class TimeLimit:
    """A limit of ``seconds`` for the whole run; ``left`` are left now (default: all)."""

    def __init__(self, seconds: float, left: float | None = None) -> None:
        self.text = shown_duration(seconds)
        self._end = time.monotonic() + (seconds if left is None else left)

    @property
    def left(self) -> float:
        """Seconds until the end, 0 after it."""
        return max(self._end - time.monotonic(), 0.0)

    @property
    def passed(self) -> bool:
        """Tell whether the time is over."""
        return self.left <= 0

    @property
    def reason(self) -> str:
        """Say what ended, as the reason of a case that did not run."""
        return f"not run: the time limit of {self.text} (evals_time_limit) was over"

    def call_at_end(self, function: Callable[[], None]) -> threading.Timer:
        """Have ``function`` called in a thread when the time is over, unless the timer is cancelled before."""
        timer = threading.Timer(self.left, function)
        timer.daemon = True
        timer.start()
        return timer

    def leave_out(self, item: pytest.Item) -> None:
        """Mark a case that has not been set up as one that does not run."""
        item.stash[STOPPED] = self.reason
        item.add_marker(pytest.mark.skip(reason=self.reason))

    def leave_out_report(self, report: pytest.TestReport, item: pytest.Item) -> None:
        """Make the report of a case that has begun that of one that does not run."""
        path, line, _ = item.location
        report.outcome = "skipped"
        report.longrepr = (path, (line or 0) + 1, f"Skipped: {self.reason}")
        if hasattr(report, "wasxfail"):
            del report.wasxfail


def cut_off(answers: Iterable[Result]) -> bool:
    """Tell whether the end of the time took one of the answers."""
    return any(result.error is not None and result.error.kind == KIND for result in answers)


def has_nothing(item: pytest.Item) -> bool:
    """Tell whether a case has neither an answer nor a task to be judged by, so that all its work is in its test."""
    found = item.stash[EVAL]
    tasks = any(step.declaration.kind == "task" for step in found.workflow.steps.values())
    return found.prepared.recorded is None and not tasks
