"""Starts and ends the process of one engine."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
from pathlib import Path
from typing import IO, Any, cast

from pytest_evals.processes import kill_group, start_process

_LOG_LINES = 8
_GRACE_SECONDS = 3.0
# For an answer that is just there when this process is killed: what the worker needs to write it down, on a busy machine.
_LAST_SECONDS = 0.3
# What the user set wins over each of these.
_ENVIRONMENT = {
    # OpenMP threads that spin for long while they wait nearly stop a busy machine: with another process at work on
    # two cores, generation took 10 to 25 times as long as alone. Threads that sleep at once must be woken some thousand
    # times a second, which took a tenth of the time. So they spin for about as long as the pauses in a forward.
    "GOMP_SPINCOUNT": "100000",
    "PYTHONUNBUFFERED": "1",
    "PYTHONFAULTHANDLER": "1",
    "TOKENIZERS_PARALLELISM": "false",
    "TQDM_DISABLE": "1",
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "TRANSFORMERS_VERBOSITY": "error",
}


def engine_environment() -> dict[str, str]:
    """Return the environment of an engine's process."""
    return {**os.environ, **{name: value for name, value in _ENVIRONMENT.items() if name not in os.environ}}


def last_lines(log: Path) -> list[str]:
    """Return the last lines of a log that say something."""
    with contextlib.suppress(OSError):
        lines = log.read_text(encoding="utf-8", errors="replace").splitlines()[-_LOG_LINES:]
        return [line for line in lines if line.strip()]
    return []


class EngineProcess:
    """A fresh interpreter that runs `worker`. What it prints goes to a log. An error shows the end of that log."""

    stays = False
    """Whether it goes on when the run has ended."""
    lost = False
    """Whether the machine went, and not the process alone; one on this machine is never lost."""

    def __init__(self, orders: dict[str, Any]) -> None:
        descriptor, name = tempfile.mkstemp(prefix="evals-engine-", suffix=".log")
        self._log = Path(name)
        self._reason: str | None = None
        self._lock = threading.Lock()
        self._group_ended = False
        with os.fdopen(descriptor, "wb") as log:
            self._popen = start_process(
                [sys.executable, "-m", "pytest_evals.engines.worker"],
                environment=engine_environment(),
                last_seconds=_LAST_SECONDS,
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        # The key travels through a pipe: command lines and environments can be read by others.
        with contextlib.suppress(BrokenPipeError), cast("IO[bytes]", self._popen.stdin) as stdin:
            stdin.write(json.dumps(orders).encode())

    def wait(self, seconds: float) -> int | None:
        """Wait so long for the end; return the exit status (negative: the signal that ended it), `None` while it runs.

        What the process has started, and left behind, ends with it.
        """
        try:
            status = self._popen.wait(seconds)
        except subprocess.TimeoutExpired:
            return None
        with self._lock:
            # Once: the system may give the number to another process later.
            if not self._group_ended:
                self._group_ended = True
                kill_group(self._popen.pid)
        return status

    @property
    def pid(self) -> int:
        """The process's id."""
        return self._popen.pid

    def kill(self, reason: str) -> None:
        """End the process by force; its exit_report will give the reason."""
        self._reason = reason
        self._popen.kill()

    def end(self, *, patient: bool) -> None:
        """End the process: by itself within some seconds if ``patient``, else by force."""
        if patient and self.wait(_GRACE_SECONDS) is not None:
            return
        for stop in (self._popen.terminate, self._popen.kill):
            stop()
            if self.wait(_GRACE_SECONDS) is not None:
                return

    def disconnected(self) -> None:
        """Take note that its connection has ended: so will the process."""

    def exit_report(self, status: int) -> str:
        """Say how the process ended, with the last lines that it printed."""
        try:
            how = f"by {signal.Signals(-status).name}" if status < 0 else f"with status {status}"
        except ValueError:
            how = f"with status {status}"
        hint = f" ({self._reason})" if self._reason else " (out of memory?)" if status == -9 else ""
        lines = last_lines(self._log)
        said = "; it printed last:\n  " + "\n  ".join(lines) if lines else ""
        return f"ended {how}{hint}{said}"

    def forget(self) -> None:
        """Remove the log."""
        with contextlib.suppress(OSError):
            self._log.unlink()
