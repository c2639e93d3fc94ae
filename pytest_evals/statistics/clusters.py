"""Means of values that are not independent: several questions about one document, several samples of one case.

The variance is the sandwich estimator of a regression on a constant: residuals are summed within each cluster before
they are squared (Liang and Zeger 1986). CR1 multiplies by G / (G - 1), CR0 does not; intervals use t with G - 1 degrees
of freedom.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Literal

from pytest_evals.statistics.distributions import t_quantile
from pytest_evals.statistics.intervals import LEVEL, Interval, around, wilson_interval
from pytest_evals.statistics.summaries import mean

Correction = Literal["CR0", "CR1"]
EQUAL = 1e-12
"""A standard error that is smaller than this share of its mean is rounding."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """A mean with its standard error; ``units`` is the number of independent ones behind it (values or clusters)."""

    mean: float
    stderr: float | None
    """`None` below two units."""
    units: int

    @property
    def df(self) -> int:
        """Degrees of freedom."""
        return self.units - 1

    def interval(self, level: float = LEVEL) -> Interval | None:
        """Return the t interval; `None` below two units, and where all are equal (but for rounding): nothing measures the
        error then.
        """
        if self.stderr is None or self.stderr <= EQUAL * abs(self.mean) or not self.stderr:
            return None
        return around(self.mean, self.stderr, self.df, level)


def estimate_mean(
    values: Sequence[float], clusters: Sequence[Hashable] | None = None, correction: Correction = "CR1"
) -> Estimate | None:
    """Return the mean with its error; `None` of nothing. Without ``clusters`` each value is its own."""
    center = mean(values)
    if center is None:
        return None
    sums: dict[Hashable, list[float]] = {}
    for label, value in zip(range(len(values)) if clusters is None else clusters, values, strict=True):
        sums.setdefault(label, []).append(value - center)
    units = len(sums)
    if units < 2:
        return Estimate(center, None, units)
    variance = math.fsum(math.fsum(part) ** 2 for part in sums.values()) / len(values) ** 2
    if correction == "CR1":
        variance *= units / (units - 1)
    return Estimate(center, math.sqrt(variance), units)


def effective_size(estimate: Estimate, n: int, level: float = LEVEL) -> float:
    """Return how many independent values would give a share the same error as these ``n`` that belong together.

    Korn and Graubard (1998): the share's own variance over the one found, less where few clusters measure it. Where all
    or none passed there is nothing to measure it with, and every cluster counts as one value; it is never more than
    ``n``.
    """
    share = estimate.mean
    if estimate.units == n:
        return n
    if estimate.stderr is None or estimate.stderr == 0 or not 0 < share < 1:
        return estimate.units
    size = n * share * (1 - share) / (n - 1) / estimate.stderr**2
    few = t_quantile((1 + level) / 2, n - 1) / t_quantile((1 + level) / 2, estimate.df)
    return min(size * few**2, n)


def wilson_clustered(estimate: Estimate, n: int, level: float = LEVEL) -> Interval | None:
    """Return Wilson's interval at the effective sample size."""
    size = effective_size(estimate, n, level)
    return wilson_interval(estimate.mean * size, size, level)
