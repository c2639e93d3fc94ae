"""The corrected pass rate: against published examples, limits that are known, and simulated coverage."""

from __future__ import annotations

import random

import pytest

from pytest_evals.statistics.prevalence import Accuracy, corrected_interval, corrected_rate


def test_the_rate_is_that_of_the_published_example() -> None:
    # Of 150 cows 23 are positive in a test with sensitivity 0.96 and specificity 0.89: 5.1 in 100 have the disease.
    assert corrected_rate(23, 150, Accuracy(96, 100, 89, 100)) == pytest.approx(0.051, abs=5e-4)


def test_a_perfect_judge_needs_no_correction() -> None:
    perfect = Accuracy(10**6, 10**6, 10**6, 10**6)
    assert corrected_rate(30, 100, perfect) == pytest.approx(0.3)
    proportion = pytest.importorskip("statsmodels.stats.proportion")
    # With both accuracies known to be 1 what remains is the interval of Agresti and Coull.
    expected = proportion.proportion_confint(30, 100, method="agresti_coull")
    assert corrected_interval(30, 100, perfect) == pytest.approx(expected, abs=1e-4)


def test_a_judge_that_is_no_better_than_a_coin_cannot_be_corrected() -> None:
    for accuracy in (Accuracy(5, 10, 5, 10), Accuracy(2, 10, 3, 10), Accuracy(0, 0, 5, 5), Accuracy(5, 5, 0, 0)):
        assert not accuracy.informative
        assert corrected_rate(5, 10, accuracy) is None
        assert corrected_interval(5, 10, accuracy) is None
    assert corrected_rate(0, 0, Accuracy(9, 10, 9, 10)) is None


def test_rate_and_interval_stay_within_0_and_1() -> None:
    accuracy = Accuracy(18, 20, 16, 20)
    assert corrected_rate(0, 50, accuracy) == 0
    assert corrected_rate(50, 50, accuracy) == 1
    for passed in (0, 25, 50):
        interval = corrected_interval(passed, 50, accuracy)
        assert interval is not None
        assert 0 <= interval[0] <= interval[1] <= 1
    # One label of each kind says next to nothing.
    assert corrected_interval(5, 10, Accuracy(1, 1, 1, 1)) == pytest.approx((0, 1), abs=0.05)


@pytest.mark.parametrize(("rate", "sensitivity", "specificity"), [(0.3, 0.9, 0.8), (0.8, 0.75, 0.9), (0.5, 0.85, 0.7)])
def test_the_interval_covers_the_truth_as_often_as_it_says(rate: float, sensitivity: float, specificity: float) -> None:
    draw = random.Random(1)  # noqa: S311 - a simulation

    def binomial(n: int, p: float) -> int:
        return sum(draw.random() < p for _ in range(n))

    apparent = rate * sensitivity + (1 - rate) * (1 - specificity)
    covered, runs = 0, 1500
    for _ in range(runs):
        accuracy = Accuracy(binomial(60, sensitivity), 60, binomial(60, specificity), 60)
        interval = corrected_interval(binomial(200, apparent), 200, accuracy)
        covered += interval is not None and interval[0] <= rate <= interval[1]
    assert 0.93 <= covered / runs <= 0.975
