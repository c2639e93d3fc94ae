"""Intervals for means, shares and quantiles, clusters and repeats, against scipy, statsmodels and closed forms."""

from __future__ import annotations

import itertools
import math

import numpy
import pytest
import statsmodels.api
from scipy import stats
from statsmodels.stats.proportion import proportion_confint

from pytest_evals.statistics import (
    Estimate,
    estimate_mean,
    estimate_repeated,
    pass_at_k,
    pass_hat_k,
    quantile,
    quantile_interval,
    spread,
    t_interval,
    wilson_clustered,
    wilson_interval,
)
from pytest_evals.statistics.bootstrap import bootstrap_interval
from pytest_evals.statistics.means import effective_size

RANDOM = numpy.random.default_rng(3)
NORMAL = RANDOM.normal(3, 2, 40).tolist()
SKEWED = RANDOM.exponential(size=60).tolist()


# -- independent values


@pytest.mark.parametrize("values", [[0.0, 1.0], [1.0, 1.0, 0.0], NORMAL, SKEWED])
@pytest.mark.parametrize("level", [0.8, 0.95, 0.999])
def test_the_interval_of_a_mean_is_students(values: list[float], level: float) -> None:
    expected = stats.t.interval(level, len(values) - 1, numpy.mean(values), stats.sem(values))
    assert t_interval(values, level) == pytest.approx(expected, rel=1e-10)


def test_the_interval_of_a_mean_needs_two_values_and_may_be_a_point() -> None:
    assert [t_interval([]), t_interval([0.5])] == [None, None]
    assert t_interval([0.5, 0.5]) == (0.5, 0.5)


@pytest.mark.parametrize(
    ("passed", "n"), [(0, 1), (1, 1), (0, 2), (1, 2), (2, 2), (0, 30), (30, 30), (27, 30), (999, 1000)]
)
@pytest.mark.parametrize("level", [0.9, 0.95])
def test_wilsons_interval_is_that_of_statsmodels(passed: int, n: int, level: float) -> None:
    expected = proportion_confint(passed, n, alpha=1 - level, method="wilson")
    assert wilson_interval(passed, n, level) == pytest.approx(expected, rel=1e-10, abs=1e-12)


def test_wilsons_interval_ends_exactly_where_all_or_none_passed() -> None:
    none, every = wilson_interval(0, 7), wilson_interval(7, 7)
    assert none is not None
    assert every is not None
    assert (none.low, every.high) == (0, 1)
    assert wilson_interval(0, 0) is None


# -- clusters


@pytest.mark.parametrize(("correction", "corrected"), [("CR0", False), ("CR1", True)])
@pytest.mark.parametrize("sizes", [[1, 1], [3, 1], [5, 2, 9, 1, 1, 4], [1] * 12])
def test_clustered_errors_are_those_of_a_regression_on_a_constant(
    sizes: list[int], correction: str, *, corrected: bool
) -> None:
    labels = [label for label, size in enumerate(sizes) for _ in range(size)]
    values = numpy.random.default_rng(sum(sizes)).normal(size=len(labels)) + numpy.array(labels)
    fit = statsmodels.api.OLS(values, numpy.ones(len(values))).fit(
        cov_type="cluster", cov_kwds={"groups": labels, "use_correction": corrected}
    )
    found = estimate_mean(values.tolist(), labels, "CR1" if correction == "CR1" else "CR0")
    assert found is not None
    assert (found.mean, found.stderr) == pytest.approx((fit.params[0], fit.bse[0]), rel=1e-10)
    assert found.units == len(sizes)


def test_without_clusters_the_error_is_the_ordinary_one_and_the_interval_students() -> None:
    found = estimate_mean(NORMAL)
    assert found is not None
    assert found.stderr == pytest.approx(stats.sem(NORMAL), rel=1e-12)
    assert found.interval() == pytest.approx(t_interval(NORMAL), rel=1e-12)


