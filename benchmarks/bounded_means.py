"""Intervals for the mean of bounded values, by simulation: how often each holds the true mean, and how wide it is.

    python -m benchmarks.bounded_means [--runs 4000]      (needs scipy)

Values between 0 and 1 as graders give them (F1 scores, scales, rubrics), differences between -1 and 1 as two runs give
them, and clusters of unequal size. ``bounded`` is what score cards show: `pytest_evals.statistics.intervals`. The others:
Student's t, the same cut at the bounds, the BCa bootstrap, t on the logit, Wilson's with the sample size that the variance is
worth (normal quantiles, and t's), the empirical Bernstein bound (Maurer and Pontil 2009) and betting (Waudby-Smith and Ramdas
2024).
"""

from __future__ import annotations

import argparse
import functools
from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy
from scipy import stats

from pytest_evals import statistics
from pytest_evals.statistics import LEVEL, bounded_interval
from pytest_evals.statistics.sequential import mean_interval

Array = numpy.ndarray
Ends = tuple[Array, Array]
Method = Callable[[Array], Ends]
SOURCE = numpy.random.default_rng(0)
SIZES = (2, 5, 10, 30, 100)
TAIL = (1 - LEVEL) / 2
RESAMPLES = 1000


class Values(NamedTuple):
    """How values are drawn, as many rows of as many, and their true mean."""

    draw: Callable[[int, int], Array]
    mean: float


def beta(a: float, b: float) -> Values:
    """The beta distribution."""
    return Values(lambda rows, n: SOURCE.beta(a, b, (rows, n)), a / (a + b))


def uniform(low: float, high: float) -> Values:
    """All values alike."""
    return Values(lambda rows, n: SOURCE.uniform(low, high, (rows, n)), (low + high) / 2)


def steps(shares: Mapping[float, float]) -> Values:
    """A few values, each with its share."""
    values, weights = list(shares), list(shares.values())
    mean = sum(value * share for value, share in shares.items())
    return Values(lambda rows, n: SOURCE.choice(values, (rows, n), p=weights), mean)


def mixed(share: float, one: Values, other: Values) -> Values:
    """A share of ``one``, the rest of ``other``."""

    def draw(rows: int, n: int) -> Array:
        return numpy.where(SOURCE.random((rows, n)) < share, one.draw(rows, n), other.draw(rows, n))

    return Values(draw, share * one.mean + (1 - share) * other.mean)


def clipped(center: float, deviation: float) -> Values:
    """Normal, far enough from the bounds."""
    return Values(lambda rows, n: SOURCE.normal(center, deviation, (rows, n)).clip(-1, 1), center)


MEANS = {
    "uniform": uniform(0, 1),
    "beta(4, 2)": beta(4, 2),
    "close together: beta(80, 20)": beta(80, 20),
    "near 1: beta(20, 1)": beta(20, 1),
    "U: beta(0.3, 0.3)": beta(0.3, 0.3),
    "U near 1: beta(0.5, 0.05)": beta(0.5, 0.05),
    "90 % ones, rest uniform": mixed(0.9, steps({1: 1.0}), uniform(0, 1)),
    "60 % ones, 20 % zeros, rest uniform": mixed(0.8, steps({1: 0.75, 0: 0.25}), uniform(0, 1)),
    "scale in five steps": steps({0: 0.02, 0.25: 0.03, 0.5: 0.1, 0.75: 0.35, 1: 0.5}),
    "close together, 5 % zeros": mixed(0.05, steps({0: 1.0}), beta(80, 20)),
}
DIFFERENCES = {
    "right/wrong, 5 % flip either way": steps({-1: 0.05, 0: 0.9, 1: 0.05}),
    "right/wrong, 7 % fall, 2 % rise": steps({-1: 0.07, 0: 0.91, 1: 0.02}),
    "right/wrong, 5 % fall": steps({-1: 0.05, 0: 0.95}),
    "10 % change, by -0.8 to 0.2": mixed(0.1, uniform(-0.8, 0.2), steps({0: 1.0})),
    "all change, deviation 0.05": clipped(0, 0.05),
    "all change, deviation 0.2": clipped(-0.02, 0.2),
}


