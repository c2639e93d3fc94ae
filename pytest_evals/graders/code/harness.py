"""Runs in the process of a program: executes it and then its tests, and says how they went. Standard library only.

It speaks lines of JSON over what were its standard input and output, which the program does not get. The program sees its
tests only after it is loaded; the token without which nothing counts comes after the last test. So printing, exiting, or
writing to what it finds open, does not pass for success.
"""

from __future__ import annotations

import builtins
import json
import linecache
import os
import runpy
import sys
import traceback
from typing import Any

# Programs may replace functions of the modules that they import; the harness keeps its own.
_READ, _WRITE, _EXIT, _GETPID, _PID = os.read, os.write, os._exit, os.getpid, os.getpid()
_LOADS, _DUMPS, _COMPILE, _EXEC, _BUILTINS = json.loads, json.dumps, compile, exec, dict(vars(builtins))
_ERROR, _FRAMES, _FORMAT = traceback.format_exception_only, traceback.extract_tb, traceback.format_list
_OWN_MODULES = ("json", "json.decoder", "json.encoder", "json.scanner", "linecache", "runpy", "traceback")
_CACHE = linecache.cache
PROGRAM, TESTS = "<program>", "<tests>"
FRAMES, LONGEST = 5, 1000


class HarnessLine:
    """The private line to the process that runs the tests."""

    def __init__(self) -> None:
        self._in, self._out = os.dup(0), os.dup(1)
        nothing = os.open(os.devnull, os.O_RDONLY)
        os.dup2(nothing, 0)
        os.close(nothing)
        # What the program prints goes where its errors go.
        os.dup2(2, 1)
        self._rest = b""

    def send(self, **message: Any) -> None:
        """Say something, unless this is a copy of the process that the program made."""
        if _GETPID() != _PID:
            _EXIT(1)
        data = _DUMPS(message).encode() + b"\n"
        while data:
            data = data[_WRITE(self._out, data) :]

    def receive(self) -> Any:
        """Return what the other side says next; end when it is gone."""
        while b"\n" not in self._rest:
            data = _READ(self._in, 65536)
            if not data:
                _EXIT(1)
            self._rest += data
        first, self._rest = self._rest.split(b"\n", 1)
        return _LOADS(first)


def mistake(error: BaseException) -> str:
    """Return an error with its last frames in the program and its tests, as Python shows them."""
    frames = [frame for frame in _FRAMES(error.__traceback__, limit=-FRAMES) if frame.filename in (PROGRAM, TESTS)]
    text = "".join([*_FORMAT(frames), *_ERROR(type(error), error)]).strip("\n")
    return text if len(text) <= LONGEST else f"{text[: LONGEST // 2]}\n...\n{text[-LONGEST // 2 :]}"


def run(source: str, name: str, namespace: dict[str, Any]) -> str | None:
    """Execute ``source``, and return what it raised."""
    # Where tracebacks take their lines from.
    _CACHE[name] = (len(source), None, source.splitlines(keepends=True), name)
    try:
        _EXEC(_COMPILE(source, name, "exec", dont_inherit=True), namespace)
    except BaseException as error:  # noqa: BLE001 - SystemExit too: a program that exits has not passed
        return mistake(error)
    return None


def test(source: str, entry_point: str | None, program: dict[str, Any]) -> str | None:
    """Run one test, and return what was wrong. It has the program's names, and builtins as Python made them."""
    namespace = {**program, "__builtins__": dict(_BUILTINS)}
    if entry_point is not None:
        namespace["__candidate__"] = program[entry_point]
        source = f"{source}\n\ncheck(__candidate__)\n"
    return run(source, TESTS, namespace)


def main() -> None:
    """Say what is limited, load the program, run its tests, report."""
    confine = runpy.run_path(os.path.join(os.path.dirname(__file__), "sandbox.py"))["confine"]  # noqa: PTH118, PTH120 - pathlib is slow to import
    line = HarnessLine()
    held = confine(**line.receive()["limits"])
    # The program is the main module, and imports fresh copies of what the harness uses.
    module = type(sys)("program")
    sys.modules |= {"program": module, "__main__": module}
    for name in _OWN_MODULES:
        sys.modules.pop(name, None)
    sys.argv, sys.stdin = ["program"], open(0, encoding="utf-8", closefd=False)  # noqa: SIM115 - the program's standard input
    line.send(ready=held)
    program = vars(module)
    wrong = run(line.receive()["program"], PROGRAM, program)
    line.send(loaded=True)
    asked = line.receive()
    entry_point = asked["entry_point"]
    if wrong is None and entry_point is not None and not callable(program.get(entry_point)):
        wrong = f"the program defines no function {entry_point!r}"
    results = [wrong if wrong is not None else test(source, entry_point, program) for source in asked["tests"]]
    line.send(ran=len(results))
    line.send(results=[line.receive()["token"], results])
    _EXIT(0)


if __name__ == "__main__":
    main()
