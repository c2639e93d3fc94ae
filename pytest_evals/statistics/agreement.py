"""How far two who label the same cases agree: raw agreement, a confusion table, Cohen's kappa.

Labels are of any kind that can be a key. Where their order counts, ``categories`` gives it. For more than two see
`pytest_evals.statistics.alpha`.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Hashable, Sequence
from statistics import NormalDist
from typing import TYPE_CHECKING, Literal

from pytest_evals.statistics.coefficient import Coefficient, ends, percentiles
from pytest_evals.statistics.intervals import LEVEL
from pytest_evals.statistics.recounting import resampled_counts

if TYPE_CHECKING:
    import numpy

Label = Hashable
Weights = Literal["none", "linear", "quadratic"]
RESAMPLES = 1000


def agreement(pairs: Sequence[tuple[Label, Label]]) -> float | None:
    """Return the share of cases with the same label, `None` of nothing."""
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