def moments(values: Array) -> tuple[Array, Array]:
    """Mean and standard error."""
    return values.mean(1), values.std(1, ddof=1) / numpy.sqrt(values.shape[1])


def student(values: Array) -> Ends:
    """Student's t."""
    mean, error = moments(values)
    reach = stats.t.ppf(1 - TAIL, values.shape[1] - 1) * error
    return mean - reach, mean + reach


def cut(values: Array, low: float = 0) -> Ends:
    """Student's t, cut at the bounds."""
    first, last = student(values)
    return numpy.maximum(first, low), numpy.minimum(last, 1)


def logit(values: Array) -> Ends:
    """Student's t on the logit of the mean, its error by the delta method."""
    mean, error = moments(values)
    mean = mean.clip(1e-9, 1 - 1e-9)
    reach = stats.t.ppf(1 - TAIL, values.shape[1] - 1) * error / (mean * (1 - mean))
    center = numpy.log(mean / (1 - mean))
    return tuple(1 / (1 + numpy.exp(-(center + side).clip(-500, 500))) for side in (-reach, reach))


def wilson(values: Array, *, student_t: bool) -> Ends:
    """Wilson's, with the number of right and wrong cases that would have the same error; without any, all of them."""
    mean, error = moments(values)
    n = values.shape[1]
    size = numpy.where(error > 1e-9, mean * (1 - mean) / numpy.maximum(error, 1e-9) ** 2, n)
    z = stats.t.ppf(1 - TAIL, n - 1) if student_t else stats.norm.ppf(1 - TAIL)
    scale = 1 + z * z / size
    center = (mean + z * z / (2 * size)) / scale
    reach = z / scale * numpy.sqrt(mean * (1 - mean) / size + z * z / (4 * size * size))
    return numpy.maximum(center - reach, 0), numpy.minimum(center + reach, 1)


def bernstein(values: Array) -> Ends:
    """Maurer and Pontil's bound, on either side."""
    mean, error = moments(values)
    logarithm = numpy.log(2 / TAIL)
    reach = error * numpy.sqrt(2 * logarithm) + 7 * logarithm / (3 * (values.shape[1] - 1))
    return numpy.maximum(mean - reach, 0), numpy.minimum(mean + reach, 1)


def row_by_row(compute: Callable[[list[float]], tuple[float, float]]) -> Method:
    """A method that takes one sample at a time."""

    def ends(values: Array) -> Ends:
        found = [compute(row) for row in values.tolist()]
        return numpy.array([low for low, _ in found]), numpy.array([high for _, high in found])

    return ends


@functools.cache
def drawn(n: int) -> Array:
    """Resamples; the same ones for every sample of a size."""
    return SOURCE.integers(0, n, (RESAMPLES, n))


def bca(row: list[float]) -> tuple[float, float]:
    """Efron's BCa (1987); `pytest_evals.statistics.bootstrap` without drawing anew for each sample."""
    values = numpy.array(row)
    found = values[drawn(len(row))].mean(1)
    mean = values.mean()
    below = ((found < mean - 1e-12).sum() + (found <= mean + 1e-12).sum()) / (2 * RESAMPLES)
    deviations = values - mean
    scale = (deviations**2).sum()
    levels = numpy.array([TAIL, 1 - TAIL])
    if 0 < below < 1 and scale > 1e-18:
        speed = (deviations**3).sum() / (6 * scale**1.5)
        z = stats.norm.ppf(below) + stats.norm.ppf(levels)
        levels = stats.norm.cdf(stats.norm.ppf(below) + z / (1 - speed * z))
    low, high = numpy.quantile(found, levels)
    return float(low), float(high)


