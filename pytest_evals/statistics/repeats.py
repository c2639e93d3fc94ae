"""Several samples of the same case. A case is the unit: its samples say nothing about cases that were not asked."""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

from pytest_evals.statistics.clusters import Estimate, estimate_mean
from pytest_evals.statistics.summaries import mean


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
    """Return the unbiased estimate that at least one of ``k`` samples passes, from ``n`` (Chen et al. 2021).

    `None` where there are fewer than ``k`` samples.
    """
    return None if n < k else 1 - math.comb(n - passed, k) / math.comb(n, k)


def pass_hat_k(passed: int, n: int, k: int) -> float | None:
    """Return the unbiased estimate that all of ``k`` samples pass (Yao et al. 2024); `None` below ``k`` samples."""
    return None if n < k else math.comb(passed, k) / math.comb(n, k)
