"""How far two who label the same cases agree: raw agreement, a confusion table, Cohen's kappa.

Labels are of any kind that can be a key. Where their order counts, ``categories`` gives it. For more than two see `alpha`.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import TYPE_CHECKING, Any, Literal

from pytest_evals.statistics.bootstrap import resampled_counts
from pytest_evals.statistics.intervals import LEVEL

if TYPE_CHECKING:
    import numpy

Label = Hashable
Weights = Literal["none", "linear", "quadratic"]
RESAMPLES = 1000


def agreement(pairs: Sequence[tuple[Label, Label]]) -> float | None:
    """Return the share of cases with the same label, `None` without cases."""
    return sum(one == other for one, other in pairs) / len(pairs) if pairs else None


def confusion(pairs: Sequence[tuple[Label, Label]], categories: Sequence[Label]) -> list[list[int]]:
    """Return how often each label of the first met each of the second: a row for each of the first's."""
    counts = Counter(pairs)
    return [[counts[row, column] for column in categories] for row in categories]


def cohen_kappa(
    pairs: Sequence[tuple[Label, Label]],
    categories: Sequence[Label],
    weights: Weights = "none",
    level: float = LEVEL,
    clusters: Sequence[Hashable] | None = None,
) -> Coefficient:
    """Return Cohen's kappa, weighted by the distance of the categories if asked for.

    Its interval is the large-sample one of Fleiss, Cohen and Everitt, Psychological Bulletin 72 (1969); with ``clusters`` of
    pairs that belong together, that of a bootstrap over these. Kappa is not defined where chance alone would always agree:
    both only ever used one and the same label.
    """
    n, k = len(pairs), len(categories)
    if not n:
        return Coefficient(None)
    table = [[count / n for count in row] for row in confusion(pairs, categories)]
    rows = [math.fsum(row) for row in table]
    columns = [math.fsum(column) for column in zip(*table, strict=True)]
    weight = [[_agreement_weight(i, j, k, weights) for j in range(k)] for i in range(k)]
    cells = [(i, j) for i in range(k) for j in range(k)]
    observed = math.fsum(weight[i][j] * table[i][j] for i, j in cells)
    expected = math.fsum(weight[i][j] * rows[i] * columns[j] for i, j in cells)
    if 1 - expected < 1e-12:
        return Coefficient(None)
    kappa = (observed - expected) / (1 - expected)
    if clusters is not None:
        return Coefficient(kappa, _resampled(pairs, categories, weight, level, clusters))
    row_weight = [math.fsum(weight[i][j] * columns[j] for j in range(k)) for i in range(k)]
    column_weight = [math.fsum(weight[i][j] * rows[i] for i in range(k)) for j in range(k)]
    spread = math.fsum(
        table[i][j] * (weight[i][j] - (row_weight[i] + column_weight[j]) * (1 - kappa)) ** 2 for i, j in cells
    )
    variance = (spread - (kappa - expected * (1 - kappa)) ** 2) / (n * (1 - expected) ** 2)
    half = NormalDist().inv_cdf((1 + level) / 2) * math.sqrt(max(0.0, variance))
    return Coefficient(kappa, ends(max(-1.0, kappa - half), min(1.0, kappa + half)))


def _agreement_weight(i: int, j: int, k: int, weights: Weights) -> float:
    if i == j or k < 2:
        return 1.0
    distance = abs(i - j) / (k - 1)
    return {"none": 0.0, "linear": 1 - distance, "quadratic": 1 - distance**2}[weights]


def _resampled(
    pairs: Sequence[tuple[Label, Label]],
    categories: Sequence[Label],
    weight: Sequence[Sequence[float]],
    level: float,
    clusters: Sequence[Hashable],
) -> tuple[float, float] | None:
    """Return the interval of a bootstrap over clusters; `None` below two."""
    import numpy

    if len(set(clusters)) < 2:
        return None
    place = {category: index for index, category in enumerate(categories)}
    k = len(categories)
    kinds = [place[one] * k + place[other] for one, other in pairs]
    compute = _kappas(numpy.array(weight), k)
    parts = resampled_counts(kinds, clusters, resamples=RESAMPLES, seed=0)
    return percentiles(numpy.concatenate([compute(part) for part in parts]), level)


def _kappas(weight: numpy.ndarray, k: int) -> Callable[[numpy.ndarray], numpy.ndarray]:
    """Return what computes kappa, one a row, from how often each cell of the table occurs."""
    import numpy

    def compute(counts: numpy.ndarray) -> numpy.ndarray:
        cells = numpy.zeros((len(counts), k * k))
        cells[:, : counts.shape[1]] = counts
        table = cells.reshape(-1, k, k) / counts.sum(axis=1)[:, None, None]
        observed = (table * weight).sum(axis=(1, 2))
        expected = numpy.einsum("ri,ij,rj->r", table.sum(axis=2), weight, table.sum(axis=1))
        with numpy.errstate(divide="ignore", invalid="ignore"):
            return numpy.where(1 - expected > 1e-12, (observed - expected) / (1 - expected), numpy.nan)

    return compute


# -- Krippendorff's alpha: 1 - observed / expected disagreement of labels, for any number of raters, with labels missing.
#
# Klaus Krippendorff, "Computing Krippendorff's Alpha-Reliability" (2011).

AlphaMetric = Literal["nominal", "ordinal", "interval"]
ArrayShape = tuple[int, ...]
"""The labels of one unit, as the places of their categories, in order: who gave which does not matter."""


