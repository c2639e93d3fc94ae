"""SIGTERM and SIGHUP end a run as Ctrl-C does: with score card, outputs, artifact and exit status.

CI systems, containers and schedulers end a job with the first, a terminal that is closed with the second; without a handler, either
ends the process on the spot.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Callable
from types import FrameType
from typing import Any

import pytest

Handler = Any
"""What handles a signal: a function, or one of the numbers of `signal`."""

_NAMES = ("SIGTERM", "SIGHUP")


class RunTerminated(KeyboardInterrupt):
    """The run was told to end by a signal. What lets Ctrl-C through lets this through."""


class Signals:
    """Raises `RunTerminated` in the main thread of this process when a signal comes. ``ending``: the run is at its end already, so that
    the first further one is left out; the next one ends the process.
    """

    def __init__(self) -> None:
        self.ending = False
        self._process = os.getpid()
        self._left_out = False

    def install(self, config: pytest.Config) -> None:
        """Take the signals that end a process by default, until pytest is done. Those that other code handles, or that are to be
        ignored (``nohup``), stay as they are.
        """
        if threading.current_thread() is not threading.main_thread():
            return
        for name in _NAMES:
            number = getattr(signal, name, None)
            if number is not None and signal.getsignal(number) == signal.SIG_DFL:
                signal.signal(number, self._told)
                config.add_cleanup(_back_to_default(number))

    def _told(self, number: int, _frame: FrameType | None) -> None:
        forked = os.getpid() != self._process
        if self.ending and not forked and not self._left_out:
            self._left_out = True
            return
        if forked or self._left_out:
            # A child that a test has forked ends as if nothing had asked for its signals.
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
            return
        raise RunTerminated(f"{signal.Signals(number).name}: the process was told to end")


def _back_to_default(number: int) -> Callable[[], None]:
    def undo() -> None:
        with contextlib.suppress(ValueError):  # from another thread
            signal.signal(number, signal.SIG_DFL)

    return undo


# The functions of C behind those of the module, which make enumerations of what they return: `held` calls them for every case.
_C: Any = sys.modules.get("_signal", signal)
_get: Callable[[int], Handler] = _C.getsignal
_set: Callable[[int, Handler], object] = _C.signal
_HELD = tuple(int(getattr(signal, name)) for name in ("SIGINT", *_NAMES) if hasattr(signal, name))


class held:  # noqa: N801 - used as a function, as those of contextlib
    """Let a signal that would raise wait until the block is over: what it does must not be done by half. The second one does not wait."""

    __slots__ = ("_came", "_handlers")

    def __enter__(self) -> None:
        self._came: list[int] = []
        self._handlers: dict[int, Callable[[int, FrameType | None], object]] = {}
        if threading.current_thread() is not threading.main_thread():
            return
        for number in _HELD:
            handler = _get(number)
            if callable(handler):
                self._handlers[number] = handler
                _set(number, self._note)

    def _note(self, number: int, frame: FrameType | None) -> None:
        self._came.append(number)
        if len(self._came) > 1:
            self._handlers[number](number, frame)

    def __exit__(self, *_: object) -> None:
        for number, handler in self._handlers.items():
            _set(number, handler)
        if len(self._came) == 1:
            self._handlers[self._came[0]](self._came[0], None)
