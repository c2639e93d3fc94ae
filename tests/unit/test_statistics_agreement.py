"""Coefficients of agreement, against scikit-learn, statsmodels and the examples that Krippendorff published."""

from __future__ import annotations

import random
from collections.abc import Sequence

import pytest

from pytest_evals.statistics.agreement import (
    Measure,
    Weights,
    agreement,
    cohen_kappa,
    confusion,
    krippendorff_alpha,
)


def pairs_of(seed: int, n: int = 120, k: int = 5) -> list[tuple[int, int]]:
    draw = random.Random(seed)  # noqa: S311 - data for a test
    truth = [draw.randint(1, k) for _ in range(n)]
    return [(label, label if draw.random() < 0.6 else draw.randint(1, k)) for label in truth]


@pytest.mark.parametrize("weights", ["none", "linear", "quadratic"])
@pytest.mark.parametrize("seed", range(3))
def test_kappa_is_that_of_scikit_learn_and_its_interval_that_of_statsmodels(weights: Weights, seed: int) -> None:
    metrics = pytest.importorskip("sklearn.metrics")
    inter_rater = pytest.importorskip("statsmodels.stats.inter_rater")
    import numpy as np

    pairs = pairs_of(seed)
    found = cohen_kappa(pairs, [1, 2, 3, 4, 5], weights)
    ours, theirs = zip(*pairs, strict=True)
    assert found.value == pytest.approx(
        metrics.cohen_kappa_score(ours, theirs, weights=None if weights == "none" else weights), abs=1e-12
    )
    table = np.array(confusion(pairs, [1, 2, 3, 4, 5]))
    expected = inter_rater.cohens_kappa(table, wt=None if weights == "none" else weights)
    assert found.interval == pytest.approx((expected.kappa_low, expected.kappa_upp), abs=1e-9)


def test_confusion_has_a_row_for_each_label_of_the_first() -> None:
    metrics = pytest.importorskip("sklearn.metrics")
    pairs = pairs_of(7)
    assert confusion(pairs, [1, 2, 3, 4, 5]) == metrics.confusion_matrix(*zip(*pairs, strict=True)).tolist()
    assert agreement(pairs) == pytest.approx(metrics.accuracy_score(*zip(*pairs, strict=True)))


# Krippendorff, "Computing Krippendorff's Alpha-Reliability" (2011): two observers with two
# labels; four observers with five, some of them missing.
BINARY = ("0100000000", "1110010010")
FOUR = ("1 2 3 3 2 1 4 1 2 . . .", "1 2 3 3 2 2 4 1 2 5 . 3", ". 3 3 3 2 3 4 2 2 5 1 .", "1 2 3 3 2 4 4 1 2 5 1 .")


def units_of(raters: Sequence[Sequence[str]]) -> list[list[str | None]]:
    return [[None if label == "." else label for label in unit] for unit in zip(*raters, strict=True)]


def test_alpha_is_that_of_the_published_examples() -> None:
    assert krippendorff_alpha(units_of(BINARY), ["0", "1"]).value == pytest.approx(0.095, abs=5e-4)
    four = [[None if label is None else int(label) for label in unit] for unit in units_of([r.split() for r in FOUR])]
    published: list[tuple[Measure, float]] = [("nominal", 0.743), ("ordinal", 0.815), ("interval", 0.849)]
    for measure, value in published:
        assert krippendorff_alpha(four, [1, 2, 3, 4, 5], measure).value == pytest.approx(value, abs=1e-3)


def test_the_interval_of_alpha_is_reproducible_and_covers_the_truth() -> None:
    units = [list(pair) for pair in pairs_of(3)]
    found = krippendorff_alpha(units, [1, 2, 3, 4, 5], seed=1)
    assert found == krippendorff_alpha(units, [1, 2, 3, 4, 5], seed=1)
    assert found != krippendorff_alpha(units, [1, 2, 3, 4, 5], seed=2)
    assert found.value is not None
    assert found.interval is not None
    low, high = found.interval
    # Agreement is by copying with probability 0.6, which is what a coefficient of agreement measures.
    assert low < 0.6 < high
    assert 0.1 < high - low < 0.3


def test_what_is_not_defined_has_no_value() -> None:
    assert agreement([]) is None
    assert cohen_kappa([], ["a", "b"]).value is None
    assert cohen_kappa([("a", "a")] * 5, ["a", "b"]).value is None
    assert krippendorff_alpha([["a", "a"]] * 5, ["a", "b"]).value is None
    assert krippendorff_alpha([["a", None]], ["a", "b"]).value is None
