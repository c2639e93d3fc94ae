"""Probabilities and quantiles, compared with scipy's."""

from __future__ import annotations

import math

import pytest
from scipy import special, stats

from pytest_evals.statistics import distributions

FREEDOM = (1, 2, 3, 4.5, 7, 29, 99, 499, 1999, 1e4, 1e6)
SHAPES = (0.5, 1, 2, 7, 30, 200, 5e3, 1e5)


@pytest.mark.parametrize("df", FREEDOM)
def test_quantiles_of_students_t_are_scipys(df: float) -> None:
    for p in (1e-6, 0.005, 0.025, 0.1, 0.3, 0.45, 0.499, 0.5, 0.5001, 0.9, 0.95, 0.975, 0.995, 0.9999):
        assert distributions.t_quantile(p, df) == pytest.approx(float(stats.t.ppf(p, df)), rel=1e-10, abs=1e-14)


@pytest.mark.parametrize("df", FREEDOM)
def test_tails_of_students_t_keep_their_digits(df: float) -> None:
    for x in (0, 1e-5, 0.1, 0.5, 1, 2, 3, 5, 10, 30):
        assert distributions.t_tail(x, df) == pytest.approx(float(stats.t.sf(x, df)), rel=1e-10)


def test_infinitely_many_degrees_of_freedom_are_the_normal_distribution() -> None:
    for p in (1e-9, 0.025, 0.5, 0.975):
        assert distributions.t_quantile(p, math.inf) == pytest.approx(float(stats.norm.ppf(p)), rel=1e-12, abs=1e-15)
    for x in (0, 1.5, 3, 30):
        assert distributions.t_tail(x, math.inf) == pytest.approx(float(stats.norm.sf(x)), rel=1e-12)


@pytest.mark.parametrize("a", SHAPES)
@pytest.mark.parametrize("b", SHAPES)
def test_the_beta_distribution_is_scipys(a: float, b: float) -> None:
    for p in (1e-6, 0.025, 0.3, 0.5, 0.9, 0.999):
        x = float(stats.beta.ppf(p, a, b))
        assert distributions.beta_cdf(x, a, b) == pytest.approx(float(special.betainc(a, b, x)), rel=1e-10)
        assert distributions.beta_quantile(p, a, b) == pytest.approx(x, rel=1e-10)
    assert [distributions.beta_quantile(p, a, b) for p in (0, 1)] == [0, 1]


def test_binomial_probabilities_are_scipys_down_to_no_draws() -> None:
    for n in (0, 1, 2, 10, 500):
        for k in {-1, 0, 1, n // 2, n}:
            for p in (0.1, 0.5, 0.9):
                assert distributions.binomial_cdf(k, n, p) == pytest.approx(float(stats.binom.cdf(k, n, p)), rel=1e-10)
