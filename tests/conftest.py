"""What all shelves have in common: runs of pytest by fork."""

from __future__ import annotations

import functools
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.fork_server import ForkedRun, ForkServer, can_fork

_server = functools.cache(ForkServer)


@pytest.fixture(scope="session", autouse=True)
def _fork_pytest() -> Iterator[None]:
    """Have pytester's runs of pytest forked from a process that has the imports behind it."""
    plain = pytest.Pytester.popen

    def popen(self: pytest.Pytester, cmdargs: Sequence[Any], *arguments: Any, **named: Any) -> Any:
        environment = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join(filter(None, [str(Path.cwd()), os.environ.get("PYTHONPATH", "")])),
        }
        files: list[Any] = [named.get("stdout"), named.get("stderr")]
        quiet = named.get("stdin", self.CLOSE_STDIN) is self.CLOSE_STDIN
        if (
            arguments
            or not quiet
            or not all(hasattr(file, "fileno") for file in files)
            or not can_fork(cmdargs, environment)
        ):
            return plain(self, cmdargs, *arguments, **named)
        forked: ForkedRun = _server().run(
            [str(part) for part in cmdargs[2:]], environment, *(file.fileno() for file in files)
        )
        return forked

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pytest.Pytester, "popen", popen)
        yield


@pytest.fixture
def new_interpreter(monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs of this test start an interpreter of their own: it measures what is imported."""
    monkeypatch.setattr("tests.conftest.can_fork", lambda *_: False)
