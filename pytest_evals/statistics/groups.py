"""Two groups of different cases: whether one is lower than the other."""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence

from pytest_evals.statistics.clusters import estimate_mean
from pytest_evals.statistics.distributions import t_tail

_EXACT_UP_TO = 2000
"""With more cases the t test is as good, and the terms of Fisher's sum get long."""
Labels = Sequence[Hashable] | None


def lower_tail(group: Sequence[float], rest: Sequence[float], clusters: Labels = None, others: Labels = None) -> float:
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
        # No scatter in either: as if their units had been drawn from one urn.
        return 1.0 if difference <= 0 else 1 / math.comb(here.units + there.units, here.units)
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
