"""Ways to leave a process that runs cases which would end the run at once, with the exit status of a success.

A library that gives up by ``os._exit``, or a test that was copied from a child process, would leave CI green, with neither score card
nor gates. Where evals are on, ``os._exit(0)`` and ``os.exec...`` are errors of the case instead; other statuses end the
process as usual, and so do those of child processes that were forked. A forked process that comes back out of its test
ends there: it would go on with the run a second time, in the same files.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from typing import Any, NoReturn

import pytest

from pytest_evals.errors import SuiteError

_FORKED = 70
"""The exit status of a forked process that came back out of its test: EX_SOFTWARE of sysexits.h."""


def refuse_quiet_exits(config: pytest.Config) -> None:
    """Have ``os._exit(0)`` and ``os.exec...`` raise `SuiteError` in this process until the session is over; and end processes that tests
    fork off where they come back.
    """
    process, leave = os.getpid(), os._exit

    def refuse(status: int) -> NoReturn:
        __tracebackhide__ = True
        if status == 0 and os.getpid() == process:
            raise SuiteError(
                "os._exit(0) was called, which would have ended the whole run as if everything had passed; raise an error, or call "
                "pytest.exit(...) to end a run"
            )
        leave(status)

    def keeping(become: Callable[..., Any]) -> Callable[..., Any]:
        def refuse_to_become(path: Any, *arguments: Any) -> Any:
            __tracebackhide__ = True
            if os.getpid() == process:
                raise SuiteError(
                    f"os.{become.__name__}({path!r}, ...) was called, which would have put another program in the place of the whole "
                    "run; start it with subprocess.run(...)"
                )
            return become(path, *arguments)

        return refuse_to_become

    # All functions that replace a process call one of these two.
    before: dict[str, Callable[..., Any]] = {name: getattr(os, name) for name in ("execv", "execve")}
    _replace({"_exit": refuse, **{name: keeping(function) for name, function in before.items()}})
    config.add_cleanup(lambda: _replace({"_exit": leave, **before}))
    config.pluginmanager.register(_Forks(), "evals-forks")


def _replace(functions: dict[str, Callable[..., Any]]) -> None:
    # The module that os takes them from has them too: posix or nt.
    for module in (os, sys.modules[os.name]):
        for name, function in functions.items():
            setattr(module, name, function)


class _Forks:
    """Ends a process that a test has forked off when it comes back out of the test."""

    def __init__(self) -> None:
        self._process = os.getpid()

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_setup(self) -> None:
        """Note which process runs the test: pytest-forked gives each one of its own."""
        self._process = os.getpid()

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_makereport(self, item: pytest.Item) -> None:
        """See the class."""
        if self._process != os.getpid():
            text = f"{item.nodeid} forked a process that came back out of the test; it ends here: let it end by os._exit(...)\n"
            os.write(2, text.encode("utf-8", "backslashreplace"))
            os._exit(_FORKED)  # its buffers and files are those of the run
