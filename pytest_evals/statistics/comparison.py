"""The same cases before and after a change: what the change did to each.

Differences are taken case by case, so that how hard a case is cancels out; that is what makes small changes visible.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Literal

from pytest_evals.statistics.bootstrap import RESAMPLES, bootstrap_interval
from pytest_evals.statistics.distributions import binomial_cdf, normal_quantile, t_quantile, t_tail
from pytest_evals.statistics.intervals import LEVEL, Bounds, Interval, bounded_interval
from pytest_evals.statistics.means import estimate_mean


@dataclass(frozen=True, slots=True)
class Difference:
    """The mean difference, after minus before, over the same cases.

    Attributes:
        n: The number of cases.
        mean: The mean difference.
        stderr: Its standard error; `None` below two units.
        interval: Its interval, over clusters if there are any: `bounded_interval` for values with bounds, else Student's. `None` below two
            units, and for Student's if all cases differ by the same.
        better: Cases that rose.
        worse: Cases that fell.
        p: Two-sided p: McNemar's exact test for independent values of 0 and 1, else the t test.
    """

    n: int
    mean: float
    stderr: float | None
    interval: Interval | None
    better: int
    worse: int
    p: float


def paired_difference(
    before: Sequence[float],
    after: Sequence[float],
    clusters: Sequence[Hashable] | None = None,
    level: float = LEVEL,
    bounds: Bounds | None = None,
) -> Difference | None:
    """Compare two runs of the same cases.

    Args:
        before: The values of the first run.
        after: The values of the second run, in the same order.
        clusters: What each case belongs to; by default cases are independent.
        level: The confidence level of the interval.
        bounds: The lowest and highest possible value. Zeros and ones have theirs.

    Returns:
        The difference; `None` without cases.
    """
    differences = [now - was for was, now in zip(before, after, strict=True)]
    estimate = estimate_mean(differences, clusters)
    if estimate is None:
        return None
    better, worse = sum(each > 0 for each in differences), sum(each < 0 for each in differences)
    p = paired_p(before, after, clusters)
    if bounds is None and {*before, *after} <= {0, 1}:
        bounds = (0.0, 1.0)
    if bounds is None:
        interval = estimate.interval(level)
    else:
        most = bounds[1] - bounds[0]
        interval = bounded_interval(differences, (-most, most), clusters, level)
    return Difference(len(differences), estimate.mean, estimate.stderr, interval, better, worse, p)


def paired_p(before: Sequence[float], after: Sequence[float], clusters: Sequence[Hashable] | None = None) -> float:
    """Return the two-sided p that the means do not differ: McNemar's exact test for independent values of 0 and 1, else the t test."""
    differences = [now - was for was, now in zip(before, after, strict=True)]
    if is_binary(before, after, clusters):
        return mcnemar(sum(each > 0 for each in differences), sum(each < 0 for each in differences))
    return min(2 * min(mean_tail(differences, clusters, side) for side in ("below", "above")), 1.0)


def is_binary(before: Sequence[float], after: Sequence[float], clusters: Sequence[Hashable] | None) -> bool:
    """Tell whether McNemar's test may be used: independent cases, each right or wrong."""
    return (clusters is None or len(set(clusters)) == len(clusters)) and {*before, *after} <= {0, 1}


def mcnemar(better: int, worse: int) -> float:
    """Return the two-sided p of McNemar's exact test that equally many cases rise and fall."""
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
    """Return the BCa interval of the mean difference, by resampling cases or clusters; `None` below two."""
    differences = [now - was for was, now in zip(before, after, strict=True)]
    return bootstrap_interval(differences, level=level, resamples=resamples, seed=seed, clusters=clusters)


# -- Two groups of different cases: whether one is lower than the other.

_EXACT_UP_TO = 2000
"""With more cases the t test is as good, and the terms of Fisher's sum get long."""
GroupLabels = Sequence[Hashable] | None


