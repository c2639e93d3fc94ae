"""Slices that are worse than the rest, and which of several models is best."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy
import pytest
from scipy import stats

from pytest_evals.scorecard import insights
from pytest_evals.scores.records import CaseRecord
from pytest_evals.scores.score import compute_scores
from pytest_evals.scores.slices import weak_slices
from pytest_evals.statistics.comparison import fisher_tail, lower_tail
from tests.unit.building import case_record, grade_record


@pytest.mark.parametrize(
    ("passed", "n", "others_passed", "others"),
    [(0, 5, 5, 5), (3, 10, 40, 50), (10, 10, 0, 3), (0, 1, 0, 1), (50, 300, 700, 900)],
)
def test_fishers_exact_test_is_scipys(passed: int, n: int, others_passed: int, others: int) -> None:
    table = [[passed, n - passed], [others_passed, others - others_passed]]
    expected = stats.fisher_exact(table, alternative="less").pvalue
    assert fisher_tail(passed, n, others_passed, others) == pytest.approx(expected, rel=1e-9)


def test_numbers_are_compared_by_welchs_test() -> None:
    source = numpy.random.default_rng(1)
    low, high = source.normal(0.4, 0.2, 12).tolist(), source.normal(0.6, 0.4, 40).tolist()
    for group, rest in ((low, high), (high, low)):
        expected = stats.ttest_ind(group, rest, equal_var=False, alternative="less").pvalue
        assert lower_tail(group, rest) == pytest.approx(expected, rel=1e-9)
    assert [lower_tail([], high), lower_tail([0.1], high), lower_tail([0.5] * 3, [0.5] * 4)] == [1, 1, 1]
    assert lower_tail([0.2] * 3, [0.5] * 4) == pytest.approx(1 / 35)
    # Five times the same document is one document.
    assert lower_tail([0.1, 0.2] * 5, high, list("ab") * 5) > lower_tail([0.1, 0.2] * 5, high)


def records(values: Sequence[float], **fields: Sequence[Any]) -> list[CaseRecord]:
    return [
        case_record(grade_record(value), case_id=f"k{i}", **{name: column[i] for name, column in fields.items()})
        for i, value in enumerate(values)
    ]


def found(cases: list[CaseRecord]) -> list[str]:
    return [f"{each.field}={each.value}" for each in weak_slices(compute_scores(cases), cases)]


def test_a_slice_that_is_clearly_lower_is_named_with_its_numbers() -> None:
    cases = records([1.0] * 20 + [0.0] * 8 + [1.0] * 2, hard=[False] * 20 + [True] * 10)
    (low,) = weak_slices(compute_scores(cases), cases)
    assert (low.field, low.value, low.n, low.mean, low.rest) == ("hard", "true", 10, 0.2, 1)
    assert low.interval is not None
    assert low.p == pytest.approx(2 * float(stats.fisher_exact([[2, 8], [20, 0]], alternative="less").pvalue), rel=0.6)


def test_what_may_be_chance_is_not_said() -> None:
    assert found(records([1.0, 0.0] * 10, level=["a", "b", "b", "a"] * 5)) == []
    # Four cases are too few, and twenty values are names rather than kinds.
    assert found(records([1.0] * 20 + [0.0] * 4, level=["a"] * 20 + ["b"] * 4)) == []
    assert found(records([1.0] * 20 + [0.0] * 20, name=[f"n{i % 20}" for i in range(40)])) == []
    assert found(records([1.0] * 20 + [0.0] * 20, tags=[[1]] * 40)) == []


@pytest.mark.parametrize("value", [0.9, 0.1, 1 / 3, 0.7])
def test_where_all_values_are_the_same_no_slice_is_low_by_rounding(value: float) -> None:
    for size in (7, 10, 13, 20):
        assert found(records([value] * (size + 30), level=["hard"] * size + ["easy"] * 30)) == []


def test_many_slices_must_be_clearer() -> None:
    values = [1.0] * 15 + [0.0] * 4 + [1.0] * 6
    level = ["a"] * 15 + ["b"] * 10
    assert found(records(values, level=level)) == ["level=b"]
    noise = {f"noise{n}": ["xyz"[(i * (n + 2)) % 3] for i in range(25)] for n in range(6)}
    assert found(records(values, level=level, **noise)) == []


def two_models(first: Sequence[float], second: Sequence[float]) -> list[str]:
    cases = [
        case_record(grade_record(value), case_id=f"k{i}", model=model)
        for model, values in (("a", first), ("b", second))
        for i, value in enumerate(values)
    ]
    marks = insights(compute_scores(cases), cases)["leaders"]
    return [marks.get(("capitals", model, "exact"), "") for model in "ab"]


def test_the_best_model_is_marked_and_those_that_are_not_clearly_lower() -> None:
    assert two_models([1] * 20, [0] * 10 + [1] * 10) == ["*", ""]
    assert two_models([1] * 20, [0] * 2 + [1] * 18) == ["*", "~"]
    # Nothing is marked where all are the same, or where there is one.
    assert two_models([1, 0], [0, 1]) == ["", ""]
    one = records([1.0, 0.0])
    assert insights(compute_scores(one), one)["leaders"] == {}
