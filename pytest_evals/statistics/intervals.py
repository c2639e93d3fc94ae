"""Intervals for a mean and for a share of independent values. Two-sided, at ``level``."""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from typing import NamedTuple

from pytest_evals.statistics.distributions import beta_quantile, binomial_cdf, normal_quantile, t_quantile

LEVEL = 0.95


class Interval(NamedTuple):
    """A confidence interval."""

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
    """Return Wilson's score interval for a share (Wilson 1927); `None` without cases.

    It is never empty and stays within 0 to 1. Both numbers may be fractions, such as an effective sample size.
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


# -- An interval for the mean of values that lie between known bounds: it never leaves them, and is never empty.
#
# Half a case is added at either bound, and cases are weighed at random (Rubin's Bayesian bootstrap, 1981, with the Dirichlet
# process of Ferguson, 1973, as its prior); the mean's distribution is taken as the beta distribution with the same mean and
# variance. Of zeros and ones that is exactly Jeffreys' interval for a share; of differences between zeros and ones it is
# close to Agresti and Min's (2005). The two halves stand for what was not seen yet: t knows nothing of a value that is
# far from all others and has not come up, as a zero among F1 scores that are all above 0.8.

Bounds = tuple[float, float]
"""The lowest and the highest value that there can be."""
_PRIOR = 0.5
"""The weight at either bound, in cases (or clusters)."""
_HAIR = 1e-6
"""What rounding may put outside of the bounds, as a share of their distance: a cosine in float32 reaches 1.0000001."""


def check_bounds(bounds: object) -> Bounds:
    """Return bounds. Raises `ValueError` unless they are two finite numbers, the lower one first."""
    ends = list(bounds) if isinstance(bounds, (tuple, list)) else []
    if len(ends) != 2 or not all(map(_is_number, ends)) or not ends[0] < ends[1]:
        raise ValueError(
            f"bounds are the lowest and the highest value that there can be, as (0, 1); not {bounds!r:.60}"
        )
    return float(ends[0]), float(ends[1])


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) <= LARGEST


def within(value: float, bounds: Bounds) -> bool:
    """Tell whether a value keeps within its bounds, but for rounding."""
    hair = _HAIR * (bounds[1] - bounds[0])
    return bounds[0] - hair <= value <= bounds[1] + hair


def bounded_interval(
    values: Sequence[float],
    bounds: Bounds = (0.0, 1.0),
    clusters: Sequence[Hashable] | None = None,
    level: float = LEVEL,
) -> Interval | None:
    """Return the interval for the mean of ``values`` within ``bounds``; `None` without values.

    It adds half a case at each bound and weighs cases at random (Rubin's Bayesian bootstrap, 1981). With ``clusters`` whole clusters are
    weighed. Values that rounding put outside the bounds count as the bound.
    """
    if not values:
        return None
    low, high = bounds
    shares = [min(max((value - low) / (high - low), 0.0), 1.0) for value in values]
    share, variance = _moments(_units(shares, clusters))
    weight = share * (1 - share) / variance - 1
    tail = (1 - level) / 2
    center = math.fsum(shares) / len(shares)
    # The halves pull towards the middle: at a bound, past the mean that was found.
    first = min(beta_quantile(tail, share * weight, (1 - share) * weight), center)
    last = max(beta_quantile(1 - tail, share * weight, (1 - share) * weight), center)
    return Interval(low + first * (high - low), high if last == 1 else low + last * (high - low))


def _units(shares: Sequence[float], clusters: Sequence[Hashable] | None) -> list[tuple[float, float]]:
    """Return size and sum of each cluster, sizes relative to the average."""
    if clusters is None:
        return [(1.0, share) for share in shares]
    members: dict[Hashable, list[float]] = {}
    for label, share in zip(clusters, shares, strict=True):
        members.setdefault(label, []).append(share)
    average = len(shares) / len(members)
    return [(len(each) / average, math.fsum(each) / average) for each in members.values()]


def _moments(units: Sequence[tuple[float, float]]) -> tuple[float, float]:
    """Return mean and variance of the mean with units weighed at random, and half a unit at 0 and at 1.

    Exact where all units are of the same size, else to first order, as for any ratio.
    """
    whole = len(units) + 2 * _PRIOR
    share = (math.fsum(total for _, total in units) + _PRIOR) / whole
    squares = math.fsum((total - size * share) ** 2 for size, total in units)
    squares += _PRIOR * (share**2 + (1 - share) ** 2)
    return share, squares / whole / (whole + 1)


# -- Quantiles, with intervals that assume nothing about the distribution.


def quantile(values: Sequence[float], p: float) -> float | None:
    """Return the ``p`` quantile, linear between order statistics (type 7, numpy's default); `None` without values."""
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
    """Return two of the values between which the quantile lies with at least the confidence ``level``.

    The number of values below the quantile is binomial (order statistics; Conover 1999, section 3.2). `None` if there are too few values: at
    95 %, a median needs six, the 95th percentile 72.
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


# -- Mean, median and standard error of independent values. Sums are exact (`math.fsum`).

LARGEST = 1e100
"""The largest value, either way: sums of squares of larger ones overflow."""


def mean(values: Sequence[float]) -> float | None:
    """Return the arithmetic mean, `None` without values."""
    return math.fsum(values) / len(values) if values else None


def median(values: Sequence[float]) -> float | None:
    """Return the middle value (of an even number, the mean of both middle ones), `None` without values."""
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
