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
from pytest_evals.statistics.intervals import LEVEL, Interval, around, mean, wilson_interval

Correction = Literal["CR0", "CR1"]
EQUAL = 1e-12
"""A standard error that is smaller than this share of its mean is rounding."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """A mean with its standard error. ``units`` is the number of independent values or clusters behind it."""

    mean: float
    stderr: float | None
    """`None` below two units."""
    units: int

    @property
    def df(self) -> int:
        """Degrees of freedom."""
        return self.units - 1

    def interval(self, level: float = LEVEL) -> Interval | None:
        """Return the t interval; `None` below two units, and if all values are equal (up to rounding)."""
        if self.stderr is None or self.stderr <= EQUAL * abs(self.mean) or not self.stderr:
            return None
        return around(self.mean, self.stderr, self.df, level)


def estimate_mean(
    values: Sequence[float], clusters: Sequence[Hashable] | None = None, correction: Correction = "CR1"
) -> Estimate | None:
    """Return the mean with its error; `None` without values. Without ``clusters`` each value is its own."""
    center = mean(values)
    if center is None:
        return None
    if clusters is None:
        sums = [value - center for value in values]
    else:
        parts: dict[Hashable, list[float]] = {}
        for label, value in zip(clusters, values, strict=True):
            parts.setdefault(label, []).append(value - center)
        sums = [math.fsum(part) for part in parts.values()]
    units = len(sums)
    if units < 2:
        return Estimate(center, None, units)
    variance = math.fsum(each**2 for each in sums) / len(values) ** 2
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


# -- Several samples of the same case. A case is the unit: its samples say nothing about cases that were not asked.


@dataclass(frozen=True, slots=True)
class Spread:
    """Where the scatter of repeated samples comes from.

    ``within`` is the variance between samples of one case, pooled: what other seeds change. ``between`` is the variance
    of the cases' true means: what other cases change; more samples do not reduce what it adds to the error.
    """

    within: float | None
    """`None` where no case has two samples."""
    between: float | None
    """`None` below two cases, or where ``within`` is not known; never negative."""


def estimate_repeated(cases: Sequence[Sequence[float]], clusters: Sequence[Hashable] | None = None) -> Estimate | None:
    """Return the mean over cases of the mean over samples, with its error; every case counts the same.

    ``clusters`` has one label a case. Cases without any sample are left out.
    """
    labels = range(len(cases)) if clusters is None else clusters
    kept = [(center, label) for case, label in zip(cases, labels, strict=True) if (center := mean(case)) is not None]
    return estimate_mean([center for center, _ in kept], None if clusters is None else [label for _, label in kept])


def spread(cases: Sequence[Sequence[float]]) -> Spread:
    """Take apart the variance within and between cases (one-way analysis of variance, random effects)."""
    centers = [math.fsum(case) / len(case) for case in cases if case]
    freedom = sum(len(case) - 1 for case in cases if case)
    if not freedom:
        return Spread(None, None)
    squares = [math.fsum((value - math.fsum(case) / len(case)) ** 2 for value in case) for case in cases if case]
    within = math.fsum(squares) / freedom
    if len(centers) < 2:
        return Spread(within, None)
    center = math.fsum(centers) / len(centers)
    total = math.fsum((each - center) ** 2 for each in centers) / (len(centers) - 1)
    # The variance of a case's mean holds its share of the variance within.
    share = math.fsum(1 / len(case) for case in cases if case) / len(centers)
    return Spread(within, max(total - within * share, 0.0))


def pass_at_k(passed: int, n: int, k: int) -> float | None:
    """Return the unbiased estimate that at least one of ``k`` samples passes (Chen et al. 2021); `None` below ``k`` samples."""
    return None if n < k else 1 - math.comb(n - passed, k) / math.comb(n, k)


def pass_hat_k(passed: int, n: int, k: int) -> float | None:
    """Return the unbiased estimate that all of ``k`` samples pass (Yao et al. 2024); `None` below ``k`` samples."""
    return None if n < k else math.comb(passed, k) / math.comb(n, k)
