"""Tells when the load of a model hangs: it takes too long, or its process does nothing at all."""

from __future__ import annotations

from time import monotonic
from typing import Any

IDLE_SECONDS = 600.0
"""How long a process may do nothing while it loads: it uses no processor time, and reads and writes nothing."""
_FIRST_LOOK = 60.0
_LEAST_PROCESSOR_SECONDS = 0.5
_LEAST_BYTES = 1 << 16


class LoadWatch:
    """Watches the process ``pid`` from now on. ``most``: the seconds that its load may take, 0 where there is no limit."""

    def __init__(self, pid: int, most: float) -> None:
        self._pid = pid
        self._most = most
        self._began = self._acted = monotonic()
        self._used: tuple[float, int] | None = (0.0, 0)

    def problem(self) -> str | None:
        """Return why the load is not worth waiting for, `None` while it is. Called every second or so."""
        if not self._most:
            return None
        now = monotonic()
        if now - self._began > self._most:
            return f"loading took more than {self._most:g} s"
        # A look costs some milliseconds, and most loads are over by then.
        if now - self._began > _FIRST_LOOK and self._acts():
            self._acted = now
        if now - self._acted > IDLE_SECONDS:
            return f"while it loaded it did nothing for {IDLE_SECONDS:g} s"
        return None

    def _acts(self) -> bool:
        """Tell whether the process, or one that it started, has done something since the last time that it had."""
        used = _used(self._pid)
        if used is None or self._used is None:
            # The system does not tell: then only the limit of the whole load holds.
            return True
        acted = (
            used[0] - self._used[0] > _LEAST_PROCESSOR_SECONDS
            or abs(used[1] - self._used[1]) > _LEAST_BYTES
            or used[0] < self._used[0]  # a process among them has ended
        )
        if acted:
            self._used = used
        return acted


def _used(pid: int) -> tuple[float, int] | None:
    """Return the processor time and the bytes read and written of a process and those that it started."""
    import psutil

    try:
        first = psutil.Process(pid)
        processes = [first, *first.children(recursive=True)]
        return sum(map(_seconds, processes)), sum(map(_bytes, processes))
    except (psutil.Error, OSError, AttributeError):
        return None


def _seconds(process: Any) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


def _bytes(process: Any) -> int:
    # macOS does not tell: then processor time has to.
    counters = process.io_counters() if hasattr(process, "io_counters") else None
    return (
        0 if counters is None else int(counters.read_bytes + counters.write_bytes + getattr(counters, "read_chars", 0))
    )