def test_one_cluster_has_no_error_and_nothing_no_mean() -> None:
    assert estimate_mean([]) is None
    assert estimate_mean([1.0, 0.0], ["a", "a"]) == Estimate(0.5, None, 1)
    assert Estimate(0.5, None, 1).interval() is None


def test_values_that_belong_together_count_as_one() -> None:
    # Twenty documents, five questions each, answered alike: as if twenty questions had been asked.
    values = [float(document % 2) for document in range(20) for _ in range(5)]
    labels = [document for document in range(20) for _ in range(5)]
    found = estimate_mean(values, labels)
    assert found is not None
    few = (stats.t.ppf(0.975, 99) / stats.t.ppf(0.975, 19)) ** 2
    assert effective_size(found, 100) == pytest.approx(20 * (100 / 99) / (20 / 19) * few, rel=1e-10)
    # Between what Wilson gives for so many independent ones and for a few less.
    interval, wide, narrow = wilson_clustered(found, 100), wilson_interval(8, 16), wilson_interval(10, 20)
    assert interval is not None
    assert wide is not None
    assert narrow is not None
    assert wide.low < interval.low < narrow.low


def test_independent_values_keep_their_size_and_clusters_that_all_pass_count_once_each() -> None:
    values = [1.0] * 7 + [0.0] * 3
    alone, together = estimate_mean(values), estimate_mean([1.0] * 30, list(range(10)) * 3)
    assert alone is not None
    assert together is not None
    assert wilson_clustered(alone, 10) == pytest.approx(wilson_interval(7, 10), rel=1e-12)
    assert wilson_clustered(together, 30) == wilson_interval(10, 10)


# -- quantiles


@pytest.mark.parametrize("p", [0, 0.05, 0.5, 0.95, 0.99, 1])
@pytest.mark.parametrize("values", [[2.0], [4.0, 1.0], [1.0] * 5, SKEWED])
def test_quantiles_are_numpys(values: list[float], p: float) -> None:
    assert quantile(values, p) == pytest.approx(float(numpy.quantile(values, p)), rel=1e-12)


def test_nothing_has_no_quantile() -> None:
    assert (quantile([], 0.5), quantile_interval([], 0.5)) == (None, None)


@pytest.mark.parametrize("p", [0.1, 0.5, 0.95])
@pytest.mark.parametrize("n", [6, 20, 72, 500])
def test_the_interval_of_a_quantile_is_the_narrowest_that_the_binomial_distribution_allows(n: int, p: float) -> None:
    def tail(k: int, share: float) -> float:
        return float(stats.binom.cdf(k, n, share))

    # Value i stands at place i, so that ends are indices.
    interval = quantile_interval([float(i) for i in range(n)], p)
    if interval is None:
        assert tail(0, p) > 0.025 or tail(0, 1 - p) > 0.025
        return
    low, above = round(interval.low), n - 1 - round(interval.high)
    assert tail(low, p) <= 0.025 < tail(low + 1, p)
    assert tail(above, 1 - p) <= 0.025 < tail(above + 1, 1 - p)


@pytest.mark.parametrize(("n", "p", "possible"), [(5, 0.5, False), (6, 0.5, True), (71, 0.95, False), (72, 0.95, True)])
def test_too_few_values_have_no_interval_of_a_quantile(n: int, p: float, *, possible: bool) -> None:
    assert (quantile_interval(list(range(n)), p) is not None) is possible


# -- resampling


@pytest.mark.parametrize("method", ["percentile", "bca"])
@pytest.mark.parametrize("values", [SKEWED, NORMAL, [1.0] * 18 + [0.0] * 3])
def test_resampled_intervals_are_scipys(values: list[float], method: str) -> None:
    expected = stats.bootstrap(
        (values,), numpy.mean, n_resamples=1000, method=method, rng=numpy.random.default_rng(0)
    ).confidence_interval
    found = bootstrap_interval(values, method="bca" if method == "bca" else "percentile", resamples=1000)
    assert found == pytest.approx((expected.low, expected.high), rel=1e-9)