def lower_tail(
    group: Sequence[float], rest: Sequence[float], clusters: GroupLabels = None, others: GroupLabels = None
) -> float:
    """Return the one-sided p that ``group`` is as high as ``rest`` rather than lower.

    Fisher's exact test for independent zeros and ones, else Welch's t test (over the clusters of either); 1 where one of
    them is too small to tell.
    """
    independent = clusters is None and others is None
    if independent and {*group, *rest} <= {0, 1} and len(group) + len(rest) <= _EXACT_UP_TO:
        return fisher_tail(round(sum(group)), len(group), round(sum(rest)), len(rest))
    here, there = estimate_mean(group, clusters), estimate_mean(rest, others)
    if here is None or there is None or here.stderr is None or there.stderr is None:
        return 1.0
    difference = there.mean - here.mean
    variance = here.stderr**2 + there.stderr**2
    if math.sqrt(variance) <= 1e-12 * max(abs(here.mean), abs(there.mean)):
        # No scatter in either: as if their units came from one urn. What rounding makes of equal means is not a difference.
        return (
            1.0
            if difference <= 1e-9 * max(abs(here.mean), abs(there.mean))
            else 1 / math.comb(here.units + there.units, here.units)
        )
    freedom = variance**2 / (here.stderr**4 / here.df + there.stderr**4 / there.df)
    tail = t_tail(abs(difference) / math.sqrt(variance), freedom)
    return tail if difference > 0 else 1 - tail


def fisher_tail(passed: int, n: int, others_passed: int, others: int) -> float:
    """Return how likely at most ``passed`` of ``n`` pass, given how many of all do (hypergeometric)."""
    whole, total = n + others, passed + others_passed
    if not n or not others:
        return 1.0
    least = max(0, n - (whole - total))
    ways = sum(math.comb(total, k) * math.comb(whole - total, n - k) for k in range(least, passed + 1))
    return ways / math.comb(whole, n)


# -- Several tests at once.


def holm(probabilities: Sequence[float]) -> list[float]:
    """Return p values adjusted for their number (Holm 1979), in the given order.

    Rejecting those of at most alpha makes the probability of any error at most alpha, whatever their dependence.
    """
    n, largest = len(probabilities), 0.0
    adjusted = [0.0] * n
    for rank, index in enumerate(sorted(range(n), key=lambda index: probabilities[index])):
        largest = max(largest, min((n - rank) * probabilities[index], 1.0))
        adjusted[index] = largest
    return adjusted


# -- How many cases it takes to see a difference, and which difference a number of cases can show.

POWER = 0.8


def detectable_effect(deviation: float, n: int, *, alpha: float = 0.05, power: float = POWER, sides: int = 2) -> float:
    """Return the smallest true difference that a t test of ``n`` values with this standard deviation detects; infinite below two values.

    Args:
        deviation: The standard deviation of the values.
        n: The number of values.
        alpha: The level of the test.
        power: The probability of detection.
        sides: 1 for a one-sided test, 2 for a two-sided one.
    """
    if n < 2:
        return math.inf
    return (t_quantile(1 - alpha / sides, n - 1) + t_quantile(power, n - 1)) * deviation / math.sqrt(n)


def required_size(
    deviation: float, effect: float, *, alpha: float = 0.05, power: float = POWER, sides: int = 2
) -> int | None:
    """Return the number of values that a t test needs to detect a true difference of ``effect``; `None` if ``effect`` is 0.

    Args:
        deviation: The standard deviation of the values.
        effect: The true difference.
        alpha: The level of the test.
        power: The probability of detection.
        sides: 1 for a one-sided test, 2 for a two-sided one.
    """
    effect = abs(effect)
    if effect == 0 or not math.isfinite(deviation / effect):
        return None
    # At least what the normal distribution asks for, and few more for t.
    n = max(math.ceil(((normal_quantile(1 - alpha / sides) + normal_quantile(power)) * deviation / effect) ** 2), 2)
    if n > 10_000:
        return n
    while detectable_effect(deviation, n, alpha=alpha, power=power, sides=sides) > effect:
        n += 1
    return n
