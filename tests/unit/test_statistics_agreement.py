"""Coefficients of agreement, against scikit-learn, statsmodels, krippendorff and the examples that he published."""

from __future__ import annotations

import random
from collections.abc import Sequence

import pytest

from pytest_evals.statistics.agreement import (
    AlphaMetric,
    Weights,
    agreement,
    cohen_kappa,
    confusion,
    krippendorff_alpha,
)
from pytest_evals.statistics.bootstrap import resampled_counts


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
    published: list[tuple[AlphaMetric, float]] = [("nominal", 0.743), ("ordinal", 0.815), ("interval", 0.849)]
    for measure, value in published:
        assert krippendorff_alpha(four, [1, 2, 3, 4, 5], measure).value == pytest.approx(value, abs=1e-3)


@pytest.mark.parametrize("measure", ["nominal", "ordinal", "interval"])
def test_alpha_of_several_raters_with_answers_missing_is_that_of_krippendorff(measure: AlphaMetric) -> None:
    library = pytest.importorskip("krippendorff")
    import numpy as np

    draw = random.Random(5)  # noqa: S311 - data for a test
    units = [[label if draw.random() < 0.7 else None for label in (*pair, draw.randint(1, 5))] for pair in pairs_of(5)]
    data = np.array([[np.nan if label is None else label for label in unit] for unit in units]).T
    expected = library.alpha(reliability_data=data, level_of_measurement=measure, value_domain=[1, 2, 3, 4, 5])
    assert krippendorff_alpha(units, [1, 2, 3, 4, 5], measure).value == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("measure", ["nominal", "ordinal", "interval"])
def test_the_interval_of_alpha_is_that_of_drawing_units_one_by_one(measure: AlphaMetric) -> None:
    units, draw = pairs_of(2), random.Random(9)  # noqa: S311 - resampling
    drawn = [draw.choices(units, k=len(units)) for _ in range(1000)]
    values = sorted(krippendorff_alpha(each, [1, 2, 3, 4, 5], measure).value or 0.0 for each in drawn)
    found = krippendorff_alpha(units, [1, 2, 3, 4, 5], measure).interval
    assert found == pytest.approx((values[25], values[975]), abs=0.02)


def test_units_that_belong_together_are_drawn_together() -> None:
    once, clusters = pairs_of(4, n=60), list(range(60))
    twice = [*once, *once]
    alone = cohen_kappa(once, [1, 2, 3, 4, 5], "quadratic", clusters=clusters).interval
    assert cohen_kappa(twice, [1, 2, 3, 4, 5], "quadratic", clusters=[*clusters, *clusters]).interval == pytest.approx(
        alone
    )
    blind = cohen_kappa(twice, [1, 2, 3, 4, 5], "quadratic").interval
    assert alone is not None
    assert blind is not None
    assert blind[1] - blind[0] < 0.8 * (alone[1] - alone[0])
    assert krippendorff_alpha(twice, [1, 2, 3, 4, 5], clusters=[*clusters, *clusters]).interval == pytest.approx(
        krippendorff_alpha(once, [1, 2, 3, 4, 5]).interval, abs=0.02
    )
    one = krippendorff_alpha(twice, [1, 2, 3, 4, 5], clusters=["all"] * 120)
    assert (one.value is None, one.interval) == (False, None), "nothing to draw from"


@pytest.mark.parametrize("kinds", [[0, 0, 0, 0, 1, 1], [0, 1, 2, 3, 4]])
def test_a_resample_has_as_many_units_as_there_are(kinds: list[int]) -> None:
    (counts,) = resampled_counts(kinds, resamples=4000, seed=1)
    assert set(counts.sum(axis=1)) == {len(kinds)}
    shares = [kinds.count(kind) for kind in range(max(kinds) + 1)]
    assert counts.mean(axis=0) == pytest.approx(shares, abs=0.1)
    n = len(kinds)
    assert counts.var(axis=0) == pytest.approx([count * (1 - count / n) for count in shares], abs=0.1)


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
    assert krippendorff_alpha([[0.1, 0.1]] * 5, [0.1, 0.3], "interval").value is None
    assert krippendorff_alpha([[2, 2]] * 5, [1, 2, 3], "ordinal").value is None
    perfect = [("a", "a"), ("b", "b")] * 5
    for found in (cohen_kappa(perfect, ["a", "b"]), krippendorff_alpha(perfect, ["a", "b"])):
        assert (found.value, found.interval) == (1.0, None), "no answer differs, so that nothing measures an error"
    assert cohen_kappa([("a", "b"), ("b", "a")], ["a", "b"], clusters=["x", "x"]).interval is None
