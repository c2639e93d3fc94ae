"""Runs of pytest by fork, so that a test does not pay for the imports of pytest and the plugin each time.

A server process imports what a run with evals imports, once for each process of the tests. Each run is a fork of it, with arguments,
environment, working directory and output of its own; from there on it is what ``python -m pytest`` is. It halves
the time of the integration shelf. Runs that ask for what only a new interpreter has (its own ``PYTHON...`` variables, an
input, a measured coverage) are started as pytester starts them, and so is everything where there is no ``fork`` to rely on.
"""

from __future__ import annotations

import atexit
import json
import os
import select
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

SAFE = sys.platform == "linux"
ROOT = Path(__file__).parent.parent
# Read by the interpreter when it starts, so that a fork of another one would not see them.
_OF_THE_INTERPRETER: tuple[str, ...] = (
    *("PYTHONHASHSEED", "PYTHONUTF8", "PYTHONIOENCODING", "PYTHONWARNINGS", "PYTHONOPTIMIZE"),
    *("PYTHONDEVMODE", "PYTHONFAULTHANDLER", "PYTHONSAFEPATH", "LANG", "LC_ALL", "LC_CTYPE"),
)
# A run of pytest whose modules are all loaded into the server: no test, but the parts that a run has.
_REHEARSAL = """
from pytest_evals import cases, grader, graders
named = graders.contains("item.capital")
@cases([{"capital": "Paris"}], prompt="Which city?")
def test_it(named): ...
"""


class ForkedRun:
    """A run of pytest, with the methods of `subprocess.Popen` that pytester uses."""

    stdin = None

    def __init__(self, connection: socket.socket, arguments: Sequence[str]) -> None:
        self.args = list(arguments)
        self.returncode: int | None = None
        self._connection = connection
        self._lines = connection.makefile("r")
        self.pid = int(self._lines.readline())

    def wait(self, timeout: float | None = None) -> int:
        """Return the exit status, below zero where a signal ended it. Raises `subprocess.TimeoutExpired`."""
        if self.returncode is None:
            self._connection.settimeout(timeout)
            try:
                line = self._lines.readline()
            except TimeoutError as error:
                raise subprocess.TimeoutExpired(self.args, timeout or 0.0) from error
            self.returncode = os.waitstatus_to_exitcode(int(line))
            self._lines.close()
            self._connection.close()
        return self.returncode

    def kill(self) -> None:
        """End it at once."""
        os.kill(self.pid, signal.SIGKILL)


class ForkServer:
    """The server's process, started with the first run."""

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="fork-server-")
        self._address = str(Path(self._folder.name) / "socket")
        self._process = subprocess.Popen(
            [
                sys.executable,
                "-c",
                f"import sys; sys.path.insert(0, {str(ROOT)!r}); from tests.fork_server import main; main()",
                self._address,
            ],
            stdin=subprocess.PIPE,
            cwd=self._folder.name,
        )
        atexit.register(self.close)

    def run(self, arguments: Sequence[str], environment: dict[str, str], stdout: int, stderr: int) -> ForkedRun:
        """Begin ``python -m pytest ARGUMENTS`` in the current folder, with its output in these files."""
        connection = socket.socket(socket.AF_UNIX)
        while True:
            try:
                connection.connect(self._address)
            except (FileNotFoundError, ConnectionRefusedError):
                if self._process.poll() is not None:
                    raise RuntimeError(f"the fork server ended with status {self._process.returncode}") from None
                time.sleep(0.02)
            else:
                break
        told = json.dumps(
            {"arguments": list(arguments), "environment": environment, "folder": str(Path.cwd())}
        ).encode()
        socket.send_fds(connection, [len(told).to_bytes(8, "big")], [stdout, stderr])
        connection.sendall(told)
        return ForkedRun(connection, arguments)

    def close(self) -> None:
        """End the server. Runs that still go on are not waited for."""
        if self._process.stdin is not None:
            self._process.stdin.close()
        self._process.kill()
        self._process.wait()
        self._folder.cleanup()


def can_fork(command: Sequence[Any], environment: dict[str, str]) -> bool:
    """Tell whether a fork of the server does the same as this command."""
    return (
        SAFE
        and [str(part) for part in command[:2]] == [sys.executable, "-mpytest"]
        and all(environment.get(name) == os.environ.get(name) == _AT_START.get(name) for name in _OF_THE_INTERPRETER)
        and not any(name.startswith("COVERAGE_PROCESS") for name in environment)
    )


