"""How far two who label the same cases agree: raw agreement, Cohen's kappa, Krippendorff's alpha, a confusion table.

Labels are of any kind that can be a key. Where their order counts, ``categories`` gives it.
"""

from __future__ import annotations

import math
import random
from collections import Counter
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Literal

Label = Hashable
Weights = Literal["none", "linear", "quadratic"]
Measure = Literal["nominal", "ordinal", "interval"]
Distance = Callable[[int, int], float]
RESAMPLES = 1000


@dataclass(frozen=True, slots=True)
class Coefficient:
    """A coefficient of agreement with its confidence interval; both `None` where it is not defined."""

    value: float | None
    interval: tuple[float, float] | None = None


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
    level: float = 0.95,
) -> Coefficient:
    """Return Cohen's kappa, weighted by the distance of the categories if asked for.

    Its interval is the large-sample one of Fleiss, Cohen and Everitt, Psychological Bulletin 72 (1969). Kappa is not
    defined where chance alone would always agree: both only ever used one and the same label.
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
    row_weight = [math.fsum(weight[i][j] * columns[j] for j in range(k)) for i in range(k)]
    column_weight = [math.fsum(weight[i][j] * rows[i] for i in range(k)) for j in range(k)]
    spread = math.fsum(
        table[i][j] * (weight[i][j] - (row_weight[i] + column_weight[j]) * (1 - kappa)) ** 2 for i, j in cells
    )
    variance = (spread - (kappa - expected * (1 - kappa)) ** 2) / (n * (1 - expected) ** 2)
    half = NormalDist().inv_cdf((1 + level) / 2) * math.sqrt(max(0.0, variance))
    return Coefficient(kappa, (max(-1.0, kappa - half), min(1.0, kappa + half)))


def _agreement_weight(i: int, j: int, k: int, weights: Weights) -> float:
    if i == j or k < 2:
        return 1.0
    distance = abs(i - j) / (k - 1)
    return {"none": 0.0, "linear": 1 - distance, "quadratic": 1 - distance**2}[weights]


def krippendorff_alpha(
    units: Sequence[Sequence[Label | None]],
    categories: Sequence[Label],
    measure: Measure = "nominal",
    level: float = 0.95,
    seed: int = 0,
) -> Coefficient:
    """Return Krippendorff's alpha; a unit is one case with a label of each rater, `None` where one gave none.

    ``interval`` takes numeric categories. The confidence interval is that of a bootstrap over the cases (percentiles of
    1000 resamples), the same for the same ``seed``. Alpha is not defined where all labels are the same.
    """
    numbers = {category: index for index, category in enumerate(categories)}
    coded = [[numbers[label] for label in unit if label is not None] for unit in units]
    coded = [unit for unit in coded if len(unit) > 1]  # a label alone can be compared with nothing
    value = _alpha(coded, categories, measure)
    if value is None or len(coded) < 2:
        return Coefficient(value)
    draw = random.Random(seed)  # noqa: S311 - resampling, no secrets
    found = [_alpha(draw.choices(coded, k=len(coded)), categories, measure) for _ in range(RESAMPLES)]
    # A resample of equal labels only agrees in all of them.
    ordered = sorted(1.0 if alpha is None else alpha for alpha in found)
    return Coefficient(value, (_percentile(ordered, (1 - level) / 2), _percentile(ordered, (1 + level) / 2)))


def _alpha(units: Sequence[Sequence[int]], categories: Sequence[Label], measure: Measure) -> float | None:
    """Return 1 - observed / expected disagreement, over the coincidences of labels within units."""
    totals: Counter[int] = Counter()
    shapes: Counter[tuple[int, ...]] = Counter()
    for unit in units:
        shapes[tuple(sorted(unit))] += 1
    for shape, count in shapes.items():
        for label in shape:
            totals[label] += count
    n = totals.total()
    distance = _distance(totals, categories, measure)
    expected = math.fsum(totals[a] * totals[b] * distance(a, b) for a in totals for b in totals)
    if not expected:
        return None
    observed = math.fsum(
        count * math.fsum(distance(a, b) for a in shape for b in shape) / (len(shape) - 1)
        for shape, count in shapes.items()
    )
    return 1 - (n - 1) * observed / expected


def _distance(totals: Mapping[int, int], categories: Sequence[Label], measure: Measure) -> Distance:
    """Return the squared difference of two categories, as the measure has it."""
    if measure == "nominal":
        return lambda a, b: float(a != b)
    if measure == "interval":
        values = [float(category) for category in categories]  # type: ignore[arg-type]  # numeric, as documented
        return lambda a, b: (values[a] - values[b]) ** 2
    ranks, below = [], 0.0
    for index in range(len(categories)):
        ranks.append(below + totals.get(index, 0) / 2)
        below += totals.get(index, 0)
    return lambda a, b: (ranks[a] - ranks[b]) ** 2


def _percentile(ordered: Sequence[float], share: float) -> float:
    """Return the quantile with linear interpolation between neighbours."""
    position = share * (len(ordered) - 1)
    low = math.floor(position)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (ordered[high] - ordered[low]) * (position - low)
