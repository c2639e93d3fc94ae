"""Intervals for a mean and for a share of independent values. Two-sided, at ``level``."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from pytest_evals.statistics.distributions import normal_quantile, t_quantile
from pytest_evals.statistics.summaries import mean, standard_error

LEVEL = 0.95


class Interval(NamedTuple):
    """Where a number lies with the confidence asked for."""

    low: float
    high: float


def t_interval(values: Sequence[float], level: float = LEVEL) -> Interval | None:
    """Return Student's interval for the mean; `None` below two values."""
    center, error = mean(values), standard_error(values)
    if center is None or error is None:
        return None
    return around(center, error, len(values) - 1, level)


def around(center: float, error: float, df: float, level: float = LEVEL) -> Interval:
    """Return ``center`` plus and minus a quantile of t (``df`` may be infinite) times the standard error."""
    reach = t_quantile((1 + level) / 2, df) * error if error else 0.0
    return Interval(center - reach, center + reach)


def wilson_interval(passed: float, n: float, level: float = LEVEL) -> Interval | None:
    """Return Wilson's score interval for a share (Wilson 1927); `None` of nothing.

    Never empty and never outside of 0 to 1, also where all or none passed. Both numbers may be fractions: an effective
    sample size is one.
    """
    if n <= 0:
        return None
    z = normal_quantile((1 + level) / 2)
    share = passed / n
    scale = 1 + z * z / n
    center = (share + z * z / (2 * n)) / scale
    reach = z / scale * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    # Exact at the ends, where rounding would leave 1e-17.
    return Interval(0.0 if share <= 0 else max(center - reach, 0.0), 1.0 if share >= 1 else min(center + reach, 1.0))