_AT_START = dict(os.environ)


# -- In the server.


def _load() -> None:
    """Import what a run with evals has imported in the end."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "test_suite.py").write_text(_REHEARSAL, encoding="utf-8")
        Path(folder, "script.py").write_text('def answer(messages):\n    return "Paris"\n', encoding="utf-8")
        listing = Path(folder, "modules.txt")
        Path(folder, "conftest.py").write_text(
            "import sys\ndef pytest_unconfigure():\n"
            f"    open({str(listing)!r}, 'w').write('\\n'.join(m.__spec__.name for m in list(sys.modules.values())"
            " if getattr(m, '__spec__', None)))\n",
            encoding="utf-8",
        )
        command = [
            sys.executable,
            "-m",
            "pytest",
            "--evals",
            "--evals-model=scripted:script:answer",
            "-q",
            "-p",
            "no:xdist",
        ]
        # What the first test set for its own run, as the file of GitHub's summary, is not for this one.
        environment = {name: value for name, value in os.environ.items() if not name.startswith("GITHUB_")}
        environment["PYTHONDONTWRITEBYTECODE"] = "1"
        subprocess.run(command, cwd=folder, env=environment, check=True, stdout=subprocess.DEVNULL)
        names = listing.read_text(encoding="utf-8").split()
    for name in names:
        if name.partition(".")[0] not in ("__main__", "test_suite", "script", "conftest"):
            __import__(name)
    # pytest rewrites the assert statements of plugins that it imports itself, and says so where it comes too late.
    for module in [module for name, module in sys.modules.items() if "." not in name]:
        module.__doc__ = f"{module.__doc__ or ''}\nPYTEST_DONT_REWRITE"


def _serve(address: str) -> None:
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(address)
    listener.listen(8)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for those that wait for runs
    while listener in select.select([listener, sys.stdin], [], [])[0]:  # the other one: the tests are over
        connection, _ = listener.accept()
        if os.fork() == 0:
            listener.close()
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            return _begin(connection)
        connection.close()
    os._exit(0)


def _begin(connection: socket.socket) -> None:
    """Fork the run, wait for it in this process, and say what came of it. Returns in the run."""
    head, descriptors, _, _ = socket.recv_fds(connection, 8, 2)
    asked = json.loads(connection.makefile("rb").read(int.from_bytes(head, "big")))
    if pid := os.fork():
        connection.sendall(f"{pid}\n".encode())
        _, status = os.waitpid(pid, 0)
        connection.sendall(f"{status}\n".encode())
        os._exit(0)
    connection.close()
    nothing = os.open(os.devnull, os.O_RDONLY)
    for source, target in zip((nothing, *descriptors), (0, 1, 2), strict=True):
        os.dup2(source, target)
        os.close(source)
    # Tests send these, and a shell has what it starts in the background ignore some of them.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    os.chdir(asked["folder"])
    os.environ.clear()
    os.environ.update(asked["environment"])
    tempfile.tempdir = None  # found again, by the run's environment
    sys.dont_write_bytecode = bool(os.environ.get("PYTHONDONTWRITEBYTECODE"))
    import pytest

    sys.argv = [str(Path(pytest.__file__).parent / "__main__.py"), *asked["arguments"]]
    added = [entry for entry in os.environ.get("PYTHONPATH", "").split(os.pathsep) if entry]
    sys.path[:] = [str(Path.cwd()), *added, *_own_path()]
    sys.path_importer_cache.clear()
    if "xdist.plugin" in sys.modules:
        # pytest-xdist keeps the path that its workers get from when it was imported.
        sys.modules["xdist.plugin"]._sys_path[:] = sys.path


def _own_path() -> list[str]:
    """The import path without what stands before it here: the project's root, the working directory, ``PYTHONPATH``."""
    return sys.path[2 + len([entry for entry in _AT_START.get("PYTHONPATH", "").split(os.pathsep) if entry]) :]


def main() -> None:
    """Serve until the tests end; in each fork, run pytest."""
    _load()
    _serve(sys.argv[1])
    import pytest

    raise SystemExit(pytest.console_main())
