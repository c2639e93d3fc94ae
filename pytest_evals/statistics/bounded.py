"""An interval for the mean of values that lie between known bounds: it never leaves them, and is never empty.

Half a case is added at either bound, and cases are weighed at random (Rubin's Bayesian bootstrap, 1981, with the Dirichlet
process of Ferguson, 1973, as its prior); the mean's distribution is taken as the beta distribution with the same mean and
variance. Of zeros and ones that is exactly Jeffreys' interval for a share; of differences between zeros and ones it is
close to Agresti and Min's (2005). The two halves stand for what was not seen yet: t knows nothing of a value that is
far from all others and has not come up, as a zero among F1 scores that are all above 0.8.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence

from pytest_evals.statistics.distributions import beta_quantile
from pytest_evals.statistics.intervals import LEVEL, Interval
from pytest_evals.statistics.summaries import LARGEST

Bounds = tuple[float, float]
"""The lowest and the highest value that there can be."""
_PRIOR = 0.5
"""What stands at either bound, in cases (or clusters)."""
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
    """Return the interval for the mean of ``values``, all of which are within ``bounds``; `None` of nothing.

    With ``clusters`` whole clusters are weighed, and the halves are of clusters of average size. What rounding put a hair
    outside of the bounds counts as the bound.
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
