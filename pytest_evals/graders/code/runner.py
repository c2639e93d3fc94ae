"""Runs a program and its tests in a process of its own, and holds it to its limits."""

from __future__ import annotations

import contextlib
import json
import os
import queue
import re
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HARNESS = Path(__file__).with_name("harness.py")
MEBIBYTE = 1 << 20
LONGEST_LINE = 4 * MEBIBYTE
SHOWN = 2000
START_SECONDS = 30
END_SECONDS = 5  # for what takes some milliseconds, unless a program hinders it
WANTED = ("memory", "processor time", "file size", "processes", "network", "signals", "files outside")
"""What is limited beside time and output where the platform can; `ProgramOutcome.limits` tells what was."""


@dataclass(frozen=True, slots=True)
class ProgramLimits:
    """What a program may use: seconds on the clock; in MiB, memory, what it prints, and the size of a file."""

    seconds: float = 10
    memory: int = 1024
    output: int = 1
    file_size: int = 16


@dataclass(frozen=True, slots=True)
class ProgramOutcome:
    """How the tests of a program went. ``errors`` has an entry for each test, `None` where it passed."""

    errors: tuple[str | None, ...]
    output: str
    limits: tuple[str, ...]


class HarnessError(RuntimeError):
    """The process did not even come to the program: nothing is known of it."""


class _Ended(Exception):  # noqa: N818 - how a run may end, and no error
    """The run is over: the program ended its process, or went over a limit."""


def run_program(
    program: str, tests: Sequence[str], *, entry_point: str | None, limits: ProgramLimits, packages: bool = False
) -> ProgramOutcome:
    """Load the program, then run each test. Raises `HarnessError` when that could not be tried."""
    folder = tempfile.mkdtemp(prefix="evals-program-")
    why_not = ""
    try:
        process = _start(folder, packages=packages)
        line = _Line(process, limits.output)
        try:
            held = _prepare(line, folder, limits)
            errors = _converse(line, program, tests, entry_point, limits)
        except _Ended as ended:
            why_not = str(ended)
        finally:
            _end(process)
            line.close()
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    # What was printed is whole only now: it comes beside the answers, and may come after them.
    if why_not:
        raise HarnessError(f"the process for the program did not start: {why_not} {line.printed()}".strip())
    return ProgramOutcome(errors, line.printed(), held)


def _start(folder: str, *, packages: bool) -> subprocess.Popen[bytes]:
    # No environment but this, no folder of the user's on the import path, and without ``packages`` no site-packages.
    flags = ["-s", "-P", "-B", "-u", *([] if packages else ["-S"])]
    kept = {name: os.environ[name] for name in ("SYSTEMROOT", "LD_LIBRARY_PATH") if name in os.environ}
    environment = {**kept, "PATH": os.defpath, "HOME": folder, "TMPDIR": folder, "LANG": "C.UTF-8"}
    # Equal programs give equal results: sets of strings have one order.
    environment |= {"PYTHONHASHSEED": "0", "PYTHONUTF8": "1", "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(  # noqa: S603 - running it is the point; what holds it is documented
        [sys.executable, *flags, str(HARNESS)],
        cwd=folder,
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )


def _prepare(line: _Line, folder: str, limits: ProgramLimits) -> tuple[str, ...]:
    """Have the harness set its limits, and return those that hold. Raises `_Ended` when it cannot even do that."""
    own = {"folder": folder, "memory": limits.memory * MEBIBYTE, "file_size": limits.file_size * MEBIBYTE}
    try:
        return tuple(line.ask("ready", START_SECONDS, limits={**own, "seconds": int(limits.seconds) + 2}))
    except TimeoutError:
        raise _Ended(f"it was not ready within {START_SECONDS} s") from None


