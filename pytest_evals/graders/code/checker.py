"""Runs in a process of its own: the tests of a program, which itself runs in another one. Standard library only.

The program's process is asked to call its functions, and answers with plain data. It is believed in nothing but that: what it
answers is compared here, where it cannot look.
"""

from __future__ import annotations

import builtins
import contextlib
import io
import os
import signal
import subprocess
import sys
import types
from collections.abc import Mapping

from pytest_evals.graders.code.harness import BEFORE, TESTS, run
from pytest_evals.graders.code.peer import Line, Peer, PeerGoneError
from pytest_evals.graders.code.remote import Remote, special_names
from pytest_evals.graders.code.sandbox import confine, hide_memory
from pytest_evals.graders.code.wire import WireError
from pytest_evals.processes import end_with_parent

TYPE_CHECKING = False  # as in typing, which takes longer to import than all that is used here
if TYPE_CHECKING:
    from typing import Any

END_SECONDS = 5  # for what takes some milliseconds, unless a program hinders it
LONGEST_OUTPUT = 8 << 20
MODULE = "tests"
_STDOUT, _STDIN, _INPUT = sys.stdout, sys.stdin, builtins.input
_FUNCTIONS = (types.FunctionType, types.MethodType, types.BuiltinFunctionType)
_ITERATORS = (types.GeneratorType, types.CoroutineType, types.AsyncGeneratorType)
_FILES = (io.StringIO, io.BytesIO)


class TestPeer(Peer):
    """The tests, as the program's process sees them: it may call what a test gives it, and nothing else."""

    wary = True
    __test__ = False

    def export(self, value: Any) -> Any:
        """Return what represents a value that is not plain data. Raises `TypeError` for what the program must not have."""
        allowed = (
            isinstance(value, (*_FUNCTIONS, *_ITERATORS, *_FILES, type, Remote))
            or id(value) in self._remote
            or _is_tests_own(value)
            or "__next__" in special_names(value)
            or type(value).__module__ == "functools"
        )
        if not allowed or (getattr(value, "__module__", None) == "builtins" and isinstance(value, _FUNCTIONS)):
            raise TypeError(
                f"{_shown(value)} cannot be given to a program that runs in a process of its own; isolated=False runs tests in "
                "that process"
            )
        return super().export(value)

    def streams(self) -> Any:
        """Return what a test has put in the place of the standard streams and of ``input``."""
        printing, reading, asking = sys.stdout is not _STDOUT, sys.stdin is not _STDIN, builtins.input is not _INPUT
        if not (printing or reading or asking):
            return None
        rest, place = None, 0
        if reading:
            place = sys.stdin.tell()
            rest = sys.stdin.read()
            sys.stdin.seek(place)
        return [printing, rest, (lambda *given: str(builtins.input(*given))) if asking else None]

    def streamed(self, said: object) -> None:
        """Print what the program printed, and read what it read."""
        if isinstance(said, dict):
            printed, read = said.get("printed"), said.get("read")
            if isinstance(printed, str) and sys.stdout is not _STDOUT:
                sys.stdout.write(printed)
            if isinstance(read, int) and sys.stdin is not _STDIN:
                sys.stdin.read(max(read, 0))

    def perform(self, operation: str, *operands: Any) -> Any:
        """Do what the program asks for: calls, and public attributes of objects of classes that the tests define."""
        subject = operands[0] if operands else None
        if id(subject) not in self._numbers:
            raise WireError("asks for what it was not given")
        if operation in ("get", "set", "delete"):
            name = operands[1]
            opened = _is_tests_own(subject) or isinstance(subject, _FILES)
            if not opened or not isinstance(name, str) or name.startswith("_"):
                raise AttributeError(f"{name!r} of {_shown(subject)} cannot be reached from the program's process")
        elif operation not in ("call", "special", "await"):
            raise WireError(f"no operation {operation!r}")
        return super().perform(operation, *operands)


def _shown(value: Any) -> str:
    return f"a value of the class {type(value).__name__!r}"


def _is_tests_own(value: Any) -> bool:
    kind = value if isinstance(value, type) else type(value)
    return getattr(kind, "__module__", None) == MODULE


class ProgramGoneError(Exception):
    """Nothing more is to be asked of the program's process."""


