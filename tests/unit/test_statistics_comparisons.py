"""Comparisons of the same cases, several tests at once, and how many cases it takes."""

from __future__ import annotations

import math
from typing import Any

import numpy
import pytest
from scipy import stats
from statsmodels.stats import contingency_tables, multitest
from statsmodels.stats.power import TTestPower

from pytest_evals.statistics import (
    bootstrap_difference,
    bounded_interval,
    detectable_effect,
    estimate_mean,
    holm,
    mcnemar,
    paired_difference,
    required_size,
)
from pytest_evals.statistics.comparison import mcnemar_tail, mean_tail

RANDOM = numpy.random.default_rng(11)
BEFORE = RANDOM.normal(0.6, 0.2, 50).tolist()
AFTER = [value - 0.03 + 0.1 * float(noise) for value, noise in zip(BEFORE, RANDOM.normal(size=50), strict=True)]


@pytest.mark.parametrize(("better", "worse"), [(0, 0), (1, 0), (0, 1), (3, 3), (2, 9), (40, 61)])
def test_mcnemars_test_is_that_of_statsmodels(better: int, worse: int) -> None:
    table = [[10, better], [worse, 5]]
    assert mcnemar(better, worse) == pytest.approx(contingency_tables.mcnemar(table, exact=True).pvalue, rel=1e-10)
    if better + worse:
        tail = stats.binomtest(worse, better + worse, alternative="greater").pvalue
        assert mcnemar_tail(better, worse) == pytest.approx(tail, rel=1e-10)
    else:
        assert mcnemar_tail(0, 0) == 1


def test_a_difference_of_numbers_is_the_paired_t_test() -> None:
    found = paired_difference(BEFORE, AFTER)
    assert found is not None
    expected = stats.ttest_rel(AFTER, BEFORE)
    assert found.p == pytest.approx(expected.pvalue, rel=1e-10)
    interval = expected.confidence_interval(0.95)
    assert found.interval == pytest.approx((interval.low, interval.high), rel=1e-10)
    assert found.better + found.worse == found.n == 50


def test_a_difference_of_verdicts_is_mcnemars_unless_cases_belong_together() -> None:
    before, after = [1, 1, 1, 1, 1, 0, 0, 1.0], [0, 0, 0, 1, 1, 1, 0, 1.0]
    found = paired_difference(before, after)
    assert found is not None
    assert (found.mean, found.better, found.worse, found.p) == (-0.25, 1, 3, mcnemar(1, 3))
    labels = list("aabbccdd")
    clustered = paired_difference(before, after, labels)
    assert clustered is not None
    expected = estimate_mean([now - was for was, now in zip(before, after, strict=True)], labels)
    assert expected is not None
    assert clustered.stderr == expected.stderr
    assert clustered.p == pytest.approx(2 * stats.t.sf(0.25 / (expected.stderr or 0), 3), rel=1e-10)


@pytest.mark.parametrize("side", ["below", "above"])
def test_one_sided_tests_are_scipys(side: Any) -> None:
    differences = [now - was for was, now in zip(BEFORE, AFTER, strict=True)]
    alternative = "less" if side == "below" else "greater"
    expected = stats.ttest_1samp(differences, 0, alternative=alternative).pvalue
    assert mean_tail(differences, side=side) == pytest.approx(expected, rel=1e-10)


def test_the_edges_of_comparisons() -> None:
    assert paired_difference([], []) is None
    one = paired_difference([1.0], [0.0])
    assert one is not None
    assert (one.mean, one.stderr, one.interval, one.p) == (-1, None, bounded_interval([-1.0], (-1, 1)), 1)
    same = paired_difference([0.3, 0.7], [0.3, 0.7])
    assert same is not None
    assert (same.mean, same.p, same.better, same.worse) == (0, 1, 0, 0)
    # Every case fell by the same: no scatter, so that it is the sign of each that speaks.
    fell = paired_difference([0.5, 0.75, 0.5], [0.25, 0.5, 0.25])
    assert fell is not None
    assert (fell.interval, fell.p) == (None, 0.25)
    assert (mean_tail([-0.1]), mean_tail([0.1, 0.1]), mean_tail([-0.1, -0.1])) == (1, 1, 0.25)


def test_a_resampled_difference_is_near_the_one_of_t() -> None:
    found, expected = bootstrap_difference(BEFORE, AFTER), paired_difference(BEFORE, AFTER)
    assert expected is not None
    assert found == pytest.approx(expected.interval, abs=0.01)
    assert bootstrap_difference([1.0], [0.0]) is None


@pytest.mark.parametrize("probabilities", [[], [0.03], [0.01, 0.04, 0.03, 0.005], [0.5, 0.5, 0.9], [0, 1, 0.2]])
def test_holms_adjustment_is_that_of_statsmodels(probabilities: list[float]) -> None:
    expected = multitest.multipletests(probabilities, method="holm")[1] if probabilities else []
    assert holm(probabilities) == pytest.approx(list(expected), rel=1e-12)


@pytest.mark.parametrize("effect", [0.02, 0.1, 0.5, 1.2])
@pytest.mark.parametrize("sides", [1, 2])
def test_sizes_and_effects_are_those_of_the_noncentral_t_distribution(effect: float, sides: int) -> None:
    alternative = "two-sided" if sides == 2 else "larger"
    expected = TTestPower().solve_power(effect, power=0.8, alpha=0.05, alternative=alternative)
    n = required_size(1, effect, sides=sides)
    assert n is not None
    assert n == pytest.approx(expected, abs=1.5)
    assert detectable_effect(1, n, sides=sides) <= effect * 1.0001
    closed = (stats.t.ppf(1 - 0.05 / sides, n - 1) + stats.t.ppf(0.8, n - 1)) / math.sqrt(n)
    assert detectable_effect(1, n, sides=sides) == pytest.approx(closed, rel=1e-10)


def test_no_effect_needs_no_number_and_two_values_show_no_small_one() -> None:
    assert (required_size(1, 0), required_size(0, 0.1), required_size(1, -0.5)) == (None, 2, required_size(1, 0.5))
    assert (detectable_effect(1, 0), detectable_effect(1, 1)) == (math.inf, math.inf)
    assert detectable_effect(1, 2) > 9
    assert required_size(1, 1e-3) == math.ceil((stats.norm.ppf(0.975) + stats.norm.ppf(0.8)) ** 2 * 1e6)
