"""Means corrected by labels, the reliability of probabilities, and fitted thresholds, beside other implementations."""

from __future__ import annotations

import math
import random
from typing import Any

import pytest

from pytest_evals.statistics.prediction_powered import Labels, corrected_mean
from pytest_evals.statistics.reliability import check_criterion, fit_threshold, reliability

# Computed by ppi-python 0.2.3, which brings numba, statsmodels and scikit-learn: ppi_mean_ci(labels, judged, others, alpha=1 - level).
PPI = [
    (1, 20, 180, "binary", 0.95, 0.2227419475200548, 0.5898242618187713),
    (2, 50, 450, "binary", 0.9, 0.4364084843159892, 0.6338813045599414),
    (3, 100, 100, "binary", 0.95, 0.32925086012896976, 0.5125116526629437),
    (4, 40, 400, "scale", 0.95, 2.9051961444021766, 3.5406700957301362),
    (5, 200, 50, "scale", 0.95, 2.723619549579828, 3.089634783762646),
    (6, 10, 90, "opposed", 0.95, 2.0258762527681484, 3.5741237472318512),
    (7, 3, 7, "binary", 0.95, 0.09830959346631396, 0.9220719542541594),
]


def drawn(seed: int, n: int, others: int, kind: str) -> Labels:
    """Labels and grades from a fixed sequence, as the reference values were computed from."""
    source = random.Random(seed)  # noqa: S311 - a sequence that can be repeated
    labels, judged, rest = [], [], []
    for number in range(n + others):
        quality = source.random()
        label = float(source.random() < quality) if kind == "binary" else float(1 + int(quality * 5))
        noise = source.random()
        grade = 0.7 * quality + 0.3 * noise if kind == "binary" else 1 + 4 * (0.5 * quality + 0.5 * noise)
        if kind == "opposed":
            grade = 1 - quality
        if number < n:
            labels.append(label)
            judged.append(grade)
        else:
            rest.append(grade)
    return Labels(labels, judged, rest)


@pytest.mark.parametrize(("seed", "n", "others", "kind", "level", "low", "high"), PPI)
def test_the_interval_is_that_of_ppi_python(
    seed: int, n: int, others: int, kind: str, level: float, low: float, high: float
) -> None:
    found = corrected_mean(drawn(seed, n, others, kind), level)
    assert found is not None
    assert (found.interval.low, found.interval.high) == pytest.approx((low, high), abs=1e-9)
    assert found.mean == pytest.approx((low + high) / 2)
    assert (found.labelled, found.others) == (n, others)
    assert 0 <= found.power <= 1


def test_a_judge_that_says_the_same_of_everything_adds_nothing_to_the_labels() -> None:
    labels = [0.0, 1.0, 1.0, 1.0]
    found = corrected_mean(Labels(labels, [0.7] * 4, [0.7] * 50))
    assert found is not None
    assert (found.mean, found.power) == pytest.approx((0.75, 0.0))
    half = 1.959963984540054 * math.sqrt(0.1875 / 4)
    assert found.interval.low == pytest.approx(0.75 - half)


def test_a_perfect_judge_brings_the_precision_of_all_cases() -> None:
    values = [float(number % 4 > 0) for number in range(400)]
    found = corrected_mean(Labels(values[:40], values[:40], values[40:]))
    assert found is not None
    assert found.mean == pytest.approx(0.75)
    assert found.interval.high - 0.75 == pytest.approx(1.959963984540054 * math.sqrt(0.1875 / 400), rel=0.01)


@pytest.mark.parametrize("found", [Labels([1.0], [1.0], [0.5, 0.2]), Labels([1.0, 0.0], [1.0, 0.0], [])])
def test_there_is_no_correction_of_one_label_or_without_other_cases(found: Labels) -> None:
    assert corrected_mean(found) is None


def test_mean_and_interval_keep_within_what_a_grade_can_be() -> None:
    found = corrected_mean(Labels([1.0, 1.0, 1.0, 0.0], [0.9, 0.2, 0.8, 0.1], [0.99] * 20), bounds=(0, 1))
    assert found is not None
    assert found.interval.high == 1.0