class Program:
    """The process of a program, as the process of its tests uses it."""

    def __init__(self, setup: Mapping[str, Any]) -> None:
        self._setup = setup
        self._process = subprocess.Popen(  # noqa: S603 - Python, or what confines it: the settings say which
            setup["command"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=setup["folder"],
            env=setup["environment"],
        )
        assert self._process.stdin is not None  # noqa: S101 - opened as pipes, for mypy
        assert self._process.stdout is not None  # noqa: S101 - the same
        self._output = self._process.stdout.fileno()
        self.peer = TestPeer(Line(self._output, self._process.stdin.fileno()), packages=setup["packages"])
        self.peer.free = frozenset(setup["objects"])

    def start(self) -> list[str]:
        """Start it, and return the limits that hold. Raises `ProgramGoneError` with the reason when it cannot."""
        with self._told():
            self.peer.line.send(self._setup["sources"])
            self.peer.line.send(self._setup["program"])
            held = self.peer.line.receive().get("ready")
        if not isinstance(held, list):
            raise ProgramGoneError("it did not say what limits it")
        missing = [name for name in self._setup["required"] if name not in held]
        if missing:
            raise ProgramGoneError(f"its limits do not hold: {', '.join(missing)}")
        return [str(name) for name in held]

    @contextlib.contextmanager
    def _told(self) -> Any:
        try:
            yield
        except PeerGoneError:
            raise ProgramGoneError(self.ending()) from None
        except WireError as error:
            raise ProgramGoneError(f"it interfered with its tests ({error})") from None

    def ask(self, operation: str, *operands: Any) -> Any:
        """Ask its process for something. Raises `ProgramGoneError`."""
        with self._told():
            return self.peer.request(operation, *operands)

    def ending(self) -> str:
        """Say how it ended."""
        try:
            status = self._process.wait(timeout=END_SECONDS)
        except subprocess.TimeoutExpired:
            return "it interfered with its tests (it closed its line to them)"
        if status > 128 and self._setup["wrapped"]:
            status = 128 - status
        if status >= 0:
            return f"it ended with exit status {status} before its tests were through"
        try:
            return f"it was ended by {signal.Signals(-status).name}"
        except ValueError:
            return f"it was ended by signal {-status}"

    def script_output(self) -> tuple[int, str]:
        """Return the exit status of the program that runs as a script, and what it printed."""
        output = bytearray()
        while data := os.read(self._output, 1 << 16):
            output += data
            if len(output) > LONGEST_OUTPUT:
                raise ProgramGoneError(f"it printed more than {LONGEST_OUTPUT >> 20} MiB")
        return self._process.wait(), output.decode("utf-8", "replace")


class TestRunner:
    """Runs the tests of a program in this process."""

    __test__ = False

    def __init__(self, program: Program, setup: Mapping[str, Any]) -> None:
        self._program, self._setup = program, setup

    def run(self, test: Mapping[str, Any]) -> str | None:
        """Run a test, and return what was wrong. Raises `ProgramGoneError` when no other can be run after it."""
        if not self._setup["isolated"]:
            answer = self._program.ask("test", test["source"], self._setup["entry_point"])
            return None if answer is None else str(answer)
        peer = self._program.peer
        self._program.ask("forget")
        peer.forget()
        module = sys.modules[MODULE] = types.ModuleType(MODULE)
        namespace = vars(module)
        namespace["__builtins__"] = dict(vars(builtins))
        wrong = self._prepare(test, namespace) or run(test["source"], TESTS, namespace)
        if peer.broken is not None:
            raise ProgramGoneError(
                self._program.ending()
                if isinstance(peer.broken, PeerGoneError)
                else f"it interfered with its tests ({peer.broken})"
            )
        return wrong

    def _prepare(self, test: Mapping[str, Any], namespace: dict[str, Any]) -> str | None:
        """Give a test its names: modules, those of the program, and those of ``before``."""
        entry_point, before = self._setup["entry_point"], self._setup["before"]
        for name, module in test["modules"].items():
            with contextlib.suppress(ImportError):
                namespace[name] = __import__(module)
        if before:
            wrong = run(before, BEFORE, namespace)
            if wrong is not None:
                return wrong
        own = {name for name in namespace if not name.startswith("__")}
        peer = self._program.peer
        peer.shared = {
            name: namespace[name]
            for name in self._setup["shared"]
            if isinstance(namespace.get(name), type) and not issubclass(namespace[name], (BaseException, *_PLAIN))
        }
        names = [name for name in test["names"] if name not in own or name == entry_point]
        bound = self._program.ask("bind", names, list(peer.shared))
        if not isinstance(bound, dict):
            raise ProgramGoneError("it interfered with its tests (it named nothing)")
        bound = {name: value for name, value in bound.items() if name in names}
        built_in = [name for name in bound if hasattr(builtins, name) and name != entry_point]
        if built_in and (len(built_in) > 1 or not test["only_builtins"]):
            if test["only_builtins"]:
                return f"the test and the program name {' and '.join(built_in)}: entry_point= says which is meant"
            bound = {name: value for name, value in bound.items() if name not in built_in}
        namespace.update(bound)
        if entry_point is not None:
            if not callable(bound.get(entry_point)):
                return f"the program defines no function {entry_point!r}"
            namespace["__candidate__"] = bound[entry_point]
        return None


_PLAIN = (int, float, str, bytes, tuple, list, dict, set, frozenset)


def main(rest: bytes) -> None:
    """Start the program's process, and do with it what comes over the line. ``rest`` was read already."""
    end_with_parent()
    line = Line(os.dup(0), os.dup(1), rest)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    # What tests print goes where their errors go.
    os.dup2(2, 1)
    setup = line.receive()
    program = Program(setup)
    hide_memory()
    confine(**setup["confine"])
    runner = TestRunner(program, setup)
    try:
        line.send({"ready": program.start()})
        while True:
            asked = line.receive()
            if "output" in asked:
                line.send({"done": list(program.script_output())})
            elif "load" in asked:
                line.send({"done": program.ask("load", asked["load"])})
            else:
                line.send({"done": runner.run(asked["run"])})
    except ProgramGoneError as gone:
        line.send({"gone": str(gone)})
    except PeerGoneError:
        pass
    os._exit(0)