OF_MEANS: dict[str, tuple[Method, int]] = {
    # Those that take long run less often: divided by so many.
    "bounded": (row_by_row(bounded_interval), 2),
    "t": (student, 1),
    "t, cut": (cut, 1),
    "BCa": (row_by_row(bca), 8),
    "logit t": (logit, 1),
    "Wilson": (functools.partial(wilson, student_t=False), 1),
    "Wilson t": (functools.partial(wilson, student_t=True), 1),
    "Bernstein": (bernstein, 1),
    "betting": (row_by_row(mean_interval), 20),
}
OF_DIFFERENCES: dict[str, tuple[Method, int]] = {
    "bounded": (row_by_row(lambda row: bounded_interval(row, (-1, 1))), 2),
    "t": (student, 1),
    "t, cut": (functools.partial(cut, low=-1), 1),
    "BCa": (row_by_row(bca), 8),
}


def table(kinds: Mapping[str, Values], methods: Mapping[str, tuple[Method, int]], runs: int) -> None:
    """Print coverage and mean width of each method, and the worst coverage of all kinds."""
    worst: dict[tuple[str, int], float] = {}
    print(f"{'':38}{'n':>4}" + "".join(f"{name:>15}" for name in methods))
    for kind, values in kinds.items():
        for n in SIZES:
            cells = []
            for name, (method, fewer) in methods.items():
                low, high = method(values.draw(runs // fewer, n))
                held = float(((low <= values.mean + 1e-12) & (high >= values.mean - 1e-12)).mean())
                worst[name, n] = min(worst.get((name, n), 1), held)
                cells.append(f"{held:>8.1%}{(high - low).mean():>7.3f}")
            print(f"{f'{kind}, mean {values.mean:.3g}' if n == SIZES[0] else '':38}{n:>4}" + "".join(cells), flush=True)
    for n in SIZES:
        print(
            f"{'worst of all' if n == SIZES[0] else '':38}{n:>4}"
            + "".join(f"{worst[name, n]:>8.1%}{'':7}" for name in methods)
        )


def clusters(runs: int) -> None:
    """Print the same for means over clusters of 1 to 7 cases that are alike."""
    print(f"{'clusters of 1 to 7 cases':38}{'n':>4}{'bounded':>15}{'t':>15}")
    for kind, (a, b) in {"means beta(2, 2)": (2, 2), "near 1: beta(3, 0.2)": (3, 0.2), "independent": (0, 0)}.items():
        for count in SIZES:
            held, width = numpy.zeros(2), numpy.zeros(2)
            true = a / (a + b) if a else 0.7
            for _ in range(runs // 4):
                sizes = SOURCE.integers(1, 8, count)
                centers = numpy.repeat(SOURCE.beta(a, b, count) if a else numpy.full(count, 0.7), sizes)
                values = SOURCE.beta(8 * centers + 1e-6, 8 * (1 - centers) + 1e-6).tolist()
                labels = numpy.repeat(numpy.arange(count), sizes).tolist()
                found = statistics.estimate_mean(values, labels)
                # Of values that are all equal, t is a point.
                student = found.interval() or (found.mean, found.mean)
                for index, (low, high) in enumerate((bounded_interval(values, (0, 1), labels), student)):
                    held[index] += low <= true <= high
                    width[index] += high - low
            cells = "".join(f"{h:>8.1%}{w:>7.3f}" for h, w in zip(held / (runs // 4), width / (runs // 4), strict=True))
            print(f"{kind if count == SIZES[0] else '':38}{count:>4}{cells}", flush=True)


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=4000)
    runs = parser.parse_args().runs
    print(f"{runs} samples each (fewer for what takes long): how often the interval holds the mean; its mean width")
    table(MEANS, OF_MEANS, runs)
    table(DIFFERENCES, OF_DIFFERENCES, runs)
    clusters(runs)


if __name__ == "__main__":
    main()