def test_resampling_needs_two_values_and_may_give_a_point() -> None:
    assert [bootstrap_interval([]), bootstrap_interval([1.0])] == [None, None]
    assert bootstrap_interval([0.5, 0.5, 0.5]) == (0.5, 0.5)
    assert bootstrap_interval([1.0, 0.0, 1.0, 0.0], clusters="aaaa") is None


def test_resampling_clusters_gives_about_the_clustered_error() -> None:
    labels = [label for label in range(40) for _ in range(5)]
    source = numpy.random.default_rng(5)
    values = (source.normal(size=40)[labels] + 0.3 * source.normal(size=200)).tolist()
    found, expected = bootstrap_interval(values, clusters=labels), estimate_mean(values, labels)
    assert found is not None
    assert expected is not None
    interval = expected.interval()
    assert interval is not None
    assert found.high - found.low == pytest.approx(interval.high - interval.low, rel=0.15)


def test_resampling_is_reproducible_and_takes_any_statistic() -> None:
    first = bootstrap_interval(SKEWED, numpy.median, seed=4)
    assert first == bootstrap_interval(SKEWED, numpy.median, seed=4)
    assert first != bootstrap_interval(SKEWED, numpy.median, seed=5)


# -- repeats


def test_scatter_is_taken_apart_as_the_analysis_of_variance_does() -> None:
    cases = (RANDOM.normal(size=(12, 1)) + RANDOM.normal(size=(12, 4)) * 0.5).tolist()
    found = spread(cases)
    within = float(numpy.mean([numpy.var(case, ddof=1) for case in cases]))
    f = float(stats.f_oneway(*cases).statistic)
    assert found.within == pytest.approx(within)
    assert found.between == pytest.approx((f * within - within) / 4)


def test_cases_count_the_same_whatever_the_number_of_their_samples() -> None:
    cases = [[1.0, 1.0, 1.0], [0.0], [1.0, 0.0], []]
    found = estimate_repeated(cases)
    assert found is not None
    assert (found.mean, found.units) == (0.5, 3)
    assert found.stderr == pytest.approx(stats.sem([1, 0, 0.5]))
    clustered = estimate_repeated(cases, ["a", "a", "b", "c"])
    assert clustered == estimate_mean([1.0, 0.0, 0.5], ["a", "a", "b"])


def test_the_edges_of_repeats() -> None:
    assert (spread([]).within, spread([[1.0], [0.0]]).within) == (None, None)
    assert (spread([[1.0, 0.0]]).within, spread([[1.0, 0.0]]).between) == (0.5, None)
    assert (spread([[1.0, 1.0], [1.0, 1.0]]).within, spread([[1.0, 0.0], [0.0, 1.0]]).between) == (0, 0)
    assert (estimate_repeated([]), estimate_repeated([[]])) == (None, None)


@pytest.mark.parametrize("n", [1, 2, 5])
def test_pass_at_k_and_pass_hat_k_are_shares_of_the_subsets(n: int) -> None:
    for passed, k in itertools.product(range(n + 1), range(1, n + 1)):
        drawn = list(itertools.combinations([True] * passed + [False] * (n - passed), k))
        assert pass_at_k(passed, n, k) == pytest.approx(sum(map(any, drawn)) / len(drawn))
        assert pass_hat_k(passed, n, k) == pytest.approx(sum(map(all, drawn)) / len(drawn))
    assert (pass_at_k(0, n, n + 1), pass_hat_k(0, n, n + 1)) == (None, None)


def test_pass_at_k_of_many_samples_keeps_its_digits() -> None:
    assert pass_at_k(1, 2000, 1000) == pytest.approx(0.5)
    assert pass_hat_k(1999, 2000, 1000) == pytest.approx(0.5)
    assert math.isclose(pass_at_k(300, 1000, 1) or 0, 0.3)