def _converse(
    line: _Line, program: str, tests: Sequence[str], entry_point: str | None, limits: ProgramLimits
) -> tuple[str | None, ...]:
    """Have the harness run everything. What the program does to end that makes every test fail."""
    deadline, token = time.monotonic() + limits.seconds, secrets.token_hex(16)

    def ask(wanted: str, **message: Any) -> Any:
        try:
            return line.ask(wanted, deadline - time.monotonic(), **message)
        except TimeoutError:
            raise _Ended(f"it did not end within {limits.seconds:g} s") from None

    try:
        ask("loaded", program=program)
        ask("ran", tests=list(tests), entry_point=entry_point)
        return _results(ask("results", token=token), token, len(tests))
    except _Ended as ended:
        return (str(ended),) * len(tests)


def _results(answer: Any, token: str, count: int) -> tuple[str | None, ...]:
    given, errors = answer if isinstance(answer, list) and len(answer) == 2 else (None, None)
    if given != token or not isinstance(errors, list) or len(errors) != count:
        raise _Ended("it interfered with its tests")
    return tuple(None if error is None else str(error) for error in errors)


def _end(process: subprocess.Popen[bytes]) -> None:
    """Kill the process, and all that it started in its session."""
    with contextlib.suppress(OSError):
        if hasattr(os, "killpg"):
            os.killpg(process.pid, signal.SIGKILL)
        process.kill()
    process.wait()


class _Line:
    """The line to a harness, with what its process prints beside it."""

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

        Raises `TimeoutError` when there is none in time, and `_Ended` with the reason when there will be none.
        """
        assert self._process.stdin is not None  # noqa: S101 - opened as a pipe, for mypy
        with contextlib.suppress(OSError):  # it may be gone, which the answer tells
            self._process.stdin.write(json.dumps(message).encode() + b"\n")
            self._process.stdin.flush()
        try:
            answer = self._messages.get(timeout=max(seconds, 0))
        except queue.Empty:
            raise TimeoutError from None
        if isinstance(answer, _Ended):
            raise answer
        if answer is None:
            raise _Ended(self._how_it_ended())
        if not isinstance(answer, dict) or wanted not in answer:
            raise _Ended("it interfered with its tests")
        return answer[wanted]

    def _how_it_ended(self) -> str:
        try:
            status = self._process.wait(timeout=END_SECONDS)
        except subprocess.TimeoutExpired:
            return "it interfered with its tests"
        if status >= 0:
            return f"it ended with exit status {status} before its tests were through"
        return f"it was ended by {signal.Signals(-status).name}"

    def printed(self) -> str:
        """Return the end of what the process printed."""
        return bytes(self._printed[-SHOWN:]).decode("utf-8", "replace").strip()

    def close(self) -> None:
        """Read what is left and close the streams; the process has ended by now."""
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
                    self._messages.put(_Ended(f"it printed more than {self._output} MiB"))
                    return


# -- The program in a completion.

_FENCE = re.compile(r" {0,3}(?P<fence>`{3,}|~{3,})[ \t]*(?P<language>[\w.+-]*)[^`\n]*\Z")
PYTHON = ("python", "py", "python3")


def program_in(text: str) -> str:
    """Return the last fenced block of Python; else the last block without a language, else the last block; else the text.

    A block that is not closed (the completion was cut) goes to the end.
    """
    blocks = _blocks(text)
    for wanted in (PYTHON, ("",)):
        chosen = [block for language, block in blocks if language in wanted]
        if chosen:
            return chosen[-1]
    return blocks[-1][1] if blocks else text


def _blocks(text: str) -> list[tuple[str, str]]:
    """Return the language and the text of each block."""
    found: list[tuple[str, list[str]]] = []
    closing: str | None = None
    for line in text.splitlines():
        if closing is not None:
            stripped = line.strip()
            if len(stripped) >= len(closing) and set(stripped) == {closing[0]}:
                closing = None
            else:
                found[-1][1].append(line)
        elif match := _FENCE.match(line):
            closing = match["fence"]
            found.append((match["language"].lower(), []))
    return [(language, "".join(f"{line}\n" for line in lines)) for language, lines in found]
