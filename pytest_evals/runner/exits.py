"""``os._exit`` in a process that runs cases: it would end the run at once, with the exit status of a success.

A library that gives up this way, or a test that was copied from a child process, would leave CI green, with neither score card nor
gates. Where evals are on, ``os._exit(0)`` is an error of the case instead; other statuses end the process as ever, and so do those
of child processes that were forked.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from typing import NoReturn

import pytest

from pytest_evals.errors import SuiteError


def refuse_quiet_exits(config: pytest.Config) -> None:
    """Have ``os._exit(0)`` raise `SuiteError` in this process until the session is over."""
    process, leave = os.getpid(), os._exit

    def refuse(status: int) -> NoReturn:
        __tracebackhide__ = True
        if status == 0 and os.getpid() == process:
            raise SuiteError(
                "os._exit(0) was called, which would have ended the whole run as if everything had passed; raise an error, or call "
                "pytest.exit(...) to end a run"
            )
        leave(status)

    _replace(refuse)
    config.add_cleanup(lambda: _replace(leave))


def _replace(function: Callable[[int], NoReturn]) -> None:
    # The module that os takes it from has it too: posix or nt.
    for module in (os, sys.modules[os.name]):
        module._exit = function  # type: ignore[attr-defined]  # noqa: SLF001 - os has it publicly; the other module's type is not known
