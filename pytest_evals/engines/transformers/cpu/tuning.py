"""How many threads compute on a CPU: measured, because what the system reports is often not what a process gets.

In a container with a limit on CPU time, torch starts a thread for each processor of the machine, and they wait for each
other; where processors are hyper-threads, half as many threads may be faster.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import torch

_LEAST_GAIN = 1.1
_ROUNDS = 5
_QUOTA = Path("/sys/fs/cgroup/cpu.max")


def candidates(default: int, allowed: int, quota: float | None, replicas: int) -> list[int]:
    """Return the numbers of threads worth trying, torch's own first.

    Args:
        default: What torch chose.
        allowed: Processors that this process may run on.
        quota: Processors' worth of time that it may use, if there is a limit.
        replicas: Processes like this one that compute at the same time and share them.
    """
    most = min(allowed, max(1, round(quota)) if quota else allowed)
    share = max(1, most // replicas)
    first = min(default, share) if replicas > 1 else default
    return list(dict.fromkeys([first, share, max(1, share // 2)]))


def fastest(numbers: Sequence[int], measure: Callable[[int], float]) -> int:
    """Return the number of threads with the shortest time; the first one unless another is clearly faster."""
    if len(numbers) == 1:
        return numbers[0]
    times = {number: measure(number) for number in numbers}
    best = min(numbers, key=lambda number: times[number])
    return best if times[best] * _LEAST_GAIN < times[numbers[0]] else numbers[0]


def set_threads(replicas: int, recall: Callable[[Callable[[], int]], int] = lambda find: find()) -> int:
    """Let torch compute with as many threads as are fastest here, and return their number. ``recall`` is called with what finds it
    out, and may know it.
    """
    numbers = candidates(torch.get_num_threads(), *processors(), replicas)
    chosen = recall(lambda: fastest(numbers, _seconds))
    torch.set_num_threads(chosen)
    return chosen


def processors() -> tuple[int, float | None]:
    """Return how many processors this process may run on, and the limit of its control group in processors, if there is one."""
    return _allowed(), _quota()


def _seconds(threads: int) -> float:
    """Return the time of the products of one step: a batch of rows through layers of a middling model."""
    torch.set_num_threads(threads)
    values, weights = torch.randn(64, 768), [torch.randn(768, 768) for _ in range(8)]
    times = []
    for _ in range(_ROUNDS):
        started = time.perf_counter()
        for weight in weights:
            values = (values @ weight).clamp(-1, 1)
        times.append(time.perf_counter() - started)
    return min(times)


def _allowed() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _quota() -> float | None:
    """Return the limit of the control group, in processors; `None` where there is none."""
    try:
        limit, period = _QUOTA.read_text(encoding="ascii").split()
        return None if limit == "max" else int(limit) / int(period)
    except (OSError, ValueError):
        return None


# -- How long ways to compute the same take, where the faster one is chosen when a model is loaded.

_TIMING_ROUNDS = 5
_TOO_LONG = 0.2
"""Seconds after which a run is not repeated, the first one apart: what has no kernel on this processor takes that long."""


def least_seconds(compute: Callable[[], object]) -> float:
    """Return the shortest time of some runs: the first one may compile, and others meet a busy moment of the machine."""
    times: list[float] = []
    while len(times) < _TIMING_ROUNDS and (len(times) < 2 or times[-1] <= _TOO_LONG):
        started = time.perf_counter()
        compute()
        times.append(time.perf_counter() - started)
    return min(times)
