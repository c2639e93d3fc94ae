"""Asks a process whether expressions are equal, and ends it where it takes too long: nothing else ends a computation of sympy."""

from __future__ import annotations

import atexit
import contextlib
import functools
import json
import queue
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from pytest_evals.errors import EvalsError
from pytest_evals.processes import start_process

HOST = Path(__file__).with_name("equivalence_worker.py")
_START_SECONDS = 120.0
"""What loading the libraries may take on a busy machine."""


class Comparison(NamedTuple):
    """Which expressions were readable, and whether they are equal. ``unfinished``: why there is no answer; empty where there is
    one.
    """

    gold: bool
    found: bool
    equal: bool
    unfinished: str = ""


class Comparer:
    """The process. It starts when it is first asked, and again after it ended."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[str] | None = None
        self._lines: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._failure: EvalsError | None = None
        self._lock = threading.Lock()

    def compare(self, gold: str, answers: Sequence[str], seconds: float) -> Comparison:
        """Compare a LaTeX expression with the first readable one of several. Raises `EvalsError` when the process cannot start."""
        with self._lock:
            if self._failure is not None:
                raise self._failure
            try:
                if self._process is None or self._process.poll() is not None:
                    self._start()
                answer = self._ask({"gold": gold, "answers": list(answers), "seconds": seconds}, seconds)
            except BaseException:
                # Half a conversation (a time limit ended it) cannot go on.
                self.close()
                raise
        if "failed" in answer:
            return Comparison(gold=False, found=False, equal=False, unfinished=str(answer["failed"]))
        return Comparison(bool(answer["gold"]), bool(answer["found"]), bool(answer["equal"]))

    def close(self) -> None:
        """End the process."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            with process:
                pass

    def _start(self) -> None:
        self.close()
        self._process = start_process(
            [sys.executable, "-P", str(HOST)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            encoding="utf-8",
        )
        self._lines = queue.SimpleQueue()
        threading.Thread(target=_hand_over, args=(self._process, self._lines), daemon=True).start()
        try:
            first = json.loads(self._lines.get(timeout=_START_SECONDS) or "{}")
        except queue.Empty:
            first = {"error": f"it did not start within {_START_SECONDS:g} s"}
        if "ready" not in first:
            # It would fail again, for every case.
            self._failure = EvalsError(
                f"math: the process that compares expressions failed: {first.get('error', 'it ended')}"
            )
            raise self._failure

    def _ask(self, question: Any, seconds: float) -> Any:
        assert self._process is not None  # noqa: S101 - started before, for mypy
        assert self._process.stdin is not None  # noqa: S101 - opened as a pipe, for mypy
        with contextlib.suppress(OSError):  # it is gone, which the missing answer tells
            self._process.stdin.write(f"{json.dumps(question)}\n")
            self._process.stdin.flush()
        try:
            line = self._lines.get(timeout=seconds)
        except queue.Empty:
            self.close()
            return {"failed": f"comparing takes more than {seconds:g} s"}
        if not line:
            self.close()
            return {"failed": "the process that compares ended"}
        return json.loads(line)


def _hand_over(process: subprocess.Popen[str], lines: queue.SimpleQueue[str]) -> None:
    assert process.stdout is not None  # noqa: S101 - opened as a pipe, for mypy
    with contextlib.suppress(ValueError, OSError):  # closed with the process
        for line in process.stdout:
            lines.put(line)
    lines.put("")


@functools.cache
def comparer() -> Comparer:
    """Return the one process of this process."""
    made = Comparer()
    atexit.register(made.close)
    return made
