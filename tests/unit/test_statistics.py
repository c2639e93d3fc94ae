"""Numbers about grades, against closed forms and other libraries."""

from __future__ import annotations

import math
import random

import numpy
import pytest
import scipy.stats

from pytest_evals.statistics import mean, median, standard_error

RANDOM = random.Random(7)  # noqa: S311 - data of a test
SAMPLES: list[list[float]] = [
    [0.0, 1.0],
    [1.0, 1.0, 0.0],
    [0.1] * 10,
    [-5.0, 3.25, 1e6],
    [RANDOM.random() for _ in range(500)],
    [RANDOM.gauss(1e9, 1) for _ in range(100)],
]


@pytest.mark.parametrize("values", SAMPLES)
def test_statistics_agree_with_numpy_and_scipy(values: list[float]) -> None:
    assert mean(values) == pytest.approx(numpy.mean(values))
    assert median(values) == pytest.approx(numpy.median(values))
    assert standard_error(values) == pytest.approx(scipy.stats.sem(values), abs=1e-15)


@pytest.mark.parametrize(("right", "n"), [(1, 2), (3, 10), (80, 100), (999, 1000)])
def test_the_standard_error_of_a_share_is_the_closed_form(right: int, n: int) -> None:
    share = right / n
    values = [1.0] * right + [0.0] * (n - right)
    assert standard_error(values) == pytest.approx(math.sqrt(share * (1 - share) / (n - 1)))


def test_the_mean_does_not_lose_small_values() -> None:
    assert mean([1e16, 1.0, -1e16]) == 1 / 3


def test_the_mean_does_not_depend_on_the_order() -> None:
    values = SAMPLES[4]
    assert mean(values) == mean(values[::-1]) == mean(sorted(values))


def test_the_median_of_an_even_number_is_the_middle_of_both() -> None:
    assert median([4.0, 1.0, 3.0, 2.0]) == 2.5


def test_there_are_no_statistics_of_nothing() -> None:
    assert (mean([]), median([]), standard_error([])) == (None, None, None)


def test_one_value_has_no_standard_error() -> None:
    assert (mean([2.0]), median([2.0]), standard_error([2.0])) == (2.0, 2.0, None)


def test_equal_values_have_a_standard_error_of_zero() -> None:
    assert standard_error([0.3, 0.3, 0.3]) == 0
