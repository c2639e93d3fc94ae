"""Runs checks that a pattern may keep busy for ever so that the time limit of graders holds, wherever they are asked for.

A regular expression gives nothing else a turn while it is matched: no thread, no event loop, no Ctrl-C. In the main thread Python
itself looks for signals meanwhile, so that the limit's timer and Ctrl-C reach it. Everywhere else (graders that async ones build on,
systems without such timers) a check runs in a process of its own, which can be ended.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import json
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from typing import Any, TypeVar

import pytest

from pytest_evals.errors import EvalsError
from pytest_evals.fixtures.context import TIME_LIMIT
from pytest_evals.fixtures.limits import TimeLimitExceeded
from pytest_evals.processes import start_process

MOST = 4
"""Checks that run at a time; the others wait, and waiting does not count."""
_START_SECONDS = 120.0
T = TypeVar("T")


def in_time(request: pytest.FixtureRequest, check: Callable[..., T], *given: Any, **named: Any) -> T:
    """Return what ``check`` returns, or raise what it raises: `TimeLimitExceeded` after the limit of graders.

    Args:
        request: Of the grader.
        check: A function of a module. What it is given and returns is plain data (a named tuple counts as a list).
        given: Its arguments.
        named: The same by name.
    """
    if threading.current_thread() is threading.main_thread() and hasattr(signal, "setitimer"):
        return check(*given, **named)
    found: T = _processes().run(check, given, named, request.config.stash.get(TIME_LIMIT, 0.0))
    return found


class CheckProcesses:
    """The processes: each does one check at a time, and the next one after it."""

    def __init__(self) -> None:
        self._room = threading.Semaphore(MOST)
        self._idle: queue.SimpleQueue[_CheckProcess] = queue.SimpleQueue()

    def run(self, check: Callable[..., Any], given: Any, named: Any, seconds: float) -> Any:
        """Run a check; 0 ``seconds`` means no limit. Raises `TimeLimitExceeded`, and what the check raised."""
        question = {"module": check.__module__, "function": check.__name__, "given": given, "named": named}
        with self._room:
            process = self._taken()
            try:
                answer = process.ask(question, seconds)
            except BaseException:
                # Half a conversation cannot go on.
                process.close()
                raise
            self._idle.put(process)
        if "raised" in answer:
            import pytest_evals.errors

            kind = getattr(pytest_evals.errors, answer["raised"], None)
            raise kind(answer["message"]) if kind else EvalsError(f"{answer['raised']}: {answer['message']}")
        return answer["value"]

    def _taken(self) -> _CheckProcess:
        with contextlib.suppress(queue.Empty):
            return self._idle.get_nowait()
        return _CheckProcess()

    def close(self) -> None:
        """End the processes that have nothing to do; the others end with this one."""
        with contextlib.suppress(queue.Empty):
            while True:
                self._idle.get_nowait().close()


class _CheckProcess:
    def __init__(self) -> None:
        self._process: subprocess.Popen[str] = start_process(
            [sys.executable, "-m", "pytest_evals.graders.timed_checks_worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            encoding="utf-8",
        )
        self._lines: queue.SimpleQueue[str] = queue.SimpleQueue()
        threading.Thread(target=self._listen, name="evals-check", daemon=True).start()
        self._say({"path": [entry for entry in sys.path if entry]})
        self._heard(_START_SECONDS)

    def ask(self, question: Any, seconds: float) -> Any:
        """Return the answer to a question. Raises `TimeLimitExceeded`."""
        self._say(question)
        return self._heard(seconds)

    def _say(self, message: Any) -> None:
        assert self._process.stdin is not None  # noqa: S101 - opened as a pipe, for mypy
        with contextlib.suppress(OSError):  # it is gone, which the missing answer tells
            self._process.stdin.write(f"{json.dumps(message)}\n")
            self._process.stdin.flush()

    def _heard(self, seconds: float) -> Any:
        try:
            line = self._lines.get(timeout=seconds or None)
        except queue.Empty:
            raise TimeLimitExceeded(seconds) from None
        if not line:
            raise EvalsError("the process of this check ended; its text or pattern may need more memory than there is")
        return json.loads(line)

    def _listen(self) -> None:
        assert self._process.stdout is not None  # noqa: S101 - opened as a pipe, for mypy
        with contextlib.suppress(ValueError, OSError):  # closed with the process
            for line in self._process.stdout:
                self._lines.put(line)
        self._lines.put("")

    def close(self) -> None:
        """End the process."""
        self._process.kill()
        with self._process:
            pass


@functools.cache
def _processes() -> CheckProcesses:
    made = CheckProcesses()
    atexit.register(made.close)
    return made
