"""Mean, median and standard error of independent values. Sums are exact (`math.fsum`)."""

from __future__ import annotations

import math
from collections.abc import Sequence

LARGEST = 1e100
"""The largest value, either way: sums of squares of larger ones overflow."""


def mean(values: Sequence[float]) -> float | None:
    """Return the arithmetic mean, `None` of nothing."""
    return math.fsum(values) / len(values) if values else None


def median(values: Sequence[float]) -> float | None:
    """Return the middle value (of an even number, the mean of both middle ones), `None` of nothing."""
    if not values:
        return None
    ordered, middle = sorted(values), len(values) // 2
    return ordered[middle] if len(values) % 2 else (ordered[middle - 1] + ordered[middle]) / 2


def standard_error(values: Sequence[float]) -> float | None:
    """Return the standard error of the mean: sample standard deviation (n - 1) over the square root of n; `None` below
    two values.
    """
    n = len(values)
    if n < 2:
        return None
    center = math.fsum(values) / n
    variance = math.fsum((value - center) ** 2 for value in values) / (n - 1)
    return math.sqrt(variance / n)
