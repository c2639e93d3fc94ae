"""How long ways to compute the same take, where the faster one is chosen when a model is loaded."""

from __future__ import annotations

import time
from collections.abc import Callable

_ROUNDS = 5
_TOO_LONG = 0.2
"""Seconds after which a run is not repeated, the first one apart: what has no kernel on this processor takes that long."""


def least_seconds(compute: Callable[[], object]) -> float:
    """Return the shortest time of some runs: the first one may compile, and others meet a busy moment of the machine."""
    times: list[float] = []
    while len(times) < _ROUNDS and (len(times) < 2 or times[-1] <= _TOO_LONG):
        started = time.perf_counter()
        compute()
        times.append(time.perf_counter() - started)
    return min(times)
