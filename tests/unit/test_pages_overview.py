"""The numbers of the report page."""

from __future__ import annotations

import pytest

from pytest_evals.pages.overview import histogram, slice_value, slices
from tests.unit.building import case_record, grade_record


@pytest.mark.parametrize(
    ("values", "low", "high", "counts"),
    [
        ([0.0, 1.0, 1.0], 0, 1, [1, 2]),
        ([1.0, 1.0], 0, 1, [0, 2]),
        ([0.0, 0.5, 0.99, 1.0], 0, 1, [1, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 2]),
        ([3.0, 3.0], 3, 3, [2]),
        ([-5.0, 7.0], -5, 7, [1, *[0] * 10, 1]),
    ],
)
def test_a_histogram_counts_every_value_once(values: list[float], low: float, high: float, counts: list[int]) -> None:
    assert histogram(values) == {"low": low, "high": high, "counts": counts}
    assert histogram([]) is None


@pytest.mark.parametrize(
    ("value", "text"),
    [("easy", "easy"), (3, "3"), (True, "true"), (None, None), (0.5, None), (["a"], None), ("x" * 61, None)],
)
def test_what_makes_a_slice(value: object, text: str | None) -> None:
    assert slice_value(value) == text


def test_fields_with_a_few_values_cut_a_suite_into_slices() -> None:
    records = [
        case_record(
            grade_record(float(number % 2), passed=number % 2 == 1),
            case_id=f"c{number}",
            level="easy" if number < 4 else "hard",
            serial=number,
            same="always",
            some="x" if number else None,
        )
        for number in range(6)
    ]
    assert [(each["suite"], each["field"]) for each in slices(records)] == [("capitals", "level")]
    rows = slices(records)[0]["rows"]
    assert [(row["value"], row["n"], row["mean"]) for row in rows] == [("easy", 4, 0.5), ("hard", 2, 0.5)]
