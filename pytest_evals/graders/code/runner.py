"""Runs a program and its tests in two processes of their own, and holds them to their limits."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pytest_evals.graders.code import levels
from pytest_evals.graders.code.checker_process import MEBIBYTE, SHOWN, CheckerLine, Ended, end, start
from pytest_evals.graders.code.extract import behind
from pytest_evals.graders.code.levels import Sandbox, find_sandbox
from pytest_evals.graders.code.names import TestCode, analyse, class_names, trusted_head

START_SECONDS = 30
WANTED = ("memory", "processor time", "file size", "processes", "network", "signals", "files outside", "reading files")
"""What is limited beside time and output where the platform can; `ProgramOutcome.limits` tells what was."""


@dataclass(frozen=True, slots=True)
class ProgramLimits:
    """What a program may use: seconds on the clock; in MiB, memory, what it prints, and the size of a file."""

    seconds: float = 10
    memory: int = 1024
    output: int = 1
    file_size: int = 16

    def to_dict(self) -> dict[str, int]:
        """Return what the kernel limits, in bytes and seconds."""
        return {
            "memory": self.memory * MEBIBYTE,
            "file_size": self.file_size * MEBIBYTE,
            "seconds": int(self.seconds) + 2,
        }


@dataclass(frozen=True, slots=True)
class ScriptTest:
    """A test of a program that reads and prints: what it reads, and what it must print."""

    input: str
    output: str


@dataclass(frozen=True, slots=True)
class ProgramTask:
    """A program with its tests: code, or input and output. ``before`` is code in front of it; ``objects`` are names of its
    classes whose objects may compare themselves with plain data; ``isolated``: tests are run outside of its process.
    """

    program: str
    tests: Sequence[str | ScriptTest]
    before: str = ""
    entry_point: str | None = None
    objects: Sequence[str] = ()
    packages: bool = False
    isolated: bool = True


@dataclass(frozen=True, slots=True)
class ProgramOutcome:
    """How the tests of a program went. ``errors`` has an entry for each test, `None` where it passed."""

    errors: tuple[str | None, ...]
    output: str
    limits: tuple[str, ...]
    sandbox: str = ""


class HarnessError(RuntimeError):
    """The processes did not even come to the program: nothing is known of it."""


def run_program(task: ProgramTask, limits: ProgramLimits, sandbox: Sandbox | None = None) -> ProgramOutcome:
    """Load the program, then run each test. Raises `HarnessError` when that could not be tried.

    A test that takes long is put off until the others are through, so that one which never ends fails alone; and one that ends
    the process of the program does not end the others.
    """
    return _Run(task, limits, sandbox or find_sandbox("auto")).outcome()


@dataclass
class _Run:
    task: ProgramTask
    limits: ProgramLimits
    sandbox: Sandbox
    held: tuple[str, ...] = ()
    printed: list[str] = field(default_factory=list)
    deadline: float | None = None

    def outcome(self) -> ProgramOutcome:
        """Run everything."""
        tests = self.task.tests
        if tests and isinstance(tests[0], ScriptTest):
            errors = [self._script(test) for test in tests if isinstance(test, ScriptTest)]
        else:
            errors = self._coded()
        output = "\n".join(filter(None, self.printed))[-SHOWN:].strip()
        return ProgramOutcome(tuple(errors), output, (*self.held, *self.sandbox.from_outside), self.sandbox.level)

    # -- tests that are code

    def _coded(self) -> list[str | None]:
        whole, goes_on = behind(self.task.before, self.task.program)
        head = trusted_head(self.task.before, self.task.entry_point, goes_on=goes_on)
        codes = [analyse(test, head, self.task.entry_point) for test in self.task.tests if isinstance(test, str)]
        errors: dict[int, str | None] = {}
        waiting, late = deque(range(len(codes))), deque[int]()
        while waiting or late:
            with self._processes(head=head) as line:
                wrong = self._load(line, whole)
                if wrong is not None:
                    return [errors.get(number, wrong) for number in range(len(codes))]
                self._go_through(line, codes, waiting, late, errors)
        return [errors[number] for number in range(len(codes))]

    def _load(self, line: CheckerLine, whole: str) -> str | None:
        try:
            wrong = self._ask(line, self._left(), load=whole)
        except TimeoutError:
            return self._too_long()
        except Ended as ended:
            return str(ended)
        return None if wrong is None else str(wrong)

    def _go_through(
        self,
        line: CheckerLine,
        codes: Sequence[TestCode],
        waiting: deque[int],
        late: deque[int],
        errors: dict[int, str | None],
    ) -> None:
        """Run tests for as long as the processes go on: those that wait, then those that were ``late``, which share the time that
        is left.
        """
        while waiting or late:
            last_chance, turn = not waiting, waiting or late
            number, left = turn.popleft(), self._left()
            share = len(late) + 1 if last_chance else 4 if len(late) < 2 else len(waiting) + 2
            try:
                seconds = left if len(codes) == 1 else left / share
                errors[number] = self._ask(line, seconds, run=codes[number].to_dict())
            except TimeoutError:
                if last_chance or len(codes) == 1 or self._left() <= 0:
                    errors[number] = self._too_long()
                else:
                    late.append(number)
                return
            except Ended as ended:
                errors[number] = str(ended)
                return

    def _too_long(self) -> str:
        return f"it did not end within {self.limits.seconds:g} s"

    def _left(self) -> float:
        """Return the seconds that are left; they begin to count with the first program that is ready."""
        if self.deadline is None:
            self.deadline = time.monotonic() + self.limits.seconds
        return self.deadline - time.monotonic()

    @staticmethod
    def _ask(line: CheckerLine, seconds: float, **message: Any) -> Any:
        return line.ask("done", seconds, **message)

    # -- tests that are input and output

    def _script(self, test: ScriptTest) -> str | None:
        whole, _ = behind(self.task.before, self.task.program)
        with self._processes(script=whole, input=test.input) as line:
            try:
                status, printed = self._ask(line, self._left(), output=True)
            except TimeoutError:
                return self._too_long()
            except Ended as ended:
                return str(ended)
        if status:
            said = self.printed[-1] if self.printed else ""
            return f"it ended with exit status {status}\n{said}".strip()
        if _lines(printed) == _lines(test.output):
            return None
        return f"it printed {_short(printed)} where {_short(test.output)} was expected"

    # -- the processes

    @contextlib.contextmanager
    def _processes(self, *, head: str = "", **script: str) -> Iterator[CheckerLine]:
        """Start a process for the tests, and through it one for the program. Raises `HarnessError` when that fails."""
        why_not = ""
        folder = tempfile.mkdtemp(prefix="evals-program-")
        try:
            command, container = self.sandbox.command(self.limits.to_dict(), packages=self.task.packages)
            process = start(folder, packages=self.task.packages)
            line = CheckerLine(process, self.limits.output)
            try:
                try:
                    held = line.ask("ready", START_SECONDS, **self._setup(folder, command, head, script))
                except TimeoutError:
                    why_not = f"it was not ready within {START_SECONDS} s"
                except Ended as ended:
                    why_not = str(ended)
                else:
                    self.held = tuple(held)
                    self._left()
                    yield line
            finally:
                end(process)
                if container is not None:
                    levels.remove_container(self.sandbox.level, container)
                line.close()
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        # What was printed is whole only now: it comes beside the answers, and may come after them.
        self.printed.append(line.printed())
        if why_not:
            raise HarnessError(f"the process for the program did not start: {why_not} {line.printed()}".strip())

    def _setup(self, folder: str, command: list[str], head: str, script: Mapping[str, str]) -> dict[str, Any]:
        task, limits = self.task, self.limits.to_dict()
        confine = self.sandbox.confinement(folder, limits, packages=task.packages)
        return {
            "command": command,
            "folder": folder,
            "environment": levels.tool_environment(self.sandbox, folder),
            "wrapped": self.sandbox.wrapped,
            "required": list(levels.REQUIRED[self.sandbox.level]),
            "sources": self.sandbox.sources(),
            "program": {"confine": confine, "packages": task.packages, **script},
            "confine": levels.tests_confinement(self.sandbox, folder, limits, packages=task.packages),
            "packages": task.packages,
            "objects": list(task.objects),
            "isolated": task.isolated,
            "before": head,
            "shared": class_names(head),
            "entry_point": task.entry_point,
        }


def _lines(text: str) -> list[str]:
    """Return the lines of an output, without the white space at their ends and empty lines at its own."""
    return [line.rstrip() for line in text.rstrip().splitlines()]


def _short(text: str) -> str:
    return repr(text if len(text) <= 200 else f"{text[:100]}...{text[-100:]}")
