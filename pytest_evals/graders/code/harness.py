"""Runs in the process of a program: executes it, and calls its functions when the process of the tests asks for that.

Standard library only. Nothing that comes from here is believed: the program can reach all of it.
"""

from __future__ import annotations

import builtins
import contextlib
import io
import os
import sys
import types
from collections.abc import Iterator, Mapping

from pytest_evals.graders.code.peer import Line, Peer, PeerGoneError
from pytest_evals.graders.code.sandbox import confine

TYPE_CHECKING = False  # as in typing, which takes longer to import than all that is used here
if TYPE_CHECKING:
    from typing import Any

# Programs may replace functions of the modules that they import; the harness keeps its own.
_EXIT, _GETPID, _PID = os._exit, os.getpid, os.getpid()
_COMPILE, _EXEC, _BUILTINS = compile, exec, dict(vars(builtins))
PROGRAM, TESTS, BEFORE = "<program>", "<tests>", "<before>"
FRAMES, LONGEST = 5, 1000
_SOURCES: dict[str, str] = {}
"""What was executed, for the lines that tracebacks show."""


def trace(error: BaseException) -> str:
    """Return the last frames of an error that are in the program or its tests, as Python shows them."""
    import linecache
    import traceback

    known = (PROGRAM, TESTS, BEFORE)
    for name, source in _SOURCES.items():
        linecache.cache[name] = (len(source), None, source.splitlines(keepends=True), name)
    frames = [frame for frame in traceback.extract_tb(error.__traceback__, limit=-200) if frame.filename in known]
    return "".join(traceback.format_list(frames[-FRAMES:]))


def mistake(error: BaseException) -> str:
    """Return an error as Python shows it, with what it went through in the other process."""
    import traceback

    there = getattr(error, "__evals_trace__", "")
    text = "".join([trace(error), there, *traceback.format_exception_only(type(error), error)]).strip("\n")
    return text if len(text) <= LONGEST else f"{text[: LONGEST // 2]}\n...\n{text[-LONGEST // 2 :]}"


def run(source: str, name: str, namespace: dict[str, Any]) -> str | None:
    """Execute ``source``, and return what it raised."""
    _SOURCES[name] = source
    try:
        _EXEC(_COMPILE(source, name, "exec", dont_inherit=True), namespace)
    except BaseException as error:  # noqa: BLE001 - SystemExit too: a program that exits has not passed
        return mistake(error)
    return None


class ProgramPeer(Peer):
    """The program, as the process of its tests sees it."""

    def __init__(self, line: Line, *, packages: bool) -> None:
        super().__init__(line, packages=packages)
        self.module = types.ModuleType("program")

    def kept(self, error: BaseException) -> BaseException:
        """Say where in the program it was raised."""
        error.__dict__["__evals_trace__"] = trace(error)[-LONGEST:]
        return error

    @contextlib.contextmanager
    def streaming(self, streams: Any) -> Iterator[dict[str, Any] | None]:
        """Read and print as the tests say: what a test redirects is redirected here while the program works for it."""
        if streams is None:
            yield None
            return
        printing, text, asking = streams
        said: dict[str, Any] = {}
        before = sys.stdout, sys.stdin, builtins.input
        printed, read = io.StringIO(), io.StringIO(text or "")
        try:
            sys.stdout = printed if printing else sys.stdout
            sys.stdin = read if text is not None else sys.stdin
            builtins.input = asking or builtins.input
            yield said
        finally:
            sys.stdout, sys.stdin, builtins.input = before
            said |= {"printed": printed.getvalue(), "read": read.tell()}

    def perform(self, operation: str, *operands: Any) -> Any:
        """Do what the process of the tests asks for."""
        names = vars(self.module)
        if operation == "load":
            return run(operands[0], PROGRAM, names)
        if operation == "bind":
            for name in operands[1]:
                if isinstance(names.get(name), type):
                    self.shared[name] = names[name]
            return {name: names[name] for name in operands[0] if name in names}
        if operation == "test":
            return self._test(*operands)
        if operation == "forget":
            # What was packed for this answer is forgotten with it: the answer is plain.
            return self.forget()
        return super().perform(operation, *operands)

    def _test(self, source: str, entry_point: str | None) -> str | None:
        """Run a test in this process. It has the program's names, and builtins as Python made them."""
        namespace = {**vars(self.module), "__builtins__": dict(_BUILTINS)}
        if entry_point is not None:
            if not callable(namespace.get(entry_point)):
                return f"the program defines no function {entry_point!r}"
            namespace["__candidate__"] = namespace[entry_point]
        return run(source, TESTS, namespace)


class ChildLine(Line):
    """A line that a copy of the process, made by the program, does not speak on."""

    def send(self, message: Mapping[str, Any]) -> None:
        """See `Line.send`."""
        if _GETPID() != _PID:
            _EXIT(1)
        super().send(message)


def main(rest: bytes) -> None:
    """Say what is limited; then serve the process of the tests, or be the program as a script. ``rest`` was read already."""
    reading, writing = os.dup(0), os.dup(1)
    line = ChildLine(reading, writing, rest)
    setup = line.receive()
    held = confine(**setup["confine"])
    # What the program prints goes where its errors go.
    os.dup2(2, 1)
    _read_from(b"")
    line.send({"ready": held})
    peer = ProgramPeer(line, packages=setup["packages"])
    sys.modules |= {"program": peer.module, "__main__": peer.module}
    # The program imports fresh copies of what the harness uses.
    for name in [name for name in sys.modules if name.split(".")[0] in ("json", "pytest_evals")]:
        del sys.modules[name]
    sys.argv = ["program"]
    # Without site, which brings them.
    vars(builtins).setdefault("exit", sys.exit)
    vars(builtins).setdefault("quit", sys.exit)
    if "script" in setup:
        _script(setup, peer.module, reading, writing)
    try:
        while True:
            peer.answer(line.receive())
    except PeerGoneError:
        _EXIT(0)


def _read_from(text: bytes) -> None:
    """Make this what the program reads as its standard input."""
    if text:
        import tempfile

        with tempfile.TemporaryFile(buffering=0) as file:
            file.write(text)
            file.seek(0)
            os.dup2(file.fileno(), 0)
    else:
        nothing = os.open(os.devnull, os.O_RDONLY)
        os.dup2(nothing, 0)
        os.close(nothing)
    sys.stdin = open(0, encoding="utf-8", errors="surrogateescape", closefd=False)  # noqa: SIM115 - the program's standard input


def _script(setup: Mapping[str, Any], module: types.ModuleType, reading: int, writing: int) -> None:
    """Run the program as a script, whose standard output is the line to the other process."""
    _read_from(setup["input"].encode("utf-8", "surrogateescape"))
    sys.stdout.flush()
    os.dup2(writing, 1)
    os.close(writing)
    os.close(reading)
    module.__dict__["__name__"] = "__main__"
    wrong = run(setup["script"], PROGRAM, vars(module))
    if wrong is not None and not wrong.endswith(("SystemExit: 0", "SystemExit", "SystemExit: None")):
        os.write(2, wrong.encode("utf-8", "replace") + b"\n")
        _EXIT(1)
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    _EXIT(0)
