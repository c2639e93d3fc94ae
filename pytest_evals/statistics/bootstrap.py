"""Intervals by resampling, for statistics that have no formula. Reproducible: the seed is part of the call.

Percentile and BCa (Efron 1987), as `scipy.stats.bootstrap` computes them. With ``clusters`` whole clusters are drawn.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Literal

from pytest_evals.statistics.distributions import normal_cdf, normal_quantile
from pytest_evals.statistics.intervals import LEVEL, Interval

if TYPE_CHECKING:
    import numpy

ResampledStatistic = Callable[[Any], float]
"""Takes an array of the rows that were drawn, and returns a number."""
RESAMPLES = 2000


def bootstrap_interval(
    values: Sequence[Any],
    statistic: ResampledStatistic | None = None,
    *,
    level: float = LEVEL,
    method: Literal["percentile", "bca"] = "bca",
    resamples: int = RESAMPLES,
    seed: int = 0,
    clusters: Sequence[Hashable] | None = None,
) -> Interval | None:
    """Return the interval for ``statistic`` (by default the mean) of ``values``. Rows of several numbers are drawn together.

    `None` below two values or clusters. If all values are equal, both ends are that value.
    """
    import numpy

    data = numpy.asarray(values, dtype=float)
    groups = _groups(len(data), clusters)
    if len(groups) < 2:
        return None
    compute: ResampledStatistic = statistic or numpy.mean
    found = numpy.sort([compute(data[rows]) for rows in draws(groups, resamples, seed)])
    tail = (1 - level) / 2
    low, high = (tail, 1 - tail) if method == "percentile" else _corrected(data, groups, compute, found, tail)
    return Interval(*(float(each) for each in numpy.quantile(found, [low, high])))


def draws(groups: Sequence[numpy.ndarray], resamples: int, seed: int) -> Iterator[numpy.ndarray]:
    """Yield the rows of each resample: as many groups as there are, drawn with replacement."""
    import numpy

    rows = numpy.concatenate(groups) if all(len(group) == 1 for group in groups) else None
    for chosen in _chosen(len(groups), resamples, seed):
        yield numpy.concatenate([groups[index] for index in chosen]) if rows is None else rows[chosen]


def _chosen(n: int, resamples: int, seed: int) -> Iterator[numpy.ndarray]:
    """Yield the numbers of each resample: one at a time, since all of them would take 16 bytes times their product."""
    import numpy

    source = numpy.random.default_rng(seed)
    for _ in range(resamples):
        yield source.integers(0, n, n)


def _groups(n: int, clusters: Sequence[Hashable] | None) -> list[numpy.ndarray]:
    import numpy

    if clusters is None:
        return list(numpy.arange(n).reshape(-1, 1))
    members: dict[Hashable, list[int]] = {}
    for index, label in enumerate(clusters):
        members.setdefault(label, []).append(index)
    return [numpy.array(each) for each in members.values()]


def _corrected(
    data: numpy.ndarray, groups: Sequence[numpy.ndarray], compute: ResampledStatistic, found: numpy.ndarray, tail: float
) -> tuple[float, float]:
    """Return BCa's levels: shifted for the bias of the resamples, and for how fast the error changes with the value."""
    import numpy

    observed = compute(data)
    below = (numpy.sum(found < observed) + numpy.sum(found <= observed)) / (2 * len(found))
    left_out = numpy.array([compute(numpy.delete(data, rows, axis=0)) for rows in groups])
    deviations = left_out.mean() - left_out
    scale = numpy.sum(deviations**2)
    if not 0 < below < 1 or scale <= 0:
        return tail, 1 - tail
    acceleration = float(numpy.sum(deviations**3) / (6 * scale**1.5))
    bias = normal_quantile(float(below))

    def shifted(p: float) -> float:
        z = bias + normal_quantile(p)
        return normal_cdf(bias + z / (1 - acceleration * z))

    return shifted(tail), shifted(1 - tail)


