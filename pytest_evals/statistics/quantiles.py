"""Quantiles, with intervals that assume nothing about the distribution."""

from __future__ import annotations

import math
from collections.abc import Sequence

from pytest_evals.statistics.distributions import binomial_cdf
from pytest_evals.statistics.intervals import LEVEL, Interval


def quantile(values: Sequence[float], p: float) -> float | None:
    """Return the ``p`` quantile, linear between order statistics (type 7, numpy's default); `None` of nothing."""
    if not values:
        return None
    ordered = sorted(values)
    place = (len(ordered) - 1) * p
    below = math.floor(place)
    if below + 1 >= len(ordered):
        return ordered[-1]
    low, high = ordered[below], ordered[below + 1]
    return low + (place - below) * (high - low) if low != high else low


def quantile_interval(values: Sequence[float], p: float, level: float = LEVEL) -> Interval | None:
    """Return two of the values between which the quantile lies with at least the confidence asked for.

    The number of values below the quantile is binomial (order statistics; Conover 1999, section 3.2). `None` where
    there are too few values for both ends: six for a median, 72 for the 95th percentile, at 95 %.
    """
    n, tail = len(values), (1 - level) / 2
    ordered = sorted(values)
    low = _last(n, p, tail)
    high = n - 1 - _last(n, 1 - p, tail)
    return None if low < 0 or high >= n else Interval(ordered[low], ordered[high])


def _last(n: int, p: float, tail: float) -> int:
    """Return the largest index i with P(at most i values below the quantile) <= tail, -1 if there is none."""
    low, high = -1, n
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if binomial_cdf(middle, n, p) <= tail else (low, middle)
    return low
