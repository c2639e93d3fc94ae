"""Finds a warm engine, or starts one: a process that does not end with the run, but when it was idle for long enough."""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from multiprocessing import AuthenticationError
from pathlib import Path
from typing import Any

from pytest_evals.engines.ipc import Channel, Packet, connect
from pytest_evals.engines.process import engine_environment, last_lines
from pytest_evals.engines.spec import ModelSpec
from pytest_evals.engines.warm_registry import WarmEntry, entries, forget, place_of_entry, read_entry, warm_keys

_ANSWER_SECONDS = 2.0
"""An engine that does not answer for so long is stopped, or hangs; it is left alone."""
_END_SECONDS = 3.0
_PROGRAM = "pytest_evals.engines.warm_worker"


class WarmProcess:
    """An engine that is shared with other runs: see `EngineProcess` for what its methods mean. ``channel`` leads to one that is
    there already.
    """

    stays = True
    lost = False

    def __init__(self, pid: int, channel: Channel | None = None, log: Path | None = None) -> None:
        self.pid = pid
        self.channel = channel
        self._log = log
        self._reason: str | None = None
        self._gone = threading.Event()

    def disconnected(self) -> None:
        """Take note that its connection has ended."""
        self._gone.set()

    def wait(self, seconds: float) -> int | None:
        """Wait so long for the end of the process or of its connection; return 1 then, `None` while both are there."""
        if self._gone.wait(seconds):
            return 1
        return None if is_alive(self.pid) else 1

    def kill(self, reason: str) -> None:
        """End the process by force, even if another run uses it."""
        self._reason = reason
        if not self._gone.is_set():
            with contextlib.suppress(OSError):
                os.kill(self.pid, signal.SIGKILL)

    def end(self, *, patient: bool) -> None:
        """Wait until the process has ended, as it was told to, if ``patient``; then let go of it."""
        if patient:
            _wait_for_end(self.pid)
        self.disconnected()

    def exit_report(self, status: int) -> str:
        """Say that it has ended, with the last lines that it printed."""
        del status
        hint = f" ({self._reason})" if self._reason else ""
        lines = last_lines(self._log) if self._log is not None else []
        said = "; it printed last:\n  " + "\n  ".join(lines) if lines else ""
        return f"(kept warm, pid {self.pid}) ended{hint}{said}"

    def forget(self) -> None:
        """Remove the log; the process may go on writing to it."""
        if self._log is not None:
            self._log.unlink(missing_ok=True)


def is_alive(pid: int) -> bool:
    """Tell whether a process runs, and is not only waiting for its parent to take note of its end."""
    import psutil

    try:
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except psutil.Error:
        return False


def attach_or_start(spec: ModelSpec, orders: dict[str, Any], keep: float) -> WarmProcess | None:
    """Return a process with the engine that ``orders`` describe: one that is there, else a new one, which connects back as they say and
    stays for ``keep`` seconds of idleness.

    `None` where it cannot be told what the model is loaded from, so that no later run could know that it is the same. Raises `OSError`
    and `EvalsError` where it cannot be started.
    """
    keys = warm_keys(spec, orders["options"], orders["path"], orders["date"])
    if keys is None:
        return None
    key, slot = keys
    found = read_entry(place_of_entry(key))
    if found is not None:
        channel = introduce(found, {"role": "client", "journal": orders["journal"], "keep": keep})
        if channel is not None:
            return WarmProcess(found.pid, channel)
    for entry in entries():
        if entry.slot == slot and entry.key != key:
            # Loaded from what has changed since: no run will ask for it again.
            retire(entry)
    return _started({**orders, "warm": {"key": key, "slot": slot, "keep": keep}})


def introduce(entry: WarmEntry, hello: Packet) -> Channel | None:
    """Connect to a warm engine and say ``hello``; return the connection once it is welcome. The entry of one that is gone is
    removed.
    """
    found = _greeted(entry, hello)
    return None if found is None else found[0]


def ask(entry: WarmEntry) -> Packet | None:
    """Return how a warm engine is, `None` where it does not answer."""
    found = _greeted(entry, {"role": "ask"})
    if found is None:
        return None
    found[0].close()
    return found[1]


def _greeted(entry: WarmEntry, hello: Packet) -> tuple[Channel, Packet] | None:
    found: list[tuple[Channel, Packet]] = []
    over = threading.Event()

    def greet() -> None:
        try:
            channel = connect(entry.address, entry.secret)
            channel.send(hello)
            answer = channel.receive()
        except (OSError, EOFError, ValueError, AuthenticationError):
            # Not there any more, or not what its entry says.
            answer = None
        if answer is not None and not over.is_set():
            found.append((channel, answer))
        elif answer is not None:
            channel.close()
        over.set()

    thread = threading.Thread(target=greet, name="evals-greet", daemon=True)
    thread.start()
    over.wait(_ANSWER_SECONDS)
    answered = over.is_set()
    over.set()
    if found:
        return found[0]
    if answered or not is_alive(entry.pid):
        clear_away(entry)
    return None


def retire(entry: WarmEntry) -> None:
    """Have an engine end as soon as no run uses it."""
    channel = introduce(entry, {"role": "retire"})
    if channel is not None:
        channel.close()


def stop(entry: WarmEntry) -> bool:
    """End a warm engine, even if a run uses it; return whether it was there and has ended."""
    if not is_alive(entry.pid):
        clear_away(entry)
        return False
    channel = introduce(entry, {"role": "stop"})
    if channel is not None:
        channel.close()
        _wait_for_end(entry.pid)
    if is_alive(entry.pid) and _is_engine(entry.pid):
        # It does not answer, or hangs at its end.
        with contextlib.suppress(OSError):
            os.kill(entry.pid, signal.SIGKILL)
        _wait_for_end(entry.pid)
    clear_away(entry)
    return not is_alive(entry.pid)


def _is_engine(pid: int) -> bool:
    """Tell whether a process is a warm engine, and not another one that was given its number."""
    import psutil

    try:
        return _PROGRAM in psutil.Process(pid).cmdline()
    except psutil.Error:
        return False


def clear_away(entry: WarmEntry) -> None:
    """Remove what an engine that is gone has left: its entry, and its socket with the folder made for it."""
    forget(entry)
    folder = Path(entry.address).parent
    if folder.name.startswith("evals-") and not is_alive(entry.pid):
        shutil.rmtree(folder, ignore_errors=True)


def _wait_for_end(pid: int) -> None:
    deadline = time.monotonic() + _END_SECONDS
    while is_alive(pid) and time.monotonic() < deadline:
        time.sleep(0.02)


def _started(orders: dict[str, Any]) -> WarmProcess:
    """Start a process of its own session, that no other process waits for."""
    descriptor, name = tempfile.mkstemp(prefix="evals-engine-", suffix=".log")
    command = shlex.join([sys.executable, "-m", _PROGRAM])
    with os.fdopen(descriptor, "wb") as log:
        # The shell ends at once, so the engine is not a child of this process, which need not take note of its end.
        shell = subprocess.Popen(  # noqa: S603 - this package's own program
            ["/bin/sh", "-c", f"exec 3<&0; {command} <&3 3<&- >&2 & echo $!"],
            env=engine_environment(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            start_new_session=True,
        )
    # The key travels through a pipe: command lines and environments can be read by others.
    said, _ = shell.communicate(json.dumps(orders).encode())
    return WarmProcess(int(said), log=Path(name))
