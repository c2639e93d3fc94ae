"""Numbers about grades. Pure: no pytest, no torch, no numpy.

A value that is not a finite number never gets this far; every function says what it returns for too few values.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence


def mean(values: Sequence[float]) -> float | None:
    """Return the arithmetic mean, `None` of nothing."""
    return math.fsum(values) / len(values) if values else None


def median(values: Sequence[float]) -> float | None:
    """Return the middle value (of an even number, the mean of both middle ones), `None` of nothing."""
    return statistics.median(values) if values else None


def standard_error(values: Sequence[float]) -> float | None:
    """Return the standard error of the mean: sample standard deviation (n - 1) over the square root of n; `None` below
    two values.
    """
    return statistics.stdev(values) / math.sqrt(len(values)) if len(values) > 1 else None
