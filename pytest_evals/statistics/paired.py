"""The same cases before and after a change: what the change did to each.

Differences are taken case by case, so that how hard a case is cancels out; that is what makes small changes visible.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Literal

from pytest_evals.statistics.bootstrap import RESAMPLES, bootstrap_interval
from pytest_evals.statistics.bounded import Bounds, bounded_interval
from pytest_evals.statistics.clusters import estimate_mean
from pytest_evals.statistics.distributions import binomial_cdf, t_tail
from pytest_evals.statistics.intervals import LEVEL, Interval


@dataclass(frozen=True, slots=True)
class Difference:
    """The mean of after minus before."""

    n: int
    mean: float
    stderr: float | None
    interval: Interval | None
    """Of the mean, over clusters where there are some: `bounded_interval` where values have bounds, else Student's, which is
    `None` below two units and where all differ by the same.
    """
    better: int
    """Cases that rose."""
    worse: int
    """Cases that fell."""
    p: float
    """Two-sided: of McNemar's exact test where values are 0 and 1 and independent, else of the t test."""


def paired_difference(
    before: Sequence[float],
    after: Sequence[float],
    clusters: Sequence[Hashable] | None = None,
    level: float = LEVEL,
    bounds: Bounds | None = None,
) -> Difference | None:
    """Compare the same cases; `None` of nothing. ``bounds`` are those of the values; zeros and ones have theirs."""
    differences = [now - was for was, now in zip(before, after, strict=True)]
    estimate = estimate_mean(differences, clusters)
    if estimate is None:
        return None
    better, worse = sum(each > 0 for each in differences), sum(each < 0 for each in differences)
    if is_binary(before, after, clusters):
        p = mcnemar(better, worse)
    else:
        p = min(2 * min(mean_tail(differences, clusters, side) for side in ("below", "above")), 1.0)
    if bounds is None and {*before, *after} <= {0, 1}:
        bounds = (0.0, 1.0)
    if bounds is None:
        interval = estimate.interval(level)
    else:
        most = bounds[1] - bounds[0]
        interval = bounded_interval(differences, (-most, most), clusters, level)
    return Difference(len(differences), estimate.mean, estimate.stderr, interval, better, worse, p)


def is_binary(before: Sequence[float], after: Sequence[float], clusters: Sequence[Hashable] | None) -> bool:
    """Tell whether McNemar's test may be used: independent cases, each right or wrong."""
    return (clusters is None or len(set(clusters)) == len(clusters)) and {*before, *after} <= {0, 1}


def mcnemar(better: int, worse: int) -> float:
    """Return the two-sided p of McNemar's exact test: whether as many cases rose as fell."""
    return min(2 * binomial_cdf(min(better, worse), better + worse, 0.5), 1.0)


def mcnemar_tail(better: int, worse: int) -> float:
    """Return the one-sided p: how likely at least ``worse`` of those that changed fall where either is equally likely."""
    return binomial_cdf(better, better + worse, 0.5)


def mean_tail(
    differences: Sequence[float], clusters: Sequence[Hashable] | None = None, side: Literal["below", "above"] = "below"
) -> float:
    """Return the one-sided p of the t test that the true mean is 0 rather than on ``side`` of it.

    Below two units nothing is shown, and p is 1. Where all differ from 0 by the same there is no error to measure, and
    it is the sign test's.
    """
    estimate = estimate_mean(differences, clusters)
    if estimate is None or estimate.stderr is None:
        return 1.0
    distance = -estimate.mean if side == "below" else estimate.mean
    if estimate.stderr <= 1e-12 * abs(estimate.mean) or estimate.stderr == 0:
        return 1.0 if distance <= 0 else 0.5**estimate.units
    tail = t_tail(abs(distance) / estimate.stderr, estimate.df)
    return tail if distance > 0 else 1 - tail


def bootstrap_difference(
    before: Sequence[float],
    after: Sequence[float],
    clusters: Sequence[Hashable] | None = None,
    *,
    level: float = LEVEL,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Interval | None:
    """Return the BCa interval of the mean difference, resampling cases (or clusters); `None` below two."""
    differences = [now - was for was, now in zip(before, after, strict=True)]
    return bootstrap_interval(differences, level=level, resamples=resamples, seed=seed, clusters=clusters)