def test_cases_that_belong_together_widen_the_interval() -> None:
    alone = drawn(5, 40, 160, "binary")
    doubled = Labels(
        [*alone.labels, *alone.labels],
        [*alone.judged, *alone.judged],
        [*alone.others, *alone.others],
        [f"l{number % 40}" for number in range(80)],
        [f"o{number % 160}" for number in range(320)],
    )
    one, two = corrected_mean(alone), corrected_mean(doubled)
    assert one is not None
    assert two is not None
    assert two.mean == pytest.approx(one.mean, abs=1e-4)
    # Each case twice is no more than once.
    width, wider = one.interval.high - one.interval.low, two.interval.high - two.interval.low
    assert wider == pytest.approx(width * math.sqrt(200 / 199), rel=1e-3)


def judged(seed: int, n: int) -> list[tuple[float, bool]]:
    source = random.Random(seed)  # noqa: S311 - a sequence that can be repeated
    values = [round(source.random(), 2) for _ in range(n)]
    return [(value, source.random() < value**2) for value in values]


@pytest.mark.parametrize(("seed", "n"), [(1, 3), (2, 40), (3, 400)])
def test_brier_score_and_reliability_table_are_those_of_scikit_learn(seed: int, n: int) -> None:
    metrics: Any = pytest.importorskip("sklearn.metrics")
    calibration: Any = pytest.importorskip("sklearn.calibration")
    pairs = judged(seed, n)
    probabilities, truths = [value for value, _ in pairs], [truth for _, truth in pairs]
    found = reliability(pairs)
    assert found is not None
    assert found.brier == pytest.approx(metrics.brier_score_loss(truths, probabilities))
    frequencies, means = calibration.calibration_curve(truths, probabilities, n_bins=10)
    assert [each.frequency for each in found.bins] == pytest.approx(list(frequencies))
    assert [each.probability for each in found.bins] == pytest.approx(list(means))
    gaps = sum(each.n * abs(each.frequency - each.probability) for each in found.bins) / n
    assert found.ece == pytest.approx(gaps)


def test_a_reliability_by_hand() -> None:
    assert reliability([]) is None
    found = reliability([(0.0, False), (0.1, True), (0.95, True), (1.0, True)])
    assert found is not None
    # 0 and 0.1 are in the first bin, the other two in the last.
    assert [(each.low, each.high, each.n) for each in found.bins] == [(0.0, 0.1, 2), (0.9, 1.0, 2)]
    assert found.ece == pytest.approx((abs(0.05 - 0.5) * 2 + abs(0.975 - 1) * 2) / 4)
    assert found.brier == pytest.approx((0.81 + 0.0025) / 4)


@pytest.mark.parametrize("criterion", ["accuracy", "f1", "youden"])
def test_no_other_threshold_is_better_than_the_fitted_one(criterion: str) -> None:
    metrics: Any = pytest.importorskip("sklearn.metrics")
    pairs = judged(7, 120)
    truths = [truth for _, truth in pairs]

    def at(threshold: float) -> float:
        said = [value >= threshold for value, _ in pairs]
        if criterion == "accuracy":
            return float(metrics.accuracy_score(truths, said))
        if criterion == "f1":
            return float(metrics.f1_score(truths, said))
        return float(metrics.recall_score(truths, said) + metrics.recall_score(truths, said, pos_label=False) - 1)

    found = fit_threshold(pairs, check_criterion(criterion), used=0.5)
    assert found is not None
    assert found.value == pytest.approx(at(found.threshold))
    assert found.value == pytest.approx(max(at(number / 200) for number in range(201)))
    assert found.before == pytest.approx(at(0.5))
    assert found.held_out is not None
    assert found.held_out <= found.value + 1e-12


def test_a_threshold_needs_both_verdicts_and_a_criterion_that_there_is() -> None:
    assert fit_threshold([(0.2, True), (0.9, True)], "accuracy") is None
    few = fit_threshold([(0.2, False), (0.9, True)], "accuracy")
    assert few is not None
    assert (few.threshold, few.value) == pytest.approx((0.55, 1.0))
    assert few.held_out is None
    with pytest.raises(ValueError, match="accuracy, f1, youden, not by 'auc'"):
        check_criterion("auc")