def krippendorff_alpha(
    units: Sequence[Sequence[Label | None]],
    categories: Sequence[Label],
    measure: AlphaMetric = "nominal",
    level: float = LEVEL,
    seed: int = 0,
    clusters: Sequence[Hashable] | None = None,
) -> Coefficient:
    """Return Krippendorff's alpha; a unit is one case with a label of each rater, `None` where one gave none.

    ``interval`` takes numeric categories. The confidence interval is that of a bootstrap over the units (over whole
    ``clusters`` of them; percentiles of 1000 resamples), the same for the same ``seed``. Alpha is not defined where all
    labels are the same.
    """
    numbers = {category: index for index, category in enumerate(categories)}
    coded = [tuple(sorted(numbers[label] for label in unit if label is not None)) for unit in units]
    chosen = [
        index for index, shape in enumerate(coded) if len(shape) > 1
    ]  # a label alone can be compared with nothing
    if not chosen:
        return Coefficient(None)
    counts = Counter(coded[index] for index in chosen)
    compute = _statistic(list(counts), categories, measure)
    import numpy

    (value,) = compute(numpy.array([list(counts.values())], dtype=float)).tolist()
    if value != value:  # noqa: PLR0124 - not a number: not defined
        return Coefficient(None)
    labels = None if clusters is None else [clusters[index] for index in chosen]
    if len(chosen if labels is None else set(labels)) < 2:
        return Coefficient(value)
    places = {shape: place for place, shape in enumerate(counts)}
    kinds = [places[coded[index]] for index in chosen]
    found = [compute(part) for part in resampled_counts(kinds, labels, resamples=RESAMPLES, seed=seed)]
    return Coefficient(value, percentiles(numpy.concatenate(found), level))


def _statistic(
    shapes: Sequence[ArrayShape], categories: Sequence[Label], measure: AlphaMetric
) -> Callable[[numpy.ndarray], numpy.ndarray]:
    """Return what computes alpha, one a row, from how often each shape occurs; not a number where it is not defined."""
    import numpy

    if measure == "interval":
        return _of_numbers(shapes, [float(category) for category in categories])  # type: ignore[arg-type]  # numeric, as documented
    sizes = numpy.array([len(shape) for shape in shapes], dtype=float)
    members = numpy.zeros((len(shapes), len(categories)))
    for row, shape in enumerate(shapes):
        for label in shape:
            members[row, label] += 1

    def nominal(counts: numpy.ndarray) -> numpy.ndarray:
        totals = counts @ members
        observed = counts @ ((sizes**2 - (members**2).sum(axis=1)) / (sizes - 1))
        n = totals.sum(axis=1)
        return _alpha(observed, n**2 - (totals**2).sum(axis=1), n)

    def ordinal(counts: numpy.ndarray) -> numpy.ndarray:
        totals = counts @ members
        n = totals.sum(axis=1)
        # The distance of two categories is that of their mean ranks, which follow from how often labels were given.
        ranks = numpy.cumsum(totals, axis=1) - totals / 2 - n[:, None] / 2
        within = 2 * (sizes * (ranks**2 @ members.T) - (ranks @ members.T) ** 2) / (sizes - 1)
        expected = 2 * (n * (totals * ranks**2).sum(axis=1) - (totals * ranks).sum(axis=1) ** 2)
        several = (totals > 0).sum(axis=1) > 1
        return _alpha((counts * within).sum(axis=1), numpy.where(several, expected, 0.0), n)

    return nominal if measure == "nominal" else ordinal


def _of_numbers(shapes: Sequence[ArrayShape], values: Sequence[float]) -> Callable[[numpy.ndarray], numpy.ndarray]:
    import numpy

    center = sum(values) / len(values)
    labels = [[values[label] - center for label in shape] for shape in shapes]
    sizes = numpy.array([len(shape) for shape in shapes], dtype=float)
    sums = numpy.array([sum(each) for each in labels])
    squares = numpy.array([sum(value**2 for value in each) for each in labels])
    within = 2 * (sizes * squares - sums**2) / (sizes - 1)

    def interval(counts: numpy.ndarray) -> numpy.ndarray:
        n, scale = counts @ sizes, counts @ squares
        expected = 2 * (n * scale - (counts @ sums) ** 2)
        # Of equal numbers rounding leaves a little.
        return _alpha(counts @ within, numpy.where(expected > 1e-12 * n * scale, expected, 0.0), n)

    return interval


def _alpha(observed: numpy.ndarray, expected: numpy.ndarray, n: numpy.ndarray) -> numpy.ndarray:
    import numpy

    with numpy.errstate(divide="ignore", invalid="ignore"):
        return numpy.where(expected > 0, 1 - (n - 1) * observed / expected, numpy.nan)


# -- A coefficient of agreement with its confidence interval.


@dataclass(frozen=True, slots=True)
class Coefficient:
    """A coefficient of agreement with its confidence interval; `None` if it is not defined. There is no interval if all answers agree."""

    value: float | None
    interval: tuple[float, float] | None = None

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Coefficient:
        """Return the coefficient of plain data."""
        interval = data["interval"]
        return cls(data["value"], None if interval is None else (interval[0], interval[1]))


def percentiles(found: numpy.ndarray, level: float) -> tuple[float, float] | None:
    """Return the interval that resamples give. Where one is not defined all its labels are equal: it only agrees."""
    import numpy

    known = numpy.where(numpy.isnan(found), 1.0, found)
    low, high = numpy.quantile(known, [(1 - level) / 2, (1 + level) / 2])
    return ends(float(low), float(high))


def ends(low: float, high: float) -> tuple[float, float] | None:
    """Return an interval, `None` for a point (but for rounding)."""
    return None if high - low < 1e-6 else (low, high)
