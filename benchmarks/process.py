"""Runs a program in a process of its own, and watches the time and the memory that it and its children take."""

from __future__ import annotations

import contextlib
import json
import os
import re
import subprocess
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from benchmarks.workloads import ROOT

_LOOK_SECONDS = 0.5
"""A look takes some milliseconds of a core; more of them would slow down what is measured."""
_LOG_LINES = 12
_PEAK = re.compile(r"^VmHWM:\s+(\d+) kB$", re.MULTILINE)


class ProgramError(Exception):
    """A program failed or took too long; the message has the end of what it printed."""


@dataclass
class Usage:
    """What a run took. Peaks are in MB: ``peak`` of all processes together, ``peaks`` of each by its process id.

    ``started`` and ``begun`` are times of the clock: when the program was started, and when each process began.
    """

    started: float
    pid: int = 0
    seconds: float = 0.0
    peak: float = 0.0
    peaks: dict[int, float] = field(default_factory=dict)
    begun: dict[int, float] = field(default_factory=dict)

    @property
    def child(self) -> int | None:
        """The child process with the largest peak, if there was any."""
        children = [pid for pid in self.peaks if pid != self.pid]
        return max(children, key=lambda pid: self.peaks[pid], default=None)


def watch(command: Sequence[str], folder: Path, environment: Mapping[str, str], timeout: float) -> tuple[Usage, str]:
    """Run ``command`` in ``folder`` to its end; return what it took and what it printed.

    Raises `ProgramError` when its exit status is not 0, and after ``timeout`` seconds. No process is left behind.
    """
    with tempfile.TemporaryFile() as log:
        usage = Usage(time.time())
        clock = time.perf_counter()
        process = subprocess.Popen(
            command, cwd=folder, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT
        )
        usage.pid = process.pid
        watcher = threading.Thread(target=_look, args=(process, usage), daemon=True)
        watcher.start()
        killer = threading.Timer(timeout, _end, (process.pid,))
        killer.start()
        try:
            status = process.wait()
            usage.seconds = time.perf_counter() - clock
        finally:
            killer.cancel()
            if process.poll() is None:
                _end(process.pid)
                process.wait()
        watcher.join()
        log.seek(0)
        printed = log.read().decode(errors="replace")
    if status != 0:
        late = f" after {timeout:.0f} s, its limit" if usage.seconds >= timeout else ""
        lines = [line for line in printed.splitlines() if line.strip()][-_LOG_LINES:]
        said = "it printed last:" if lines else "it printed nothing"
        raise ProgramError("\n  ".join([f"ended with status {status}{late}; {said}", *lines]))
    return usage, printed


def run_program(
    module: str, job: Mapping[str, Any], python: str, environment: Mapping[str, str], timeout: float
) -> tuple[dict[str, Any], Usage]:
    """Run a module of this folder as a program on ``job``; return the JSON that it wrote and what it took.

    Raises `ProgramError`, as `watch` does.
    """
    with tempfile.TemporaryDirectory(prefix="evals-bench-") as name:
        order, outcome = Path(name) / "job.json", Path(name) / "outcome.json"
        order.write_text(json.dumps(job), encoding="utf-8")
        usage, _ = watch([python, "-m", module, str(order), str(outcome)], ROOT, environment, timeout)
        return json.loads(outcome.read_text(encoding="utf-8")), usage


def environment_for(threads: int) -> dict[str, str]:
    """Return the environment of every process that is measured. What the user set wins, but for the threads."""
    common = {
        # Threads that spin while they wait take time from others on the machine.
        "GOMP_SPINCOUNT": "10000",
        "HF_HUB_OFFLINE": "1",
        "TOKENIZERS_PARALLELISM": "false",
        "TQDM_DISABLE": "1",
        "TRANSFORMERS_VERBOSITY": "error",
    }
    count = str(threads)
    return {**common, **os.environ, "OMP_NUM_THREADS": count, "MKL_NUM_THREADS": count}


def _look(process: subprocess.Popen[bytes], usage: Usage) -> None:
    """Note the memory of the process and its children until it ends; runs in a thread of its own."""
    while process.poll() is None:
        together = 0.0
        for one in _family(process.pid):
            with contextlib.suppress(psutil.Error, OSError):
                usage.begun.setdefault(one.pid, one.create_time())
                together += one.memory_info().rss / 1e6
                usage.peaks[one.pid] = max(usage.peaks.get(one.pid, 0.0), _peak(one))
        usage.peak = max(usage.peak, together, *usage.peaks.values())
        time.sleep(_LOOK_SECONDS)


def _family(pid: int) -> list[psutil.Process]:
    with contextlib.suppress(psutil.Error):
        parent = psutil.Process(pid)
        return [parent, *parent.children(recursive=True)]
    return []


def _peak(process: psutil.Process) -> float:
    """Return the largest memory that the process ever had where the system keeps that, else what it has now."""
    with contextlib.suppress(OSError):
        found = _PEAK.search(Path(f"/proc/{process.pid}/status").read_text(encoding="ascii", errors="replace"))
        if found:
            return int(found[1]) * 1024 / 1e6
    return float(process.memory_info().rss) / 1e6


def _end(pid: int) -> None:
    for one in _family(pid):
        with contextlib.suppress(psutil.Error):
            one.kill()
