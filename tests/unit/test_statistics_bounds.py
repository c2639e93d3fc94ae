"""The interval for means of bounded values: against Jeffreys', against draws of its definition, and how often it is right."""

from __future__ import annotations

import numpy
import pytest
from statsmodels.stats.proportion import proportion_confint

from pytest_evals.statistics import bounded_interval, estimate_mean, paired_difference
from pytest_evals.statistics.intervals import check_bounds, within

TIGHT = [0.8, 0.82, 0.79, 0.81, 0.78, 0.8]


@pytest.mark.parametrize(("passed", "n"), [(0, 1), (1, 1), (1, 2), (2, 3), (0, 30), (30, 30), (27, 30), (450, 500)])
@pytest.mark.parametrize("level", [0.8, 0.95])
def test_of_zeros_and_ones_it_is_jeffreys_interval(passed: int, n: int, level: float) -> None:
    low, high = proportion_confint(passed, n, alpha=1 - level, method="jeffreys")
    # At the ends as Brown, Cai and DasGupta (2001) have it.
    expected = (0 if passed == 0 else low, 1 if passed == n else high)
    assert bounded_interval([1.0] * passed + [0.0] * (n - passed), level=level) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("values", [[0.8, 0.9], [0.5] * 10, [1, 1, 1, 0.3, 0.9], TIGHT])
def test_its_mean_and_variance_are_those_of_cases_weighed_at_random(values: list[float]) -> None:
    found = bounded_interval(values, level=0.5)
    weights = numpy.random.default_rng(0).dirichlet([*[1] * len(values), 0.5, 0.5], 200_000)
    drawn = weights @ numpy.array([*values, 0, 1])
    mean, variance = drawn.mean(), drawn.var()
    size = mean * (1 - mean) / variance - 1
    expected = numpy.quantile(numpy.random.default_rng(1).beta(mean * size, (1 - mean) * size, 200_000), [0.25, 0.75])
    assert found is not None
    inside = (min(expected[0], numpy.mean(values)), max(expected[1], numpy.mean(values)))
    assert found == pytest.approx(inside, abs=0.003)


def test_it_keeps_to_its_bounds_holds_the_mean_and_is_never_empty() -> None:
    for values in ([1.0], [1.0] * 50, [0.0, 0.0], [0.5] * 10, [0.999] * 10, [1 + 1e-9] * 3, [0.1, 0.9]):
        found = bounded_interval(values)
        assert found is not None
        assert 0 <= found.low < found.high <= 1
        assert found.low <= min(sum(values) / len(values), 1) <= found.high
    assert bounded_interval([]) is None


def test_a_scale_changes_nothing_but_the_scale() -> None:
    shares = [0.25, 0.5, 1.0, 0.75, 1.0]
    found, scaled = bounded_interval(shares), bounded_interval([1 + 4 * share for share in shares], (1, 5))
    turned = bounded_interval([-share for share in shares], (-1, 0))
    assert found is not None
    assert scaled == pytest.approx((1 + 4 * found.low, 1 + 4 * found.high), rel=1e-12)
    assert turned == pytest.approx((-found.high, -found.low), rel=1e-12)


def test_what_belongs_together_counts_once() -> None:
    labels = [0, 1, 2, 3, 4, 5]
    assert bounded_interval(TIGHT * 3, clusters=labels * 3) == pytest.approx(bounded_interval(TIGHT), rel=1e-12)
    alone, together = bounded_interval(TIGHT), bounded_interval(TIGHT, clusters=list("aabbbc"))
    assert alone is not None
    assert together is not None
    assert together.high - together.low > 1.3 * (alone.high - alone.low)


@pytest.mark.parametrize(
    ("share_of_ones", "a", "b", "n"), [(0, 1, 1, 5), (0, 0.5, 0.05, 10), (0.9, 1, 1, 10), (0, 80, 20, 5)]
)
def test_it_holds_the_mean_as_often_as_it_says(share_of_ones: float, a: float, b: float, n: int) -> None:
    source = numpy.random.default_rng(5)
    ones = source.random((800, n)) < share_of_ones
    samples = numpy.where(ones, 1, source.beta(a, b, (800, n)))
    mean = share_of_ones + (1 - share_of_ones) * a / (a + b)
    found = [bounded_interval(sample) for sample in samples.tolist()]
    assert numpy.mean([each is not None and each.low <= mean <= each.high for each in found]) > 0.93


def test_differences_keep_to_what_they_can_be_and_none_is_not_certain() -> None:
    same = paired_difference([0.3] * 20, [0.3] * 20, bounds=(0, 1))
    assert same is not None
    assert same.interval == bounded_interval([0.0] * 20, (-1, 1))
    fell = paired_difference([5.0, 5.0], [1.0, 1.0], bounds=(1, 5))
    assert fell is not None
    assert fell.interval is not None
    assert fell.interval.low == -4
    flipped = paired_difference([1, 1, 1, 0], [1, 0, 1, 0])
    assert flipped is not None
    assert flipped.interval == bounded_interval([0.0, -1.0, 0.0, 0.0], (-1, 1))
    # Without bounds nothing measures how far others might be.
    unknown = paired_difference([3.0, 4.0, 5.0], [2.75, 3.75, 4.75])
    assert unknown is not None
    assert unknown.interval is None
    rounded = estimate_mean([0.1 + 0.2, 0.3, 0.3])
    assert rounded is not None
    assert rounded.interval() is None


@pytest.mark.parametrize("bounds", [(1, 0), (0, 0), (0, float("inf")), (0,), "01", (False, True), None, (0, 1e200)])
def test_what_is_no_pair_of_bounds_is_refused(bounds: object) -> None:
    with pytest.raises(ValueError, match="the lowest and the highest value"):
        check_bounds(bounds)


def test_rounding_is_within_the_bounds_and_more_is_not() -> None:
    assert check_bounds([0, 5]) == (0.0, 5.0)
    assert [within(value, (-1, 1)) for value in (1.0000001, -1, 1.001, float("nan"))] == [True, True, False, False]
