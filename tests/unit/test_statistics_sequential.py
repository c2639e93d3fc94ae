"""Intervals and tests that may be looked at after every value."""

from __future__ import annotations

import itertools

import numpy
import pytest

from pytest_evals.statistics.sequential import MeanTest, mean_interval


def _draws(seed: int, n: int, rate: float) -> list[float]:
    values = [1.0] * round(n * rate) + [0.0] * (n - round(n * rate))
    return [float(value) for value in numpy.random.default_rng(seed).permutation(values)]


def test_the_interval_starts_as_everything_shrinks_and_ends_at_the_mean_of_the_population() -> None:
    values = _draws(1, 500, 0.8)
    assert mean_interval([]) == (0, 1)
    found = [mean_interval(values[:n], population=500) for n in (1, 5, 20, 100, 300, 499, 500)]
    assert all(before.low <= after.low and after.high <= before.high for before, after in itertools.pairwise(found))
    assert found[-1] == pytest.approx((0.8, 0.8))
    assert all(low <= 0.8 <= high for low, high in found)


def test_independent_draws_never_settle_exactly() -> None:
    low, high = mean_interval([1.0] * 300)
    assert 0.97 < low < high == 1


@pytest.mark.parametrize("population", [None, 150])
def test_the_mean_is_outside_of_the_interval_at_any_time_at_most_as_often_as_promised(population: int | None) -> None:
    # At alpha = 0.2, 300 runs: 60 expected at most; 4 standard deviations more would be 88.
    misses = 0
    for seed in range(300):
        source = numpy.random.default_rng(seed)
        values = _draws(seed, 150, 0.6) if population else [float(source.random() < 0.6) for _ in range(150)]
        low, high = mean_interval(values, alpha=0.2, population=population)
        misses += not low - 1e-9 <= 0.6 <= high + 1e-9
    assert misses <= 60


@pytest.mark.parametrize(("rate", "threshold"), [(0.6, 0.6), (0.75, 0.8), (0.9, 0.8)])
def test_the_wrong_side_is_named_at_most_as_often_as_promised(rate: float, threshold: float) -> None:
    decided, wrong = 0, 0
    for seed in range(300):
        test = MeanTest(threshold, alpha=0.1, population=200)
        side = None
        for value in _draws(seed, 200, rate):
            side = test.add(value)
            if side:
                break
        decided += side is not None
        wrong += side == ("above" if rate <= threshold else "below") or (rate == threshold and side is not None)
    assert wrong <= 30
    assert rate == threshold or decided == 300


def test_test_and_interval_agree() -> None:
    for seed in range(60):
        source = numpy.random.default_rng(seed)
        values = [float(source.random()) ** 0.5 for _ in range(100)]
        test = MeanTest(0.6, population=120)
        for value in values:
            test.add(value)
        low, high = mean_interval(values, population=120)
        assert test.verdict == ("above" if low > 0.6 else "below" if high < 0.6 else None)


def test_a_verdict_stays_and_what_cannot_change_any_more_is_certain() -> None:
    test = MeanTest(0.5, population=4)
    assert [test.add(value) for value in (1, 1, 1)] == [None, None, "above"]
    assert test.add(0) == "above"
    assert test.seen == 4
    low = MeanTest(0.9, population=3)
    assert low.add(0) == "below"


@pytest.mark.parametrize("value", [-0.1, 1.1, float("nan")])
def test_values_outside_of_the_range_are_refused(value: float) -> None:
    with pytest.raises(ValueError, match="between 0 and 1"):
        MeanTest(0.5).add(value)
    with pytest.raises(ValueError, match="between 0 and 1"):
        mean_interval([value])
