"""Processes of this package's own: each ends when the one that started it does, whatever either of them is doing.

A pipe ties them together. The parent holds its only writing end, which the system closes when the parent is gone, however it went; the
child is told. Where the system can (Linux), it is ended by the kernel, so that nothing has to run in it: a call that holds the
interpreter's lock, a load that hangs, a stopped process. Elsewhere a thread notices, as soon as the interpreter lets it run.

A child that has to put something down first, as the answer that is just there, is given some time for it: on Linux a shell outside of both
process groups holds the pipe for that time.

On POSIX a child leads a process group of its own, which ends with it: what a model's script has started ends too.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
import sys
import threading
import weakref
from collections.abc import Mapping, Sequence
from typing import Any

_PIPE = "PYTEST_EVALS_PARENT_PIPE"
_PR_SET_PDEATHSIG = 1


def start_process(
    command: Sequence[str],
    *,
    environment: Mapping[str, str] | None = None,
    last_seconds: float = 0.0,
    **options: Any,
) -> subprocess.Popen[Any]:
    """Start a process whose program calls `end_with_parent`; ``options`` are those of `subprocess.Popen`.

    ``last_seconds``: how long it may go on when this process is gone; without it, or where no shell can be started, no time at all.
    """
    variables = dict(os.environ if environment is None else environment)
    if os.name == "nt":
        return subprocess.Popen(command, env=variables, **options)  # noqa: S603 - this package's own programs
    reading, writing = os.pipe()
    if not options.get("start_new_session"):
        options["process_group"] = 0
    try:
        process: subprocess.Popen[Any] = subprocess.Popen(  # noqa: S603 - the same
            command, env={**variables, _PIPE: str(reading)}, pass_fds=(reading,), **options
        )
        if last_seconds and sys.platform == "linux":
            writing = _held_by_shell(reading, writing, last_seconds)
    except BaseException:
        os.close(writing)
        raise
    finally:
        os.close(reading)
    weakref.finalize(process, os.close, writing)
    return process


def _held_by_shell(reading: int, writing: int, seconds: float) -> int:
    """Have both ends of a pipe held by a shell until ``seconds`` after this process closes what is returned, or is gone.

    Both, so that the kernel also ends what is left of the child's group where the child itself has ended by then.
    """
    waiting, outer = os.pipe()
    # It writes nothing: its output is the one end, where errors would go is the other. The first shell ends at once, so that the second
    # has no parent to take note of its end.
    program = f"exec 3<&0; (read -r _ <&3; sleep {seconds:g}; exec >&-; :) &"
    try:
        subprocess.run(  # noqa: S603 - a constant program
            ["/bin/sh", "-c", program],
            stdin=waiting,
            stdout=writing,
            stderr=reading,
            start_new_session=True,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        os.close(outer)
        return writing
    else:
        os.close(writing)
        return outer
    finally:
        os.close(waiting)


def end_with_parent() -> None:
    """Have this process, and its group, end when the one that started it with `start_process` is gone."""
    found = os.environ.pop(_PIPE, "")
    if not found:
        return
    pipe = int(found)
    os.set_inheritable(pipe, False)
    ended_by_kernel = sys.platform == "linux" and _end_by_kernel(pipe)
    if _is_closed(pipe):
        os._exit(1)
    if not ended_by_kernel:
        threading.Thread(target=_wait_for_end, args=(pipe,), name="evals-parent", daemon=True).start()


def _end_by_kernel(pipe: int) -> bool:
    """Have the kernel send SIGKILL when the other end of a pipe closes; return whether it will."""
    import fcntl

    try:
        # The group is this process's own. Of another one, only this process is to end.
        owner = -os.getpid() if os.getpgrp() == os.getpid() else os.getpid()
        fcntl.fcntl(pipe, fcntl.F_SETOWN, owner)
        fcntl.fcntl(pipe, fcntl.F_SETSIG, signal.SIGKILL)
        fcntl.fcntl(pipe, fcntl.F_SETFL, fcntl.fcntl(pipe, fcntl.F_GETFL) | os.O_ASYNC)
    except OSError:  # a container may refuse it
        return False
    return True


def _is_closed(pipe: int) -> bool:
    poll = select.poll()
    poll.register(pipe, select.POLLIN)
    return bool(poll.poll(0))


def _wait_for_end(pipe: int) -> None:
    with contextlib.suppress(OSError):
        os.read(pipe, 1)  # nothing is ever written
        kill_group(os.getpid())
        os._exit(1)


def end_with_starter() -> None:
    """Have this process end when the one that started it is gone, although that did not use `start_process`: on Linux only.

    What counts there is the thread that started it, so this is for processes that a main thread starts.
    """
    if sys.platform == "linux":
        import ctypes

        with contextlib.suppress(OSError, AttributeError):  # a system that has no such call
            ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


def kill_group(leader: int) -> None:
    """End the process group of a process that `start_process` started, and what is left of it where that has ended."""
    if os.name != "nt":
        with contextlib.suppress(OSError):
            os.killpg(leader, signal.SIGKILL)
