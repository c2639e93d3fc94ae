"""Krippendorff's alpha: 1 - observed / expected disagreement of labels, for any number of raters, with labels missing.

Klaus Krippendorff, "Computing Krippendorff's Alpha-Reliability" (2011).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, Sequence
from typing import TYPE_CHECKING, Literal

from pytest_evals.statistics.coefficient import Coefficient, percentiles
from pytest_evals.statistics.intervals import LEVEL
from pytest_evals.statistics.recounting import resampled_counts

if TYPE_CHECKING:
    import numpy

Label = Hashable
Measure = Literal["nominal", "ordinal", "interval"]
Shape = tuple[int, ...]
"""The labels of one unit, as the places of their categories, in order: who gave which does not matter."""
RESAMPLES = 1000


def krippendorff_alpha(
    units: Sequence[Sequence[Label | None]],
    categories: Sequence[Label],
    measure: Measure = "nominal",
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
    shapes: Sequence[Shape], categories: Sequence[Label], measure: Measure
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


def _of_numbers(shapes: Sequence[Shape], values: Sequence[float]) -> Callable[[numpy.ndarray], numpy.ndarray]:
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
