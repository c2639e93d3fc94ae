"""A limit on the time that a piece of Python may take, where the platform has interval timers."""

from __future__ import annotations

import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

_DEBUGGERS = {"bdb", "pdb", "ipdb", "pydevd", "_pydevd_bundle", "debugpy"}


class TimeLimitExceeded(BaseException):
    """Raised inside the block that took too long. Not an `Exception`, so that an ``except Exception`` in it cannot
    swallow it.
    """

    def __init__(self, seconds: float) -> None:
        super().__init__(f"took longer than {seconds:g} s")
        self.seconds = seconds


def _debugging() -> bool:
    """Tell whether somebody sits in a debugger, who takes the time that it takes."""
    module = getattr(sys.gettrace(), "__module__", None) or ""
    return module.partition(".")[0] in _DEBUGGERS


@contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    """Raise `TimeLimitExceeded` in the block after ``seconds``; 0 is no limit.

    Works in the main thread of a POSIX system; elsewhere the block just runs. A timer that was set before
    (pytest-timeout sets one) is set again afterwards with what is left of it.
    """
    if not seconds or not hasattr(signal, "setitimer") or threading.current_thread() is not threading.main_thread():
        yield
        return
    due, _ = signal.getitimer(signal.ITIMER_REAL)
    if 0 < due <= seconds:
        # Somebody else's limit comes first: it decides.
        yield
        return

    def stop(_signal: int, _frame: FrameType | None) -> None:
        if not _debugging():
            raise TimeLimitExceeded(seconds)

    started = time.monotonic()
    before = signal.signal(signal.SIGALRM, stop)
    left, interval = signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
        if left:
            signal.setitimer(signal.ITIMER_REAL, max(left - (time.monotonic() - started), 0.001), interval)