def resampled_quantiles(
    runs: Sequence[Sequence[Sequence[float]]],
    p: float,
    clusters: Sequence[Hashable],
    *,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> numpy.ndarray:
    """Return the ``p`` quantile of each run in each resample, one row a resample.

    A run has the values of each case; all runs have the same cases, which are drawn together, whole clusters of them.
    """
    import numpy

    groups = _groups(len(clusters), clusters)
    cluster_of = numpy.empty(len(clusters), dtype=int)
    for number, members in enumerate(groups):
        cluster_of[members] = number
    ordered = []
    for run in runs:
        values = numpy.array([value for case in run for value in case], dtype=float)
        owners = numpy.repeat(cluster_of, [len(case) for case in run])
        order = numpy.argsort(values, kind="stable")
        ordered.append((values[order], owners[order]))
    found = numpy.empty((resamples, len(runs)))
    for row, drawn in enumerate(_chosen(len(groups), resamples, seed)):
        times = numpy.bincount(drawn, minlength=len(groups))
        for column, (values, owners) in enumerate(ordered):
            # Values stay in order when each is repeated, so that no resample is sorted anew.
            sample = numpy.repeat(values, times[owners])
            place = (len(sample) - 1) * p
            low, share = int(place), place - int(place)
            found[row, column] = sample[low] + share * (sample[min(low + 1, len(sample) - 1)] - sample[low])
    return found


def resampled_sums(
    runs: Sequence[Sequence[Sequence[Sequence[float]]]],
    clusters: Sequence[Hashable],
    *,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> list[numpy.ndarray]:
    """Return for each run the sums of its counts in each resample, one row a resample.

    A run has rows of counts for each case; all runs have the same cases, which are drawn together, whole clusters of them.
    """
    import numpy

    groups = _groups(len(clusters), clusters)
    totals = []
    for run in runs:
        cases = numpy.array([numpy.sum(case, axis=0) for case in run], dtype=float)
        totals.append(numpy.stack([cases[members].sum(axis=0) for members in groups]))
    found = [numpy.empty((resamples, total.shape[1])) for total in totals]
    for row, drawn in enumerate(_chosen(len(groups), resamples, seed)):
        times = numpy.bincount(drawn, minlength=len(groups)).astype(float)
        for sums, total in zip(found, totals, strict=True):
            sums[row] = times @ total
    return found


# -- How often each kind of unit occurs in resamples: what a statistic of counts needs of a bootstrap, and all that it costs.
#
# Units of one kind are interchangeable, so that counts are drawn, not units: a suite of many cases takes no longer.

_CELLS = 2_000_000
"""Of a part that is drawn at a time: some tens of megabytes."""


def resampled_counts(
    kinds: Sequence[int], clusters: Sequence[Hashable] | None = None, *, resamples: int, seed: int
) -> Iterator[numpy.ndarray]:
    """Yield how often each kind occurs, one row a resample, in parts of several rows. ``kinds``: that of each unit, a number
    from 0; as many units (whole ``clusters`` of them) are drawn with replacement as there are.
    """
    import numpy

    members: dict[Hashable, Counter[int]] = {}
    for label, kind in zip(range(len(kinds)) if clusters is None else clusters, kinds, strict=True):
        members.setdefault(label, Counter())[kind] += 1
    # Clusters of the same content are interchangeable too.
    bundles = Counter(tuple(sorted(content.items())) for content in members.values())
    entries = [(row, kind, count) for row, bundle in enumerate(bundles) for kind, count in bundle]
    rows, found, counts = (numpy.array(column) for column in zip(*entries, strict=True))
    draw, most = numpy.random.default_rng(seed), max(kinds) + 1
    step = max(1, _CELLS // max(most, len(bundles)))
    for start in range(0, resamples, step):
        times = _draws(draw, list(bundles.values()), min(step, resamples - start))
        yield numpy.stack([numpy.bincount(found, each[rows] * counts, minlength=most) for each in times])


def _draws(draw: numpy.random.Generator, bundles: Sequence[int], resamples: int) -> numpy.ndarray:
    """Return how often each bundle is drawn, one row a resample, where ``bundles`` occur as often as this."""
    import numpy

    total = sum(bundles)
    if 2 * len(bundles) < total:
        return draw.multinomial(total, numpy.array(bundles) / total, resamples)
    # Most occur once, and drawing them one by one is faster.
    places = numpy.repeat(numpy.arange(len(bundles)), bundles)
    drawn = (draw.integers(0, total, total) for _ in range(resamples))
    return numpy.stack([numpy.bincount(places[each], minlength=len(bundles)) for each in drawn])
