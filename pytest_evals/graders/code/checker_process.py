"""The process that runs tests, as this one sees it: started, spoken to, ended."""

from __future__ import annotations

import contextlib
import json
import os
import queue
import signal
import subprocess
import sys
import threading
from typing import Any

from pytest_evals.graders.code import levels
from pytest_evals.processes import start_process

MEBIBYTE = 1 << 20
LONGEST_LINE = 4 * MEBIBYTE
SHOWN = 2000
END_SECONDS = 5  # for what takes some milliseconds, unless a program hinders it


class Ended(Exception):  # noqa: N818 - how a run may end, and no error
    """The run is over: the program ended its process, or went over a limit."""


def start(folder: str, *, packages: bool) -> subprocess.Popen[bytes]:
    """Start the process of the tests."""
    process: subprocess.Popen[bytes] = start_process(
        [levels.interpreter(packages=packages), *levels.python_flags(packages=packages), "-c", levels.BOOT],
        environment=levels.environment(folder),
        cwd=folder,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    assert process.stdin is not None  # noqa: S101 - opened as a pipe, for mypy
    with contextlib.suppress(OSError):
        process.stdin.write(json.dumps(levels.sources("processes", "checker")).encode() + b"\n")
        process.stdin.flush()
    return process


def end(process: subprocess.Popen[bytes]) -> None:
    """Kill the process, and all that it started in its session."""
    with contextlib.suppress(OSError):
        if sys.platform == "win32":
            import psutil

            with contextlib.suppress(psutil.Error):
                for child in psutil.Process(process.pid).children(recursive=True):
                    child.kill()
        else:
            os.killpg(process.pid, signal.SIGKILL)
        process.kill()
    process.wait()


class CheckerLine:
    """The line to the process of the tests, with what the processes print beside it."""

    def __init__(self, process: subprocess.Popen[bytes], output: int) -> None:
        self._process, self._output = process, output
        self._messages: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._printed = bytearray()
        self._threads = [
            threading.Thread(target=target, daemon=True) for target in (self._read_messages, self._read_printed)
        ]
        for thread in self._threads:
            thread.start()

    def ask(self, wanted: str, seconds: float, **message: Any) -> Any:
        """Say something and return the entry ``wanted`` of the answer.

        Raises `TimeoutError` when there is none in time, and `Ended` with the reason when there will be none.
        """
        assert self._process.stdin is not None  # noqa: S101 - opened as a pipe, for mypy
        with contextlib.suppress(OSError):  # it may be gone, which the answer tells
            self._process.stdin.write(json.dumps(message).encode() + b"\n")
            self._process.stdin.flush()
        try:
            answer = self._messages.get(timeout=max(seconds, 0))
        except queue.Empty:
            raise TimeoutError from None
        if isinstance(answer, Ended):
            raise answer
        if answer is None:
            raise Ended(self._how_it_ended())
        if "gone" in answer:
            raise Ended(answer["gone"])
        return answer[wanted]

    def _how_it_ended(self) -> str:
        try:
            status = self._process.wait(timeout=END_SECONDS)
        except subprocess.TimeoutExpired:
            return "the process of its tests does not answer"
        if status >= 0:
            return f"the process of its tests ended with exit status {status}"
        return f"the process of its tests was ended by {signal.Signals(-status).name}"

    def printed(self) -> str:
        """Return the end of what the processes printed."""
        return bytes(self._printed[-SHOWN:]).decode("utf-8", "replace").strip()

    def close(self) -> None:
        """Read what is left and close the streams; the processes have ended by now."""
        for thread in self._threads:
            thread.join(timeout=END_SECONDS)
        for stream in (self._process.stdin, self._process.stdout, self._process.stderr):
            if stream is not None:
                with contextlib.suppress(OSError):
                    stream.close()

    def _read_messages(self) -> None:
        assert self._process.stdout is not None  # noqa: S101 - opened as a pipe, for mypy
        with contextlib.suppress(OSError, ValueError):
            while line := self._process.stdout.readline(LONGEST_LINE):
                self._messages.put(json.loads(line))
        self._messages.put(None)

    def _read_printed(self) -> None:
        assert self._process.stderr is not None  # noqa: S101 - opened as a pipe, for mypy
        with contextlib.suppress(OSError, ValueError):
            while data := os.read(self._process.stderr.fileno(), 65536):
                self._printed += data
                if len(self._printed) > self._output * MEBIBYTE:
                    self._messages.put(Ended(f"it printed more than {self._output} MiB"))
                    return
