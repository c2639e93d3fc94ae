"""A mean of a judge's grades corrected by people's labels of a part of the cases: prediction-powered inference (PPI++)."""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from statistics import NormalDist

from pytest_evals.statistics.intervals import LEVEL, Bounds, Interval

FEW_LABELS = 30
"""Below this many labels the interval, which rests on the central limit theorem, is too narrow."""


@dataclass(frozen=True, slots=True)
class CorrectedMean:
    """The mean of people's labels over all cases. They labelled ``labelled``; only a judge graded the ``others``.

    ``power`` is how far the judge is relied on: 0 is the mean of the labels alone, 1 is all of the judge's grades.
    """

    mean: float
    interval: Interval
    labelled: int
    others: int
    power: float


@dataclass(frozen=True, slots=True)
class Labels:
    """What people said of cases (``labels``), what the judge said of the same ones (``judged``), and of all ``others``.

    ``clusters`` and ``other_clusters`` say which of them belong together; without them each stands for itself.
    """

    labels: Sequence[float]
    judged: Sequence[float]
    others: Sequence[float]
    clusters: Sequence[Hashable] | None = None
    other_clusters: Sequence[Hashable] | None = None


def corrected_mean(found: Labels, level: float = LEVEL, bounds: Bounds | None = None) -> CorrectedMean | None:
    """Return the prediction-powered mean with power tuning, and its interval; `None` below two labels, and without other cases.

    With n labels y, grades f of the same cases and grades g of N others, the mean is ``mean(y - p f) + p mean(g)``, its
    variance ``var(y - p f) / n + p^2 var(g) / N``, and the power ``p = cov(y, f) / ((1 + n / N) var(f and g))``, kept from 0
    to 1. The interval is the normal one. Angelopoulos, Duchi and Zrnic, PPI++: Efficient Prediction-Powered Inference,
    arXiv:2311.01453 (2023), section 6 and example 6.1; the numbers are those of their package ppi-python. Where cases
    belong together, the deviations of a cluster are summed before they are squared, times G / (G - 1) of G clusters.

    ``bounds`` are what a grade can be: mean and interval are kept within them.
    """
    labels, judged, others = found.labels, found.judged, found.others
    n, more = len(labels), len(others)
    if n < 2 or not more:
        return None
    power = _power(labels, judged, others)
    rectified = [label - power * value for label, value in zip(labels, judged, strict=True)]
    imputed = [power * value for value in others]
    offset, center = math.fsum(rectified) / n, math.fsum(imputed) / more
    parts = [*((value - offset) / n for value in rectified), *((value - center) / more for value in imputed)]
    half = NormalDist().inv_cdf((1 + level) / 2) * math.sqrt(_variance(parts, found))
    mean = offset + center
    low, high = bounds or (-math.inf, math.inf)
    low, high = (low, high) if math.isfinite(high) else (low, math.inf)

    def kept(value: float) -> float:
        return min(max(value, low), high)

    return CorrectedMean(kept(mean), Interval(kept(mean - half), kept(mean + half)), n, more, power)


def _power(labels: Sequence[float], judged: Sequence[float], others: Sequence[float]) -> float:
    n, more = len(labels), len(others)
    label_mean, judged_mean = math.fsum(labels) / n, math.fsum(judged) / n
    covariance = math.fsum((y - label_mean) * (f - judged_mean) for y, f in zip(labels, judged, strict=True)) / n
    every = [*judged, *others]
    center = math.fsum(every) / len(every)
    variance = math.fsum((value - center) ** 2 for value in every) / (len(every) - 1)
    if variance <= 0:
        # A judge that says the same of everything tells nothing.
        return 0.0
    return min(max(covariance / ((1 + n / more) * variance), 0.0), 1.0)


def _variance(parts: Sequence[float], found: Labels) -> float:
    """Return the variance of the sum of ``parts``, the deviations of all cases, labelled ones first."""
    if found.clusters is None or found.other_clusters is None:
        return math.fsum(part * part for part in parts)
    sums: dict[Hashable, float] = {}
    for cluster, part in zip((*found.clusters, *found.other_clusters), parts, strict=True):
        sums[cluster] = sums.get(cluster, 0.0) + part
    if len(sums) < 2:
        return math.inf
    return math.fsum(part * part for part in sums.values()) * len(sums) / (len(sums) - 1)
